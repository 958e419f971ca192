"""The stock Python client, sync and async, pointed at the gateway by rebinding its HTTP library."""

import asyncio
import json
from types import SimpleNamespace

import aiohttp
import keepa
import keepa.keepa_async
import keepa.keepa_sync
import pytest
import requests
from support.gateways.processes import KEY, Machines
from support.waiting import until

pytestmark = pytest.mark.e2e

KEEPA = "https://api.keepa.com"
CALLERS_KEY = "k" * 64
ASINS = ["B000000001", "B000000002"]
SELECTION = {
    # A list of brands that makes 30 KB of selection.
    "brand": [f"Brand & Söhne, No. {number:05}" for number in range(1000)],
    "current_SALES_lte": 20_000,
    "perPage": 50,
}
LUMP_IN_MS = 3_500
# The client adds this to refillIn on its own.
FUDGE_SECONDS = 1.0
SLACK_SECONDS = 1.0


class Sync:
    """keepa.Keepa, its `requests` sent elsewhere."""

    def __init__(self, monkeypatch, url):
        def get(target, *arguments, **options):
            return requests.get(target.replace(KEEPA, url), *arguments, **options)

        monkeypatch.setattr(keepa.keepa_sync, "requests", SimpleNamespace(get=get))
        self._client = keepa.Keepa(CALLERS_KEY)

    async def status(self):
        await asyncio.to_thread(self._client.update_status)
        return self._client.status, self._client.tokens_left

    async def query(self, *items, **options):
        return await asyncio.to_thread(self._client.query, *items, progress_bar=False, **options)

    async def find(self, selection):
        return await asyncio.to_thread(self._client.product_finder, selection)


class Async:
    """keepa.AsyncKeepa, its `aiohttp` sent elsewhere."""

    def __init__(self, monkeypatch, url):
        class Session:
            """aiohttp's own, which does not want to be a base class."""

            async def __aenter__(self):
                self._session = aiohttp.ClientSession()
                return self

            async def __aexit__(self, *_):
                await self._session.close()

            def get(self, target, **options):
                return self._session.get(target.replace(KEEPA, url), **options)

        monkeypatch.setattr(keepa.keepa_async, "aiohttp", SimpleNamespace(ClientSession=Session))
        self._client = None

    async def _made(self):
        if self._client is None:
            self._client = await keepa.AsyncKeepa.create(CALLERS_KEY)
        return self._client

    async def status(self):
        client = await self._made()
        await client.update_status()
        return client.status, client.tokens_left

    async def query(self, *items, **options):
        return await (await self._made()).query(*items, progress_bar=False, **options)

    async def find(self, selection):
        return await (await self._made()).product_finder(selection)


@pytest.fixture(params=[Sync, Async])
def point_at(request, monkeypatch):
    """Return a maker of the client in question."""
    return lambda url: request.param(monkeypatch, url)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A simulator and a gateway in front of it, for tests that leave tokens to the next."""
    machines = Machines(tmp_path_factory.mktemp("pair"))
    simulator = machines.simulate(tokens=1000)
    asyncio.run(simulator.started())
    gateway = machines.serve(keepa_base_url=simulator.url)
    asyncio.run(gateway.started())
    asyncio.run(gateway.ready())
    yield gateway, simulator
    machines.end_all()


@pytest.fixture
async def spent(pair):
    """Return a function that tells what the simulator charged since the test began."""
    _, simulator = pair
    before = await simulator.balance()

    async def tell():
        return before - await simulator.balance()

    return tell


async def test_status(point_at, pair, spent):
    """The client reads the balance from the gateway's `/token`, without a call to Keepa."""
    gateway, simulator = pair
    asked = (await simulator.state())["calls"]["token"]
    status, tokens_left = await point_at(gateway.url).status()
    assert (tokens_left, status.refillRate) == (await simulator.balance(), 20)
    assert 0 < status.refillIn <= 60_000
    assert (await simulator.state())["calls"]["token"] == asked


async def test_products(point_at, pair, spent):
    """A query for products comes back parsed, and costs what Keepa charges."""
    gateway, simulator = pair
    products = await point_at(gateway.url).query(ASINS)
    assert [product["asin"] for product in products] == ASINS
    assert await spent() == 2
    sent = (await simulator.state())["last_call_by_endpoint"]["product"]
    assert CALLERS_KEY not in json.dumps(sent)
    assert KEY in sent["raw_path"]


async def test_products_with_offers(point_at, pair, spent):
    """Options that cost more are reserved and settled alike."""
    gateway, _ = pair
    lines = len(gateway.logged("call"))
    await point_at(gateway.url).query(ASINS[0], offers=20)
    assert await spent() == 12
    await until(lambda: len(gateway.logged("call")) > lines)
    line = gateway.logged("call")[-1]
    assert (line["reserved"], line["consumed"]) == (12, 12)


async def test_finder_with_a_long_selection(point_at, pair, spent):
    """A finder call whose selection is 30 KB and more reaches Keepa as the client wrote it."""
    gateway, simulator = pair
    assert len(json.dumps(SELECTION)) > 30_000
    found = await point_at(gateway.url).find(SELECTION)
    assert found
    assert all(type(asin) is str for asin in found)
    sent = (await simulator.state())["last_call_by_endpoint"]["query"]
    assert len(sent["raw_path"]) > 30_000
    assert await spent() == 11


async def test_refusal_is_waited_out_no_longer_than_needed(point_at, machines):
    """A client that is short of tokens waits for the lump, once, and then gets its answer."""
    simulator, gateway, watch = await machines.before_a_lump(10, LUMP_IN_MS)
    products = await point_at(gateway.url).query(ASINS)
    longest = watch.seconds - LUMP_IN_MS / 1000
    assert [product["asin"] for product in products] == ASINS
    assert watch.wall_seconds - LUMP_IN_MS / 1000 >= FUDGE_SECONDS
    assert longest < FUDGE_SECONDS + SLACK_SECONDS

    def outcomes():
        lines = gateway.logged("call")
        return [line["outcome"] for line in lines if line["endpoint"] == "product"]

    await until(lambda: outcomes() == ["refused", "settled"])
    assert (await simulator.state())["tokens_left"] == 28
    assert (await simulator.lowest()) >= 10
