"""What happened, event by event: a digest of all of it, and the last ones of each party."""

import hashlib
from collections import deque
from typing import TextIO

from simulation.loop import START, VirtualLoop

_LAST = 12


class Trace:
    """A record of a run; two runs of one story have the same digest."""

    def __init__(self, loop: VirtualLoop, file: TextIO | None = None) -> None:
        self._loop, self._file = loop, file
        self._digest = hashlib.blake2b(digest_size=8)
        self.events = 0
        self._last: dict[str, deque[tuple[float, str]]] = {}

    def note(self, party: str, text: str) -> None:
        now = self._loop.now - START
        line = f"{now:.7f} {party} {text}\n"
        self.events += 1
        self._digest.update(line.encode())
        last = self._last.get(party)
        if last is None:
            last = self._last[party] = deque(maxlen=_LAST)
        last.append((now, text))
        if self._file:
            self._file.write(line)

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def last_events(self) -> dict[str, list[tuple[float, str]]]:
        """Return the last events of each party."""
        return {party: list(events) for party, events in sorted(self._last.items())}
