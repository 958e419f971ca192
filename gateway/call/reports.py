"""Each call's log line and counts, when it has ended."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

import structlog

from gateway.call.exchange import Exchange
from gateway.call.repeated import RepeatedTokens
from gateway.errors import Refusal
from gateway.front.record import Record
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
    """Logs and counts calls."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._repeated = RepeatedTokens(metrics)
        self._log = CallLog()
        self._unknown_names: set[str] = set()
        self._uncounted: Counter[tuple[str, str, str]] = Counter()
        self._latest: deque[Refused] = deque(maxlen=_LATEST_AT_MOST)

    def forwarded(self, exchange: Exchange) -> None:
        """Log and count a call that was admitted."""
        record, attempt = exchange.record, exchange.attempt
        asked, waited_seconds = exchange.asked, record.waited_seconds
        upstream_seconds = exchange.upstream_seconds
        # Waiting for tokens is no slowness of the gateway's: whoever does has asked for it.
        added_seconds = time.monotonic() - record.began_at - upstream_seconds - waited_seconds
        added_seconds = max(0.0, added_seconds)
        if waited_seconds:
            self._metrics.waited("admitted", waited_seconds)
        self._repeated.note(exchange)
        self._metrics.called(
            asked.service,
            asked.endpoint,
            attempt.outcome,
            upstream_seconds=upstream_seconds,
            added_seconds=added_seconds,
        )
        self._write(
            record,
            {
                "service": asked.service,
                "endpoint": asked.endpoint,
                "reserved": attempt.hold.tokens,
                "consumed": attempt.consumed,
                "outcome": attempt.outcome,
                "status": exchange.status or attempt.status,
                "attempts": len(exchange.attempts),
                "caller_left": attempt.relay is not None and attempt.relay.caller_left,
                "waited_ms": round(waited_seconds * 1000, 1),
                "upstream_ms": round(upstream_seconds * 1000, 1),
                "added_ms": round(added_seconds * 1000, 1),
            },
        )

    @property
    def repeated_tokens(self) -> Mapping[str, float]:
        """Tokens that an answer cache would have saved here, by its age: `1h`, `24h`."""
        return self._repeated.totals

    def settled(self, hold: Hold, consumed: int) -> None:
        """Count the tokens of a settled hold."""
        self._metrics.consumed(hold.service, hold.endpoint, hold.tokens, consumed)

    def answered(self, record: Record) -> None:
        """Log and count a call that the ledger answered."""
        self._metrics.answered(record.asked.service, record.asked.endpoint)
        self._write_own(record, "answered", None, 200)

    def refused(self, record: Record, refusal: Refusal) -> None:
        """Log and count a call that got no hold."""
        if record.waited_seconds:
            self._metrics.waited("refused", record.waited_seconds)
        self._metrics.refused(record.asked.service, record.asked.endpoint, refusal.reason)
        self._note(record, refusal, is_enforced=True)
        if refusal.is_policy:
            self._uncounted[record.asked.service, record.asked.endpoint, refusal.reason] += 1
        self._write_own(record, "refused", refusal.reason, refusal.status)

    def unknown_endpoint(self, record: Record, target: str) -> None:
        """Count a call of an endpoint that the cost table lacks, and log the first of each name."""
        self._metrics.unknown_endpoint()
        name = target.partition("?")[0].strip("/").lower()[:_NAME_CHARS]
        if name in self._unknown_names or len(self._unknown_names) >= _NAMES_AT_MOST:
            return
        self._unknown_names.add(name)
        _log.warning(
            "unknown_endpoint",
            name=name,
            service=record.asked.service,
            required=record.asked.required_tokens,
            request_id=record.request_id,
            hint="its price is a guess: name it in ENDPOINT_COSTS, or upgrade",
        )

    def let_through(self, record: Record, refusal: Refusal) -> None:
        """Log and count a call that would be refused if refusals were enforced."""
        self._metrics.let_through(record.asked.service, record.asked.endpoint, refusal.reason)
        self._note(record, refusal, is_enforced=False)
        if refusal.is_policy:
            self._uncounted[record.asked.service, record.asked.endpoint, refusal.reason] += 1
        _log.info(
            "would_refuse",
            service=record.asked.service,
            endpoint=record.asked.endpoint,
            required=record.asked.required_tokens,
            reason=refusal.reason,
            request_id=record.request_id,
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

    def _note(self, record: Record, refusal: Refusal, *, is_enforced: bool) -> None:
        self._latest.append(
            Refused(
                time.monotonic(),
                record.asked.service,
                record.asked.endpoint,
                refusal.reason,
                record.asked.required_tokens,
                deficit_of(refusal, record),
                is_enforced,
            )
        )

    def _write_own(self, record: Record, outcome: str, reason: str | None, status: int) -> None:
        self._write(
            record,
            {
                "service": record.asked.service,
                "endpoint": record.asked.endpoint,
                "required": record.asked.required_tokens,
                "reserved": 0,
                "consumed": 0,
                "outcome": outcome,
                "reason": reason,
                "status": status,
                "waited_ms": round(record.waited_seconds * 1000, 1),
                "upstream_ms": 0.0,
                "added_ms": round(
                    (time.monotonic() - record.began_at - record.waited_seconds) * 1000, 1
                ),
            },
        )

    def _write(self, record: Record, line: dict[str, object]) -> None:
        line["request_id"] = record.request_id
        if record.traceparent:
            line["traceparent"] = record.traceparent
        self._log.write(line)
