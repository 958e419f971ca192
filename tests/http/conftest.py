"""The gateway as it is served, in front of the simulator or of a scripted upstream."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import structlog
from prometheus_client import CollectorRegistry
from support.gateways.served import REAL_KEY, Gateway
from support.keepa.scripted import ScriptedKeepa, scripted_keepa
from support.redis.server import RedisServer, lend

from gateway.app import serving
from gateway.ledger import Ledger, RedisStore, Rules
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.simulator import RunningSimulator, SimulatorConfig, start_simulator

Simulate = Callable[..., Awaitable[RunningSimulator]]
Serve = Callable[..., Awaitable[Gateway]]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor a `.env` file of the developer's decides a test."""
    known = {name.upper() for name in Settings.model_fields}
    for name in os.environ.keys() & (known | {name.lower() for name in known}):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def simulate(stack: AsyncExitStack) -> Simulate:
    """Return a starter of simulators that know the real key only."""

    async def start(**config: object) -> RunningSimulator:
        # Whatever a test is about, answers are hard to read, and calls as short as they may be.
        hard = {"decoys": True, "lenient": True}
        made = SimulatorConfig(**{"api_key": REAL_KEY, **hard, **config})
        return await stack.enter_async_context(await start_simulator(made))

    return start


@pytest.fixture
def serve(stack: AsyncExitStack) -> Serve:
    """Return a starter of gateways in front of a simulator, a script, or whatever has a `url`."""

    async def start(upstream: object, **settings: object) -> Gateway:
        chosen = {
            "_env_file": None,
            "keepa_api_key": REAL_KEY,
            "keepa_base_url": getattr(upstream, "url", upstream),
            "port": 0,
            "drain_seconds": 0,
            "rate_limit_per_minute": 0,
            # One attempt is one call, unless a test is about retries or the circuit breaker.
            "upstream_retries": 0,
            "breaker_failures": 1000,
            **settings,
        }
        return Gateway(await stack.enter_async_context(serving(Settings(**chosen))))

    return start


@pytest.fixture
async def simulator(simulate: Simulate) -> RunningSimulator:
    return await simulate()


@pytest.fixture
async def gateway(serve: Serve, simulator: RunningSimulator) -> Gateway:
    return await serve(simulator)


@pytest.fixture
async def keepa(stack: AsyncExitStack) -> ScriptedKeepa:
    """An upstream that follows a script."""
    return await stack.enter_async_context(scripted_keepa())


_ACCOUNTS = [f"http{number}" for number in range(24)]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for tests that leave it as it is."""
    for server in lend(RedisServer, tmp_path_factory.mktemp("redis")):
        asyncio.run(_begin_ledgers(server))
        yield server


async def _begin_ledgers(server: RedisServer) -> None:
    """Begin all tests' ledgers at once: a new one admits nothing for 2.5 s."""
    store = RedisStore(server.url)
    await store.open()
    rules = Rules(60, 0, 1, 60, 300)
    for account in _ACCOUNTS:
        metrics = Metrics(CollectorRegistry(), floor=0, safety_buffer=0)
        await Ledger(store, account, rules, metrics).overview()
    await store.close()


_accounts = iter(_ACCOUNTS)


@pytest.fixture
def account() -> str:
    """A ledger of the test's own on the shared Redis."""
    return next(_accounts)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis to stop, kill and empty."""
    yield from lend(RedisServer, tmp_path)


@pytest.fixture
def pair(serve: Serve, redis_server: RedisServer, account: str) -> Callable[..., Awaitable[object]]:
    """Return a starter of two gateways that share a ledger."""

    async def start(upstream: object, **settings: object) -> list[Gateway]:
        shared = {"redis_url": redis_server.url, "account": account, **settings}
        gateways = [await serve(upstream, **shared) for _ in range(2)]
        for gateway in gateways:
            assert (await gateway.ask("/token")).status == 200
        return gateways

    return start


@pytest.fixture
def log() -> Iterator[list[MutableMapping[str, object]]]:
    """Every event that is logged while the test runs."""
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that opens a connection for each call, and sends none twice: it shows each fault."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as client:
        client._retry_connection = False
        yield client
