"""What is told of each call when it has ended: one log line, and the counts."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

import structlog

from gateway.call.carriage import Carriage
from gateway.errors import Refusal
from gateway.front.facts import Facts
from gateway.front.wording import deficit_of
from gateway.ledger import Hold
from gateway.log import CallLog
from gateway.metrics import Metrics

_log: Any = structlog.get_logger(__name__)
# So many names of endpoints that are not known are logged, and so much of each: whoever calls
# chooses them.
_NAMES_AT_MOST = 50
_NAME_CHARS = 40
# As many of the latest refusals as a dashboard shows.
_LATEST_AT_MOST = 50


class Refused(NamedTuple):
    """What is shown of a refusal. Not the refusal itself: its traceback holds the call's body."""

    at: float
    """Monotonic seconds."""
    service: str
    endpoint: str
    reason: str
    required: int
    """Tokens, as the deficit; None: the call may never be made like this."""
    deficit: int | None
    is_enforced: bool
    """False: in shadow mode, where the call went through."""


class Reports:
    """Tells of calls. `began_at` is when their request came, monotonic seconds."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = CallLog()
        self._unknown_names: set[str] = set()
        self._uncounted: Counter[tuple[str, str, str]] = Counter()
        self._latest: deque[Refused] = deque(maxlen=_LATEST_AT_MOST)

    def forwarded(self, carriage: Carriage, began_at: float) -> None:
        """Tell of a call that was admitted."""
        upstream_seconds = carriage.upstream_seconds
        waited_seconds = carriage.facts.waited_seconds
        # Waiting for tokens is no slowness of the gateway's: whoever does has asked for it.
        added_seconds = time.monotonic() - began_at - upstream_seconds - waited_seconds
        added_seconds = max(0.0, added_seconds)
        hold = carriage.hold
        if waited_seconds:
            self._metrics.waited("admitted", waited_seconds)
        self._metrics.called(
            hold.service,
            hold.endpoint,
            carriage.outcome,
            upstream_seconds=upstream_seconds,
            added_seconds=added_seconds,
        )
        self._write(
            carriage.facts,
            {
                "service": hold.service,
                "endpoint": hold.endpoint,
                "reserved": hold.tokens,
                "consumed": carriage.consumed,
                "outcome": carriage.outcome,
                "status": carriage.status,
                "attempts": carriage.attempts,
                "caller_left": carriage.relay is not None and carriage.relay.caller_left,
                "waited_ms": round(waited_seconds * 1000, 1),
                "upstream_ms": round(upstream_seconds * 1000, 1),
                "added_ms": round(added_seconds * 1000, 1),
            },
        )

    def settled(self, hold: Hold, consumed: int) -> None:
        """Tell of a hold whose call consumed that much."""
        self._metrics.consumed(hold.service, hold.endpoint, hold.tokens, consumed)

    def answered(self, facts: Facts, began_at: float) -> None:
        """Tell of a call that the ledger answered."""
        self._metrics.answered(facts.service, facts.endpoint)
        self._tell_own(facts, began_at, "answered", None, 200)

    def refused(self, facts: Facts, refusal: Refusal, began_at: float) -> None:
        """Tell of a call that never got as far as a hold."""
        if facts.waited_seconds:
            self._metrics.waited("refused", facts.waited_seconds)
        self._metrics.refused(facts.service, facts.endpoint, refusal.reason)
        self._note(facts, refusal, is_enforced=True)
        if refusal.is_policy:
            self._uncounted[facts.service, facts.endpoint, refusal.reason] += 1
        self._tell_own(facts, began_at, "refused", refusal.reason, refusal.status)

    def unknown_endpoint(self, facts: Facts, target: str) -> None:
        """Count a call of an endpoint that the cost table lacks, and log the first of each name."""
        self._metrics.unknown_endpoint()
        name = target.partition("?")[0].strip("/").lower()[:_NAME_CHARS]
        if name in self._unknown_names or len(self._unknown_names) >= _NAMES_AT_MOST:
            return
        self._unknown_names.add(name)
        _log.warning(
            "unknown_endpoint",
            name=name,
            service=facts.service,
            required=facts.required_tokens,
            request_id=facts.request_id,
            hint="its price is a guess: name it in ENDPOINT_COSTS, or upgrade",
        )

    def let_through(self, facts: Facts, refusal: Refusal) -> None:
        """Tell of a call that would have been refused if refusals were enforced."""
        self._metrics.let_through(facts.service, facts.endpoint, refusal.reason)
        self._note(facts, refusal, is_enforced=False)
        if refusal.is_policy:
            self._uncounted[facts.service, facts.endpoint, refusal.reason] += 1
        _log.info(
            "would_refuse",
            service=facts.service,
            endpoint=facts.endpoint,
            required=facts.required_tokens,
            reason=refusal.reason,
            request_id=facts.request_id,
        )

    def take_refusals(self, at_most: int) -> Mapping[tuple[str, str, str], int]:
        """Return, once, what the ledger has not counted: service, endpoint, reason to calls."""
        counts = dict(islice(self._uncounted.items(), at_most))
        for item in counts:
            del self._uncounted[item]
        return counts

    def put_back(self, refusals: Mapping[tuple[str, str, str], int]) -> None:
        """Keep what the ledger could not count after all, for a later time."""
        self._uncounted.update(refusals)

    def take_latest(self) -> list[Refused]:
        """Return, once, the latest refusals, oldest first; of more than fifty the newest."""
        latest = list(self._latest)
        self._latest.clear()
        return latest

    def _note(self, facts: Facts, refusal: Refusal, *, is_enforced: bool) -> None:
        self._latest.append(
            Refused(
                time.monotonic(),
                facts.service,
                facts.endpoint,
                refusal.reason,
                facts.required_tokens,
                deficit_of(refusal, facts),
                is_enforced,
            )
        )

    def _tell_own(
        self, facts: Facts, began_at: float, outcome: str, reason: str | None, status: int
    ) -> None:
        self._write(
            facts,
            {
                "service": facts.service,
                "endpoint": facts.endpoint,
                "required": facts.required_tokens,
                "reserved": 0,
                "consumed": 0,
                "outcome": outcome,
                "reason": reason,
                "status": status,
                "waited_ms": round(facts.waited_seconds * 1000, 1),
                "upstream_ms": 0.0,
                "added_ms": round((time.monotonic() - began_at - facts.waited_seconds) * 1000, 1),
            },
        )

    def _write(self, facts: Facts, line: dict[str, object]) -> None:
        line["request_id"] = facts.request_id
        if facts.traceparent:
            line["traceparent"] = facts.traceparent
        self._log.write(line)
