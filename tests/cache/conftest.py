"""The same tests of a store run on this process' memory and on a real Redis server."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.redis.server import RedisServer, lend

from gateway.cache.memory import MemoryStore
from gateway.cache.redis import RedisStore
from gateway.cache.store import Store

MEBIBYTE = 1024 * 1024
_accounts = (f"cache{n}" for n in itertools.count())


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from lend(RedisServer, tmp_path_factory.mktemp("redis"))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server to kill, stop and fill."""
    yield from lend(RedisServer, tmp_path, "--maxmemory", "4mb", "--maxmemory-policy", "noeviction")


@pytest.fixture
def account() -> str:
    return next(_accounts)


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, account: str) -> AsyncIterator[Store]:
    store: Store
    if request.param == "memory":
        store = MemoryStore(MEBIBYTE)
    else:
        # A busy machine may answer late.
        store = RedisStore(request.getfixturevalue("redis_server").url, account, look_seconds=5)
        await store.open()
    yield store
    await store.close()
