"""Clients in Java, PHP, Node, Go and curl, straight to the gateway."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator

import pytest
from support.callers.wire import ask
from support.gateways.processes import KEY, Gateway, Machines, Simulator
from support.redis.server import RedisServer
from support.waiting import until

from e2e.foreign_clients import (
    FOREIGN_CLIENTS,
    PROGRAMS,
    SERVICE_KEYS,
    Curl,
    ForeignClient,
    Go,
    Java,
    Node,
    Php,
    make_installed,
    pick,
    secret_of,
)

pytestmark = pytest.mark.e2e

ASINS = ["B000000001", "B000000002"]
# Time for each client to start on a busy machine, and to be refused.
LUMP_IN_MS = 15_000
SLACK_SECONDS = 1.0
PAGE = b'{"page": 0, "domainId": 1}'
FORM = f"key={KEY}&domain=1&asin=B000000001%2CB000000002".encode()
SELECTION = (
    "%7B%22brand%22%3A+%5B%22Brand+%26+S%C3%B6hne%22%5D%2C"
    "+%22current_SALES_lte%22%3A+20000%2C+%22perPage%22%3A+50%7D"
)
JSON = "application/json"
LABELLED_FORM = "application/x-www-form-urlencoded"
# What reaches Keepa, as the client spelled it, with the real key in the place of its own: the call,
# and of a POST also what its body is called and what it is.
ARRIVES = {
    "java": [
        (f"GET /product?key={KEY}&asin=B000000001%2CB000000002&domain=1",),
        (f"POST /deal?key={KEY}&", f"{JSON}; charset=UTF-8", PAGE),
        (f"GET /query?key={KEY}&domain=1&selection={SELECTION}",),
    ],
    "php": [
        (f"GET /product/?key={KEY}&asin=B000000001%2CB000000002&domain=1",),
        (f"POST /deal/?key={KEY}&", LABELLED_FORM, PAGE),
    ],
    "node": [("POST /product", f"{LABELLED_FORM};charset=UTF-8", FORM)],
    "go": [
        (f"GET /product?domain=1&asin=B000000001,B000000002&key={KEY}",),
        (f"POST /deal?domain=1&key={KEY}", JSON, PAGE),
    ],
    "curl": [
        (f"GET /product?key={KEY}&domain=1&asin=B000000001,B000000002",),
        (f"POST /deal?key={KEY}", JSON, PAGE),
    ],
}  # fmt: skip
COSTS = {"java": 2 + 5 + 11, "php": 2 + 5, "node": 2 + 2, "go": 2 + 5, "curl": 2 + 5}


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ForeignClient]:
    return asyncio.run(make_installed(tmp_path_factory.mktemp("clients")))


@pytest.fixture(params=FOREIGN_CLIENTS, ids=lambda kind: kind.name)
def client(request: pytest.FixtureRequest, clients: dict[str, ForeignClient]) -> ForeignClient:
    return pick(clients, request.param)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Simulator]]:
    """A simulator and a gateway in front of it, for tests that leave tokens to the next."""
    machines = Machines(tmp_path_factory.mktemp("pair"))
    simulator = machines.simulate(tokens=1000)
    asyncio.run(simulator.started())
    gateway = machines.serve(keepa_base_url=simulator.url, service_keys=SERVICE_KEYS)
    asyncio.run(gateway.started())
    asyncio.run(gateway.ready())
    yield gateway, simulator
    machines.end_all()


def statuses(client: ForeignClient, gateway: Gateway) -> list[int]:
    """Return what the client's calls were answered with, as far as they are logged."""
    lines = [line for line in gateway.logged("call") if line["service"] == client.name]
    return [line["status"] for line in lines]


async def answered(client: ForeignClient, gateway: Gateway) -> list[int]:
    """Wait until all the calls of a client that has ended are logged; return their statuses."""
    wanted = 3 if client.name == "java" else 2
    await until(lambda: statuses(client, gateway).count(200) == wanted)
    return statuses(client, gateway)


async def describe_arrivals(simulator: Simulator) -> list[tuple[object, ...]]:
    """Return the last call to each endpoint but `/token`, in the form of `ARRIVES`."""
    arrivals: list[tuple[object, ...]] = []
    for endpoint, call in (await simulator.state())["last_call_by_endpoint"].items():
        # An empty query says no more than none.
        line = f"{call['method']} {call['raw_path']}".removesuffix("?")
        if call["method"] == "POST":
            [label] = [value for name, value in call["raw_headers"] if name == "Content-Type"]
            arrivals.append((line, label, call["body_sha256"]))
        elif endpoint != "token":
            arrivals.append((line,))
    return arrivals


