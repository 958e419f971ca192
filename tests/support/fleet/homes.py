"""Where a fleet's ledger lives: a store, its clock, and what can happen to its data."""

import itertools
import time
from typing import Any
from unittest import mock

import fakeredis.commands_mixins.server_mixin
import redis.asyncio

import gateway.ledger.ledger
from gateway.ledger import EmbeddedStore, RedisStore
from gateway.ledger.scripts import name_keys
from support.ledger.clock import SHIFT_CLOCK, FrozenClock, TurnedClock

LEARNING_MS = 2500
KEYS = ("ledger", "holds", "expiries", "starts", "services", "queue", "gateways", "markers")
_FOREVER_US = 10**13
_lives = itertools.count(1)


class Home:
    """What both homes can do; each knows how its own clock is turned."""

    store: Any
    client: Any
    clock: FrozenClock | TurnedClock

    def __init__(self) -> None:
        self.account = f"fleet{next(_lives)}"
        self.keys = name_keys(self.account)
        self._saved: tuple[list[bytes | None], int] | None = None

    async def open(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def turn(self, ms: int) -> None:
        """Let that much time pass for the ledger, its gateways and Keepa alike."""
        raise NotImplementedError

    async def set_clock_back(self, ms: int) -> None:
        """The store's clock is set back; time goes on from there."""
        raise NotImplementedError

    @property
    def store_time(self) -> float:
        """The store's clock, as hours and days go by."""
        raise NotImplementedError

    async def lose(self, name: str) -> None:
        """Delete one key."""
        await self.client.delete(self.keys[KEYS.index(name)])
        if name in {"ledger", "holds"}:
            self.begin_learning()

    def begin_learning(self) -> None:
        """The next script begins a new epoch: nothing is admitted for the learning time."""

    async def empty(self) -> None:
        await self.client.delete(*self.keys)
        self.begin_learning()

    async def save(self) -> None:
        """Remember the data, as a snapshot does."""
        dumps = [await self.client.dump(key) for key in self.keys]
        self._saved = dumps, getattr(self.clock, "turned_ms", 0)

    async def set_back(self) -> bool:
        """Restart from the snapshot, as another life of the server; False: there is none."""
        if self._saved is None:
            return False
        dumps, turned_ms = self._saved
        await self.client.delete(*self.keys)
        for key, dump in zip(self.keys, dumps, strict=True):
            if dump is not None:
                await self.client.restore(key, 0, dump)
        self.store._run_id = f"life{next(_lives)}"
        if isinstance(self.clock, TurnedClock):
            await self._shift(self.clock.turned_ms - turned_ms)
        self.begin_learning()
        return True

    async def _shift(self, ms: int) -> None:
        await self.store.run(SHIFT_CLOCK, self.keys, lambda: (ms * 1000,))


class EmbeddedHome(Home):
    """The embedded store with time itself standing still: no machine is too slow for it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FrozenClock()
        self._behind_ms = 0
        self._patches = (
            mock.patch.object(fakeredis.commands_mixins.server_mixin, "time", self),
            mock.patch.object(gateway.ledger.ledger, "time", self.clock),
        )

    async def open(self) -> None:
        for patch in self._patches:
            patch.start()
        self.store = EmbeddedStore()
        self.client = self.store._client
        await self.store.open()
        # As if it were a fleet's.
        self.store.learning_us = LEARNING_MS * 1000

    async def close(self) -> None:
        await self.store.close()
        for patch in self._patches:
            patch.stop()

    async def turn(self, ms: int) -> None:
        self.clock.turn(ms)

    async def set_clock_back(self, ms: int) -> None:
        self._behind_ms += ms

    def time(self) -> float:
        """What the store takes for the time."""
        return self.clock.time() - self._behind_ms / 1000

    @property
    def store_time(self) -> float:
        return self.time()


class RedisHome(Home):
    """A real Redis: its clock runs on, and is turned by moving all that the ledger remembers.

    When an epoch began cannot be moved (it is the epoch's name), so learning is told from here.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.clock = TurnedClock()
        self._learned_at = 0.0
        self._patch = mock.patch.object(gateway.ledger.ledger, "time", self.clock)

    async def open(self) -> None:
        self._patch.start()
        self.store = RedisStore(self._url, learning_seconds=0)
        self.client = redis.asyncio.Redis.from_url(self._url)
        await self.store.open()
        self.begin_learning()

    async def close(self) -> None:
        await self.client.delete(*self.keys)
        await self.client.aclose()
        await self.store.close()
        self._patch.stop()

    async def set_clock_back(self, ms: int) -> None:
        await self._shift(-ms)
        if ms > 1000:
            self.begin_learning()

    @property
    def store_time(self) -> float:
        # Which no test can turn.
        return time.time()

    async def turn(self, ms: int) -> None:
        await self._shift(ms)
        self.clock.turn(ms)
        if self.clock.monotonic() >= self._learned_at:
            self.store.learning_us = 0

    def begin_learning(self) -> None:
        self.store.learning_us = _FOREVER_US
        self._learned_at = self.clock.monotonic() + LEARNING_MS / 1000
