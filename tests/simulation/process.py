"""What differs from one run of a process to the next, made the same: clocks, randomness, names."""

import contextlib
import os
import random
import secrets
import time
import uuid
from collections.abc import Iterator
from typing import Any

from simulation.loop import NODE, START, VirtualLoop


class Clocks:
    """The wall clocks of all machines; each may be wrong by so many seconds."""

    def __init__(self, loop: VirtualLoop, begins_at: float) -> None:
        self._loop = loop
        self._begins_at = begins_at
        self.wrong_by: dict[str, float] = {}

    def true(self) -> float:
        """Seconds since 1970."""
        return self._begins_at + self._loop.now - START

    def of_node(self) -> float:
        """What the clock says of the machine that asks."""
        return self.true() + self.wrong_by.get(NODE.get(), 0.0)


@contextlib.contextmanager
def steady_process(loop: VirtualLoop, clocks: Clocks, seed: object) -> Iterator[None]:
    """Have the whole process live in the story's time, and draw from its seed."""
    chance = random.Random(f"{seed}-process")
    changes: dict[tuple[Any, str], Any] = {
        (time, "time"): clocks.of_node,
        (time, "time_ns"): lambda: int(clocks.of_node() * 1e9),
        (time, "monotonic"): loop.time,
        (time, "monotonic_ns"): lambda: int(loop.now * 1e9),
        (time, "perf_counter"): loop.time,
        (os, "urandom"): chance.randbytes,
        (secrets, "token_bytes"): lambda n=32: chance.randbytes(n),
        (secrets, "token_hex"): lambda n=32: chance.randbytes(n).hex(),
        (secrets, "token_urlsafe"): lambda n=32: chance.randbytes(n).hex(),
        (uuid, "uuid4"): lambda: uuid.UUID(bytes=chance.randbytes(16), version=4),
    }
    before = {place: getattr(*place) for place in changes}
    state = random.getstate()
    random.seed(f"{seed}-random")
    for (module, name), value in changes.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        random.setstate(state)
        for (module, name), value in before.items():
            setattr(module, name, value)
