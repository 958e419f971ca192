"""Calls that may wait, each with what became of it and when; and what their order shows."""

import asyncio
import itertools
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from support.callers.crowd import BROKEN, verdict
from support.callers.wire import Answer, Caller, write_request

# Of an answer that is due: a busy machine, never the rule.
LATE_SECONDS = 20.0
BEST_SELLERS_TOKENS = 50
_ids = (f"visit-{number}" for number in itertools.count(1))


def of_cost(tokens: int) -> str:
    """Return a call that costs so many tokens, for sure: up to 49, or 50."""
    if tokens == BEST_SELLERS_TOKENS:
        return "/bestsellers?domain=1&category=7"
    asins = ",".join(f"B0MIN{n:05}" for n in range(tokens))
    return f"/product?domain=1&asin={asins}"


class _Waiter(Caller):
    """A caller whose answer may take longer than those of calls that do not wait."""

    async def receive_within(self, seconds: float) -> Answer:
        async with asyncio.timeout(seconds):
            answer = await self.receive_head()
            await self._receive_body(answer, "GET")
            return answer


@dataclass
class Visit:
    """One call.

    Attributes:
        patience: Seconds that it says it would wait; 0: it says nothing.
        verdict: `200`, or status and reason; `left`: its caller did, or is still there; `gone`: no
            answer came.
        began_at: Monotonic seconds, as `ended_at`.
        answer: What it was told, if anything.
    """

    service: str
    tokens: int
    patience: float = 0
    verdict: str = "left"
    began_at: float = field(default_factory=time.monotonic)
    ended_at: float = 0.0
    request_id: str = field(default_factory=lambda: next(_ids))
    answer: Answer | None = None

    @property
    def seconds(self) -> float:
        return self.ended_at - self.began_at

    @property
    def is_served(self) -> bool:
        return self.verdict == "200"

    async def make(
        self, url: str, headers: Sequence[str] = (), *, leaves_after: float | None = None
    ) -> "Visit":
        """Make the call on a connection of its own; its caller may leave before the answer."""
        prefer = (f"Prefer: wait={self.patience:g}",) if self.patience else ()
        request = write_request(
            of_cost(self.tokens), (*headers, *prefer, f"X-Request-Id: {self.request_id}")
        )
        self.began_at = time.monotonic()
        try:
            async with asyncio.timeout(leaves_after), _Waiter(url) as caller:
                await caller.send(request)
                self.answer = await caller.receive_within(self.patience + LATE_SECONDS)
            self.verdict = verdict(self.answer)
        except TimeoutError:
            assert leaves_after is not None, f"no answer to {self}"
        except BROKEN:
            self.verdict = "gone"
        finally:
            self.ended_at = time.monotonic()
        return self


def overtaken(visits: Iterable[Visit], slack_seconds: float) -> list[tuple[Visit, Visit]]:
    """Find who waited while a later call of the same service and cost was served.

    Args:
        visits: All that may have met.
        slack_seconds: What two calls may be apart to count as of one moment.
    """
    groups: dict[tuple[str, int], list[Visit]] = defaultdict(list)
    for visit in visits:
        groups[visit.service, visit.tokens].append(visit)
    found = []
    for group in groups.values():
        served = sorted((v for v in group if v.is_served), key=lambda v: v.began_at)
        begins = [v.began_at for v in served]
        soonest: list[Visit] = []
        for v in reversed(served):
            soonest.append(min((v, *soonest[-1:]), key=lambda v: v.ended_at))
        soonest.reverse()
        for visit in group:
            later = bisect_left(begins, visit.began_at + slack_seconds)
            if later < len(served) and soonest[later].ended_at < visit.ended_at - slack_seconds:
                found.append((visit, soonest[later]))
    return found


def passed_over(
    first: Iterable[Visit], others: Iterable[Visit], slack_seconds: float
) -> list[tuple[Visit, Visit]]:
    """Find who of `first` waited while one of the others was served, whenever that one came."""
    waiting = sorted(first, key=lambda v: v.began_at)
    begins = [v.began_at for v in waiting]
    longest: list[Visit] = []
    for v in waiting:
        longest.append(max((v, *longest[-1:]), key=lambda v: v.ended_at))
    found = []
    for visit in others:
        before = bisect_left(begins, visit.ended_at - slack_seconds)
        if visit.is_served and before:
            still_there = longest[before - 1]
            if still_there.ended_at > visit.ended_at + slack_seconds:
                found.append((still_there, visit))
    return found
