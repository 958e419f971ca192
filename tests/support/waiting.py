"""Waiting for something to become true: a condition and a deadline, never a fixed sleep."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from support.measure.stopwatch import SLOWEST, Stopwatch


async def until(probe: Callable[[], Any], seconds: float = 10, *, every: float = 0.02) -> Any:
    """Return the first true thing that the probe finds; fail where it finds none in time.

    The seconds are those of an idle machine: a busy one is given what it takes from us.
    """
    watch = Stopwatch()
    while True:
        found = probe()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if watch.wall_seconds > seconds:
            assert watch.seconds < seconds, f"not so within {seconds} s: {inspect.getsource(probe)}"
        await asyncio.sleep(every)


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Fail where what is done inside takes longer than it may on an idle machine."""
    watch = Stopwatch()
    async with asyncio.timeout(seconds * SLOWEST):
        yield
    assert watch.seconds < seconds
