"""The store of one process: what was asked for longest ago gives way, by bytes."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.cache.store import Entry, Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from gateway.cache.entries import Packed

# What an entry takes besides its deflated text: name, head, body, moments, their place in the
# table. Measured; a test holds it to that.
OVERHEAD_BYTES: Final = 640


class _Place(NamedTuple):
    entry: Entry
    written_at: float

    @property
    def size(self) -> int:
        return OVERHEAD_BYTES + len(self.entry.body.deflated)

    def age_at(self, now: float) -> float:
        return self.entry.head.age_ms / 1000 + now - self.written_at

    def is_over(self, now: float) -> bool:
        return (now - self.written_at) * 1000 >= self.entry.head.life_ms


class MemoryStore:
    """Keeps entries for one process; nothing of it outlives that.

    Args:
        limit: in bytes, of everything together.
        clock: monotonic seconds.

    Attributes:
        size: in bytes.
        evicted: how many entries had to give way to others before their time.
    """

    up = True

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._leases: dict[str, tuple[str, float]] = {}
        self.size = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._places)

    async def look(self, names: Sequence[str]) -> list[Kept | None]:
        """Return what is there of each entry; to be looked at is to be wanted."""
        now = self._clock()
        places = [self._find(name, now) for name in names]
        return [place and Kept(place.entry.head, place.age_at(now)) for place in places]

    async def read(self, names: Sequence[str]) -> list[tuple[Kept, Packed] | None]:
        """Return each entry with its body."""
        now = self._clock()
        places = [self._find(name, now) for name in names]
        return [
            place and (Kept(place.entry.head, place.age_at(now)), place.entry.body)
            for place in places
        ]

    async def keep(self, entries: Iterable[Entry]) -> None:
        """Keep entries; one that is larger than all that may be kept is not."""
        now = self._clock()
        for entry in entries:
            self._remove(entry.name)
            place = _Place(entry, now)
            if place.size > self._limit:
                self.evicted += 1
                continue
            self._places[entry.name] = place
            self.size += place.size
            while self.size > self._limit:
                oldest = next(iter(self._places))
                self.evicted += not self._places[oldest].is_over(now)
                self._remove(oldest)

    async def lease(self, names: Sequence[str], owner: str, ttl_ms: int) -> set[str]:
        """Return those of the names that nobody fetches."""
        now = self._clock()
        free = {name for name in names if self._owner_of(name, now) is None}
        self._leases.update(dict.fromkeys(free, (owner, now + ttl_ms / 1000)))
        return free

    async def renew(self, names: Collection[str], owner: str, ttl_ms: int) -> set[str]:
        """Let the owner's leases begin anew."""
        now = self._clock()
        mine = {name for name in names if self._owner_of(name, now) == owner}
        self._leases.update(dict.fromkeys(mine, (owner, now + ttl_ms / 1000)))
        return mine

    async def drop(self, names: Collection[str], owner: str) -> None:
        """End the owner's leases."""
        now = self._clock()
        for name in names:
            if self._owner_of(name, now) == owner:
                del self._leases[name]

    async def close(self) -> None:
        """Give up all of it."""
        self._places.clear()
        self._leases.clear()
        self.size = 0

    def _find(self, name: str, now: float) -> _Place | None:
        place = self._places.get(name)
        if place is None:
            return None
        if place.is_over(now):
            self._remove(name)
            return None
        self._places.move_to_end(name)
        return place

    def _remove(self, name: str) -> None:
        place = self._places.pop(name, None)
        if place is not None:
            self.size -= place.size

    def _owner_of(self, name: str, now: float) -> str | None:
        """Return who fetches an entry; a lease that is over is nobody's."""
        owner, ends_at = self._leases.get(name, (None, 0.0))
        if owner is not None and ends_at <= now:
            del self._leases[name]
            return None
        return owner
