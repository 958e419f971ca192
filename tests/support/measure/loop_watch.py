"""How long the event loop of this process was held up, callback by callback.

Measured around `asyncio.Handle._run`, through which every loop of asyncio's own runs all it runs:
task steps, socket events, timers, `call_soon`. A loop of our own would have to be a copy of
asyncio's `_run_once`, and would then not be the loop under test.

The time is the processor time of the loop's thread, not the wall's: a machine that others use as
well, or a thread that holds the GIL, makes no callback longer.
"""

import asyncio
import gc
import heapq
import json
import os
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

_TEXT_CHARS = 160
_CHAIN = 6
_PATIENCE_SECONDS = 10


class Callback(NamedTuple):
    """One callback; times in milliseconds of the loop thread's processor time."""

    ms: float
    gc_ms: float
    """What of it went to the garbage collector."""
    what: str
    """What ran; of a task, where it stands now. No arguments: they hold what callers sent."""


class LoopWatch:
    """Keeps the longest callbacks between `with` and its end; one at a time in a process.

    Args:
        keep: How many.
    """

    def __init__(self, keep: int = 5) -> None:
        self._keep = keep
        self._run_once = asyncio.Handle._run
        self._gc_began = 0.0
        self._gc_seconds = 0.0
        self._in_callback = False
        self._begin_anew()

    def __enter__(self) -> Self:
        run, thread_time = self._run_once, time.thread_time

        def run_watched(handle: asyncio.Handle) -> None:
            self._gc_seconds = 0.0
            self._in_callback = True
            began = thread_time()
            try:
                run(handle)
            finally:
                took = thread_time() - began
                self._in_callback = False
                self.count += 1
                if took > self._shortest_kept:
                    self._note(took, handle)

        asyncio.Handle._run = run_watched
        gc.callbacks.append(self._watch_collector)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.Handle._run = self._run_once
        gc.callbacks.remove(self._watch_collector)

    def tell(self) -> dict[str, Any]:
        """Return what was found since the last time, the longest first, and begin anew."""
        longest = [callback for _, _, callback in sorted(self._longest, reverse=True)]
        found = {"callbacks": self.count, "longest": [entry._asdict() for entry in longest]}
        self._begin_anew()
        return found

    def _begin_anew(self) -> None:
        self.count = 0
        self._longest: list[tuple[float, int, Callback]] = []
        self._shortest_kept = 0.0

    def _note(self, took: float, handle: asyncio.Handle) -> None:
        entry = Callback(round(took * 1000, 2), round(self._gc_seconds * 1000, 2), _name(handle))
        heapq.heappush(self._longest, (took, self.count, entry))
        if len(self._longest) > self._keep:
            heapq.heappop(self._longest)
            self._shortest_kept = self._longest[0][0]

    def _watch_collector(self, phase: str, _: dict[str, int]) -> None:
        if not self._in_callback:
            return
        if phase == "start":
            self._gc_began = time.thread_time()
        else:
            self._gc_seconds += time.thread_time() - self._gc_began


def tell_into(file: Path, watch: LoopWatch) -> Callable[..., None]:
    """Have each SIGUSR1 put into the file, as JSON, what was found; return what does so at once."""
    numbers = count(1)

    def tell(*_: object) -> None:
        new = file.with_suffix(".new")
        new.write_text(json.dumps({"told": next(numbers), **watch.tell()}))
        # In one go, so that nobody reads half of it.
        new.replace(file)

    signal.signal(signal.SIGUSR1, tell)
    return tell


class Findings:
    """What the watch in another process finds; that process has called `tell_into`."""

    def __init__(self, pid: int, file: Path) -> None:
        self._pid = pid
        self._file = file
        self._told = 0

    def ask(self) -> dict[str, Any]:
        """Return what was found since the last time."""
        self._told += 1
        os.kill(self._pid, signal.SIGUSR1)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._file.exists() or (found := self._read())["told"] < self._told:
            assert time.monotonic() < deadline, "the watched process does not tell"
            time.sleep(0.001)
        return found

    def _read(self) -> dict[str, Any]:
        return dict(json.loads(self._file.read_text()))


def _name(handle: asyncio.Handle) -> str:
    """Say what a handle runs; a cancelled one has let go of it."""
    callback: Any = handle._callback
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return " > ".join(_chain(task))[:_TEXT_CHARS]
    return str(getattr(callback, "__qualname__", None) or type(callback).__name__)[:_TEXT_CHARS]


def _chain(task: asyncio.Task[Any]) -> list[str]:
    """Return the coroutines that await each other, the task's own first, with their lines."""
    chain: list[str] = []
    at: Any = task.get_coro()
    while at is not None and len(chain) < _CHAIN:
        name = getattr(at, "__qualname__", None)
        frame = getattr(at, "cr_frame", None)
        if name is None:
            break
        chain.append(f"{name}:{frame.f_lineno}" if frame else name)
        at = getattr(at, "cr_await", None)
    return chain
