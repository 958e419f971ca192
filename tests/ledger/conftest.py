"""The same ledger tests run on the embedded store and on a real Redis server."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from support.ledger.clock import SHIFT_CLOCK
from support.redis.server import RedisServer, lend

from gateway.balance import Events
from gateway.ledger import EmbeddedStore, Ledger, RedisStore, Rules, Store
from gateway.ledger.scripts import name_keys

RULES = Rules(
    hold_seconds=150, rate_per_minute=0, rate_burst=1, fresh_seconds=60, stale_seconds=300
)


class Ear:
    """Remembers every transition that a ledger heard of, and what it noticed."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Events]] = []

    def replied(self, script: str, seconds: float, events: Events) -> None:
        self.heard.append((script, events))

    def total(self, event: str) -> int:
        return sum(getattr(events, event) for _, events in self.heard)

    @property
    def inconsistent(self) -> set[str]:
        """What was found inconsistent."""
        return {
            what
            for _, events in self.heard
            for what in events.inconsistent.split(",")
            if events.inconsistent
        }


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from lend(RedisServer, tmp_path_factory.mktemp("redis"))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server to kill, stop and start again."""
    yield from lend(RedisServer, tmp_path)


@pytest.fixture(params=["embedded", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    store: Store
    if request.param == "embedded":
        store = EmbeddedStore()
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        # Learning is for fleets; the tests about it ask for their own store.
        store = RedisStore(server.url, learning_seconds=0)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def open_store(own_server: RedisServer) -> AsyncIterator[Callable[..., object]]:
    """Return a maker of stores on the test's own server, each like one gateway's."""
    opened: list[RedisStore] = []

    async def make(*, learning_seconds: float = 0) -> RedisStore:
        store = RedisStore(own_server.url, learning_seconds=learning_seconds)
        opened.append(store)
        await store.open()
        assert store.up
        return store

    yield make
    for store in opened:
        await store.close()


@pytest.fixture
def flush(request: pytest.FixtureRequest, store: Store) -> Callable[[], object]:
    """Return a function that empties the store, as FLUSHALL by hand would."""

    async def empty() -> None:
        if isinstance(store, EmbeddedStore):
            await store._client.flushall()
        else:
            server: RedisServer = request.getfixturevalue("redis_server")
            assert server.command("FLUSHALL").startswith(b"+OK")

    return empty


@pytest.fixture
def more(request: pytest.FixtureRequest) -> int:
    """How many times as many random schedules are wanted."""
    return request.config.getoption("--schedules")


_accounts = (f"test{n}" for n in itertools.count())


@pytest.fixture
def account() -> str:
    return next(_accounts)


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def open_ledger(store: Store, account: str, ear: Ear) -> Callable[..., Ledger]:
    """Return a maker of ledgers, each like one gateway's, on one store and account."""

    def make(rules: Rules = RULES) -> Ledger:
        return Ledger(store, account, rules, ear)

    return make


@pytest.fixture
def ledger(open_ledger: Callable[..., Ledger]) -> Ledger:
    return open_ledger()


@pytest.fixture
def pass_time(store: Store, account: str) -> Callable[..., object]:
    """Return a function that lets that many seconds pass for the ledger."""

    async def turn(seconds: float) -> None:
        await _load(store)
        await store.run(SHIFT_CLOCK, name_keys(account), lambda: (int(seconds * 1_000_000),))

    return turn


async def _load(store: Store) -> None:
    """An unknown script is sent by its text on Redis; the embedded store has to be told."""
    if isinstance(store, EmbeddedStore):
        await store._client.script_load(SHIFT_CLOCK.text)
