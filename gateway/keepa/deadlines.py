"""The deadlines of all calls under way, on one timer."""

import asyncio
from collections import deque
from types import TracebackType

from gateway.keepa.stalls import GRACE_SECONDS, LATE_SECONDS
from gateway.lane import Lane, current


class Deadlines:
    """Ends blocks that take too long, as `asyncio.timeout_at` does, in a lane or in a task.

    A process that slept past a deadline first reads what came meanwhile, for a second at most.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # All have the same time, or nearly: they come up in the order in which they began.
        self._all: deque[Deadline] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_graced = False

    def until(self, when: float) -> "Deadline":
        """Return a block (`with`) that raises TimeoutError at that moment, on the loop's clock."""
        return Deadline(self, when)

    def watch(self, deadline: "Deadline") -> None:
        """End it in time."""
        self._all.append(deadline)
        if self._timer is None:
            self._timer = self._loop.call_at(deadline.when, self._look)

    def forget(self) -> None:
        """Drop those that have ended; the timer finds the rest by itself."""
        while self._all and self._all[0].is_over:
            self._all.popleft()

    def _look(self) -> None:
        """End what is due."""
        now = self._loop.time()
        self._timer = None
        self.forget()
        if not self._all:
            return
        if now - self._all[0].when > LATE_SECONDS and not self._is_graced:
            self._is_graced = True
            self._timer = self._loop.call_later(GRACE_SECONDS, self._look)
            return
        self._is_graced = False
        for deadline in list(self._all):
            if deadline.when > now:
                break
            deadline.end()
        self.forget()
        if self._all and self._timer is None:
            self._timer = self._loop.call_at(max(self._all[0].when, now + 0.001), self._look)


class Deadline:
    """One block that is ended in time.

    Attributes:
        when: On the loop's clock.
        is_over: Whether it has ended.
    """

    __slots__ = ("_deadlines", "_is_late", "_running", "is_over", "when")

    def __init__(self, deadlines: Deadlines, when: float) -> None:
        self._deadlines = deadlines
        self._running: Lane | asyncio.Task[object] | None = None
        self._is_late = False
        self.when = when
        self.is_over = False

    def __enter__(self) -> None:
        self._running = current()
        self._deadlines.watch(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        running, self._running = self._running, None
        self.is_over = True
        self._deadlines.forget()
        if self._is_late and running is not None and kind is asyncio.CancelledError:
            running.uncancel()
            raise TimeoutError from None

    def end(self) -> None:
        """Cancel what runs inside."""
        if self._running is not None and not self._is_late:
            self._is_late = True
            self._running.cancel()
