"""Where entries are kept: what every store does, whether it is this process or a Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from gateway.cache.entries import Head, Packed


class Entry(NamedTuple):
    """What is to be kept; its head says for how long, and how old it is by now."""

    name: str
    head: Head
    body: Packed


class Kept(NamedTuple):
    """What is there of an entry; `age` in seconds since its question was sent."""

    head: Head
    age: float


class Store(Protocol):
    """Keeps entries and leases by the names that `Question.name_entries` gives.

    Nothing here raises but programming errors: a store that is away has nothing and keeps nothing.
    What it costs then is tokens, never a call.
    """

    @property
    def up(self) -> bool:
        """Whether it answers in time."""

    async def look(self, names: Sequence[str]) -> list[Kept | None]:
        """Return what is there of each entry, without its body."""

    async def read(self, names: Sequence[str]) -> list[tuple[Kept, Packed] | None]:
        """Return each entry with its body, its age judged anew."""

    async def keep(self, entries: Iterable[Entry]) -> None:
        """Keep entries in place of those of the same names."""

    async def lease(self, names: Sequence[str], owner: str, ttl_ms: int) -> set[str]:
        """Return those of the names that the owner may fetch: nobody else does, until it ends."""

    async def renew(self, names: Collection[str], owner: str, ttl_ms: int) -> set[str]:
        """Let the owner's leases begin anew; return those that it still had."""

    async def drop(self, names: Collection[str], owner: str) -> None:
        """End the owner's leases; those that are another's by now stay."""

    async def close(self) -> None:
        """Stop."""
