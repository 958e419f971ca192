"""Runs a coroutine from where its data comes, without a task for as long as it needs none.

A task costs a call three turns of the event loop, and each future that it waits for another. Most
calls wait twice only, for the ledger and for Keepa, and both can resume them at once.

In a lane `asyncio.current_task()` is nobody's, or another's: what needs one (`asyncio.timeout`,
`asyncio.wait_for`) comes behind `await in_task()`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any

_running: "Lane | None" = None


class Lane:
    """Where one coroutine at a time runs. One that awaits anything but a `Pause` becomes a task.

    Args:
        ended: Called with what the coroutine returned, or with what it raised.
    """

    __slots__ = ("_ended", "_pause", "_task", "_work")

    def __init__(self, ended: Callable[[Any, BaseException | None], None]) -> None:
        self._ended = ended
        self._work: Coroutine[Any, Any, Any] | None = None
        self._pause: Pause | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a coroutine has begun and not ended."""
        return self._work is not None

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run it as far as it goes."""
        self._work = work
        self.resume(None, None)

    def begin_in_task(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run it in a task from its start."""
        self._work = work
        self._become_task(work, None)

    def resume(self, value: Any, error: BaseException | None) -> None:
        """Go on with what was awaited, or with why there is nothing; called by the pause."""
        global _running  # noqa: PLW0603 - as asyncio's own current task
        work = self._work
        if work is None:
            raise RuntimeError("nothing runs in this lane")
        self._pause = None
        before, _running = _running, self
        try:
            awaited = work.send(value) if error is None else work.throw(error)
        except StopIteration as stop:
            _running = before
            self._end(stop.value, None)
        except BaseException as failure:  # noqa: BLE001 - as a task keeps it
            _running = before
            self._end(None, failure)
        else:
            _running = before
            if type(awaited) is Pause:
                self._pause = awaited
            else:
                self._become_task(work, awaited)

    def cancel(self) -> None:
        """Have the coroutine hear a CancelledError where it waits."""
        if self._task is not None:
            self._task.cancel()
        elif self._pause is not None:
            self._pause.give_up()
            self.resume(None, asyncio.CancelledError())

    def uncancel(self) -> None:
        """Take a `cancel` back that was meant for who calls this."""
        if self._task is not None:
            self._task.uncancel()

    def _become_task(self, work: Coroutine[Any, Any, Any], awaited: Any) -> None:
        rest = self._run_rest(work, awaited)
        # A task that is cancelled before its first step never begins, and the work would hear
        # nothing: this one has begun.
        rest.send(None)
        self._task = asyncio.get_running_loop().create_task(rest)

    async def _run_rest(self, work: Coroutine[Any, Any, Any], awaited: Any) -> None:
        try:
            value = await _rest_of(work, awaited)
        except BaseException as failure:
            self._task = None
            self._end(None, failure)
            if not isinstance(failure, Exception):
                raise
        else:
            self._task = None
            self._end(value, None)

    def _end(self, value: Any, failure: BaseException | None) -> None:
        self._work = None
        self._ended(value, failure)


@coroutine
def _rest_of(work: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
    """Await a coroutine that has begun, and awaits that, behind a first step of nothing."""
    error: BaseException | None = None
    try:
        yield None
    except BaseException as failure:  # noqa: BLE001 - it is the work's
        error = failure
        if asyncio.isfuture(awaited):
            awaited.cancel()
    while True:
        if error is None:
            try:
                yield awaited
            except BaseException as failure:  # noqa: BLE001 - it is the work's
                error = failure
        try:
            awaited = work.send(None) if error is None else work.throw(error)
        except StopIteration as stop:
            return stop.value
        error = None


class Pause:
    """What is awaited once, and set once. In a lane, who sets it runs what follows at once."""

    __slots__ = ("_error", "_future", "_is_over", "_lane", "_value")

    def __init__(self) -> None:
        self._is_over = False
        self._lane: Lane | None = None
        self._future: asyncio.Future[Any] | None = None
        self._value: Any = None
        self._error: BaseException | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._is_over:
            if self._error is not None:
                raise self._error
            return self._value
        if _running is None:
            self._future = asyncio.get_running_loop().create_future()
            return (yield from self._future)
        self._lane = _running
        return (yield self)

    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._is_over or (self._future is not None and self._future.done())

    def give_up(self) -> None:
        """What is set later is nobody's."""
        self._is_over = True

    def set_result(self, value: Any) -> None:
        """Go on with that."""
        if self.done():
            return
        self._is_over = True
        if self._lane is not None:
            self._lane.resume(value, None)
        elif self._future is not None:
            self._future.set_result(value)
        else:
            self._value = value

    def set_exception(self, error: BaseException) -> None:
        """Go on with that, raised."""
        if self.done():
            return
        self._is_over = True
        if self._lane is not None:
            self._lane.resume(None, error)
        elif self._future is not None:
            self._future.set_exception(error)
        else:
            self._error = error


class _InTask:
    def __await__(self) -> Generator[Any, Any, None]:
        if _running is not None:
            yield None


def in_task() -> _InTask:
    """Return what is awaited to run in a task from here on."""
    return _IN_TASK


_IN_TASK = _InTask()


def current() -> "Lane | asyncio.Task[Any]":
    """Return what runs now, to be cancelled."""
    running = _running or asyncio.current_task()
    if running is None:
        raise RuntimeError("nothing runs")
    return running