async def test_calls_are_answered(client: ForeignClient, pair: tuple[Gateway, Simulator]) -> None:
    """Each call reaches Keepa as the client wrote it, but for the key, and is its service's."""
    gateway, simulator = pair
    assert (await ask(simulator.url, "/sim/reset", method="POST")).status == 200
    before = await simulator.balance()
    said = (await client.run(gateway.url)).said
    got, posted = said["answers"][:2]
    assert [product["asin"] for product in got["products"]] == ASINS
    assert posted.keys() & {"deals", "products"}
    assert await answered(client, gateway) == [200] * len(said["answers"])
    assert before - await simulator.balance() == COSTS[client.name]
    assert await describe_arrivals(simulator) == [
        (*call[:2], *(hashlib.sha256(body).hexdigest() for body in call[2:]))
        for call in ARRIVES[client.name]
    ]


async def test_refusals_are_waited_out_no_longer_than_needed(
    clients: dict[str, ForeignClient], machines: Machines, figures: Callable[..., None]
) -> None:
    """Clients that are short of tokens wait for the lump, once, and then get their answers."""
    simulator, gateway, watch = await machines.before_a_lump(
        10,
        LUMP_IN_MS,
        f"X-Api-Key: {secret_of('starter')}",
        rate=60,
        service_keys=f"{SERVICE_KEYS},starter:{secret_of('starter')}",
    )
    lump_at_ms = time.time() * 1000 + (await simulator.state())["refill_in_ms"]
    runs = await asyncio.gather(*(client.run(gateway.url) for client in clients.values()))
    for client, run in zip(clients.values(), runs, strict=True):
        waited_beyond = (run.said["answered_at_ms"] - lump_at_ms) / 1000
        figures(**{f"{client.name}_waited_beyond_the_lump": f"{waited_beyond:.3f} s"})
        assert waited_beyond >= 0
        assert waited_beyond - watch.delay_seconds < client.pause_seconds + SLACK_SECONDS
        answers = run.said["answers"]
        assert [product["asin"] for product in answers[0]["products"]] == ASINS
        assert await answered(client, gateway) == [429] + [200] * len(answers)
    assert await simulator.lowest() >= 10


async def test_a_wait_of_many_minutes_is_not_begun(
    clients: dict[str, ForeignClient], machines: Machines
) -> None:
    """The clients that are ours to write end at once where tokens come too late: fit for cron."""
    simulator = await machines.simulate(tokens=-200).started()
    gateway = machines.serve(keepa_base_url=simulator.url, service_keys=SERVICE_KEYS)
    await (await gateway.started()).ready()
    ours = [clients[kind.name] for kind in (Node, Go, Curl) if kind.name in clients]
    assert ours
    for client, run in zip(
        ours, await asyncio.gather(*(client.run(gateway.url) for client in ours)), strict=True
    ):
        assert (run.code != 0, run.output) == (True, "")
        assert "429" in run.errors
        await until(lambda client=client: statuses(client, gateway) == [429])


async def test_outage_of_the_store_is_sat_out(
    clients: dict[str, ForeignClient], machines: Machines, redis: RedisServer
) -> None:
    """The official clients ask again and again while the gateway has no Redis, and then go on."""
    official = [pick(clients, kind) for kind in (Java, Php)]
    simulator = await machines.simulate(tokens=1000).started()
    gateway = machines.serve(
        keepa_base_url=simulator.url, service_keys=SERVICE_KEYS, redis_url=redis.url
    )
    await (await gateway.started()).ready()
    redis.kill()
    running = asyncio.gather(*(client.run(gateway.url) for client in official))
    await until(lambda: all(statuses(client, gateway).count(503) >= 3 for client in official))
    redis.start()
    for client, run in zip(official, await running, strict=True):
        assert len(run.said["answers"]) >= 2
        assert set(await answered(client, gateway)) == {503, 200}


def test_hook_of_the_php_page_is_the_one_that_ran() -> None:
    """The class that docs/clients/php.md has people write is the stand-in's, letter by letter."""
    _, _, rest = (PROGRAMS / "keepa_client.php").read_text().partition("class GatewayClient")
    hook = "class GatewayClient" + rest.partition("\n}\n")[0]
    page = PROGRAMS.parents[1] / "docs/clients/php.md"
    assert hook in page.read_text()
