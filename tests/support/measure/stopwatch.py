"""Time as it would have passed on a machine with nothing else to do."""

import os
import time
from pathlib import Path

_PROCESSES = Path("/proc")
_NS = 1_000_000_000
# A bound holds, at the latest, at so many times its seconds, whatever else the machine does.
SLOWEST = 10


class Stopwatch:
    """Measures seconds from its making, less those in which we stood ready and were not run.

    Linux tells of each thread how long it waited for a processor. Summed over this process and all
    that it started, that is at least what a busy machine took from whatever they did for each other
    meanwhile; nothing on an idle machine. Elsewhere than on Linux it is not known, and nothing is
    taken off.
    """

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._delays = _read_delays()

    @property
    def wall_seconds(self) -> float:
        """Seconds by the clock: what a lower bound is for."""
        return time.monotonic() - self._began_at

    @property
    def delay_seconds(self) -> float:
        """What the machine took from us."""
        return self.wall_seconds - self.seconds

    @property
    def seconds(self) -> float:
        """Seconds less the machine's delays, a tenth of the clock's at least: for upper bounds."""
        wall = self.wall_seconds
        delays = sum(
            max(0, delay - self._delays.get(thread, 0)) for thread, delay in _read_delays().items()
        )
        return max(wall - delays / _NS, wall / SLOWEST)


def _read_delays() -> dict[int, int]:
    """Return how long each thread of this process and its descendants waited, in ns."""
    delays: dict[int, int] = {}
    waiting = [os.getpid()]
    while waiting:
        try:
            threads = list((_PROCESSES / str(waiting.pop()) / "task").iterdir())
        except OSError:  # it has just ended, or there is no /proc
            continue
        for thread in threads:
            try:
                delays[int(thread.name)] = int((thread / "schedstat").read_text().split()[1])
                waiting += map(int, (thread / "children").read_text().split())
            except (OSError, IndexError):
                continue
    return delays
