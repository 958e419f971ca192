"""Waiting for something to become true: a condition and a deadline, never a fixed sleep."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


async def until(probe: Callable[[], Any], seconds: float = 10, *, every: float = 0.02) -> Any:
    """Return the first true thing that the probe finds; fail where it finds none in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not so within {seconds} s: {inspect.getsource(probe)}"
        await asyncio.sleep(every)
