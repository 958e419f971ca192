"""Clocks that tests turn: the ledger's own on any store, and one that stands still."""

import hashlib
import time
from pathlib import Path

from gateway.ledger.scripts import Script

_TEXT = (Path(__file__).parent / "shift_clock.lua").read_text(encoding="utf-8")
SHIFT_CLOCK = Script("shift_clock", _TEXT, hashlib.sha1(_TEXT.encode()).hexdigest())
"""Moves all times that a ledger remembers into the past; ARGV[3] in microseconds."""


class FrozenClock:
    """Time that passes only when told to, and a microsecond each time anyone looks."""

    def __init__(self) -> None:
        self._now_us = 10**12

    def monotonic(self) -> float:
        self._now_us += 1
        return self._now_us / 1e6

    time = monotonic

    def turn(self, ms: int) -> None:
        self._now_us += ms * 1000


class TurnedClock:
    """The real monotonic clock, and what it was turned by."""

    def __init__(self) -> None:
        self.turned_ms = 0

    def monotonic(self) -> float:
        return time.monotonic() + self.turned_ms / 1000

    def turn(self, ms: int) -> None:
        self.turned_ms += ms
