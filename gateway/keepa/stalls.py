"""Tells when this process itself could not run: it was stopped, or its event loop was blocked.

What timed out or was dropped while it slept is no fault of the other side. The loop's own clock
tells: a timer that fires much later than it was due.
"""

import asyncio
import math
import time
from types import TracebackType
from typing import Any, Self

import structlog

_log: Any = structlog.get_logger(__name__)

_BEAT_SECONDS = 0.5
# Well above what a busy loop is late by.
LATE_SECONDS = 0.5
# After a late wake-up: what has come meanwhile is read in this time.
GRACE_SECONDS = 1.0


class Stalls:
    """Watches the event loop; knows nothing until `watch` runs."""

    def __init__(self) -> None:
        self._due = math.inf
        self._woke_at = -math.inf

    def any_since(self, moment: float) -> bool:
        """Say whether this process was stalled after that moment (monotonic seconds)."""
        # Right after a wake-up, whoever asks may come before the beat that is overdue.
        return self._woke_at > moment or time.monotonic() - self._due > LATE_SECONDS

    async def watch(self) -> None:
        """Beat for ever, and note each beat that comes late."""
        try:
            while True:
                self._due = time.monotonic() + _BEAT_SECONDS
                await asyncio.sleep(_BEAT_SECONDS)
                late_seconds = time.monotonic() - self._due
                if late_seconds > LATE_SECONDS:
                    self._woke_at = time.monotonic()
                    _log.warning(
                        "gateway_stalled",
                        seconds=round(late_seconds, 1),
                        hint="the process was stopped or its machine is overloaded; time-outs of "
                        "this moment are not counted against Keepa",
                    )
        finally:
            self._due = math.inf


class Deadline:
    """Raises TimeoutError at a moment, as `asyncio.timeout_at`, but not right after a stall.

    A process that slept past the moment first reads what came meanwhile, for a second at most.

    Args:
        when: On the loop's clock.
    """

    def __init__(self, when: float) -> None:
        self._when = when
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self._timer = self._loop.call_at(self._when, self._check)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _check(self) -> None:
        if self._loop.time() - self._when > LATE_SECONDS:
            self._timer = self._loop.call_later(GRACE_SECONDS, self._end)
        else:
            self._end()

    def _end(self) -> None:
        self._limit.reschedule(self._loop.time())
