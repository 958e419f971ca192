"""The gateway's own paths: /healthz, /readyz, /status, and who may see them."""

import asyncio

import pytest
from support.callers.refusals import read_refusal
from support.callers.wire import Caller, write_request
from support.waiting import within

from gateway import __version__

PRODUCT = "/product?domain=1&asin=B000000001&key=x"


async def test_alive_whatever_else_is_down(serve):
    """`/healthz` answers with neither Keepa nor Redis there."""
    gateway = await serve("http://127.0.0.1:1", redis_url="redis://127.0.0.1:1/0")
    for method in ("GET", "HEAD"):
        got = await gateway.ask("/healthz", method=method)
        assert (got.status, got.get("Content-Type")) == (200, "application/json")


async def test_ready_names_what_is_missing(serve, simulator):
    """`/readyz` is 200 with a store and a balance, else a 503 that names what is missing."""
    assert (await (await serve(simulator)).until_ready()).status == 200
    gateway = await serve("http://127.0.0.1:1", redis_url="redis://127.0.0.1:1/0")
    got = await gateway.ask("/readyz")
    assert (got.status, sorted(got.json()["missing"])) == (503, ["balance", "store"])


async def test_own_paths_reach_keepa_never(gateway, simulator):
    """The gateway's own paths are answered here, with any query."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    for target in ("/healthz?key=x", "/readyz?a=b", "/status?x", "/metrics?key=x"):
        assert (await gateway.ask(target)).status == 200
    assert simulator.state()["calls"] == {"token": 1}


async def test_status_has_the_shape_of_the_contract(serve, simulate):
    """`/status` tells tokens and services in the contract's fields."""
    simulator = await simulate(tokens=100, first_lump_in_ms=30_000, flow_reduction=0.5)
    gateway = await serve(simulator, safety_buffer=33, min_balance_threshold=5)
    assert (await gateway.ask(PRODUCT, "X-Service-Name: pricing")).status == 200
    await gateway.at_rest()
    got = await gateway.ask("/status")
    assert (got.status, got.get("Content-Type")) == (200, "application/json")
    status = got.json()
    tokens = status["tokens"]
    lump, minutes = tokens.pop("refill_in_ms"), tokens.pop("refill_in_minutes")
    age = tokens.pop("observed_seconds_ago")
    assert tokens == {
        "remaining": 99, "reserved": 0, "available": 99, "debt": 0, "floor": 5, "safety_buffer": 33,
        "capacity": 1200, "refill_rate": 20, "flow_reduction": 0.5, "total_used": 1,
        "requests_made": 1,
    }  # fmt: skip
    assert type(lump) is int
    assert 0 < lump <= 30_100
    assert minutes == round(lump / 60_000, 2)
    assert 0 <= age < 5
    assert status["services"].keys() == {"pricing"}
    wanted = {"used": 1, "denied": 0, "reserved": 0, "floor": 5}
    assert wanted.items() <= status["services"]["pricing"].items()
    assert (status["store"], status["version"]) == ("embedded", __version__)


async def test_status_shows_what_a_service_has_in_flight(gateway):
    """A service's live reservations stand in its row."""
    call = asyncio.create_task(
        gateway.ask(PRODUCT, "X-Service-Name: slow", "X-Sim-Latency-Ms: 400")
    )
    await gateway.until(lambda tokens: tokens["reserved"] == 1)
    row = (await gateway.ask("/status")).json()["services"]["slow"]
    assert {"used": 0, "denied": 0, "reserved": 1, "floor": 10}.items() <= row.items()
    assert (await call).status == 200


async def test_store_is_named(serve, simulator, redis_server, account):
    """`/status` says which store keeps the ledger."""
    gateway = await serve(simulator, redis_url=redis_server.url, account=account)
    assert (await gateway.ask("/status")).json()["store"] == "redis"


@pytest.mark.parametrize("path", ["/status", "/metrics", "/usage"])
async def test_admin_token_guards_status_and_metrics(serve, simulator, path):
    """With ADMIN_TOKEN, `/status` and its like want it as a bearer token, and name it."""
    gateway = await serve(simulator, admin_token="let-me-in", service_keys="pricing:s3cret")
    wrong = (
        [], ["Authorization: Bearer wrong"], ["Authorization: Bearer let-me-in2"],
        ["Authorization: Basic let-me-in"], ["Authorization: Bearer s3cret"],
        ["Authorization: Bearer \xff"], ["Authorization: Bearer"],
    )  # fmt: skip
    for got in await asyncio.gather(*(gateway.ask(path, *headers) for headers in wrong)):
        told = read_refusal(got, 401, "unauthorized")
        assert "ADMIN_TOKEN" in told["error"]["message"]
        assert got.get("WWW-Authenticate").startswith("Bearer")
    assert (await gateway.ask(f"{path}?key=let-me-in")).status == 401
    assert (await gateway.ask(path, "Authorization: Bearer let-me-in")).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_need_no_token(serve, simulator, path):
    """Probes come without credentials, whatever else is guarded."""
    gateway = await serve(simulator, admin_token="let-me-in", service_keys="pricing:s3cret")
    await gateway.until_ready()
    assert (await gateway.ask(path)).status == 200


async def test_draining_is_not_ready_and_still_answers(serve, simulator, stack):
    """Told to stop, the gateway is not ready while it still takes calls, then it closes."""
    gateway = await serve(simulator, drain_seconds=1)
    await gateway.until_ready()
    async with Caller(gateway.url) as caller:
        stopping = asyncio.create_task(stack.aclose())
        async with within(5):
            while (await gateway.ask("/readyz")).status == 200:
                await asyncio.sleep(0.01)
        assert "draining" in (await gateway.ask("/readyz")).json()["missing"]
        await caller.send(write_request(PRODUCT))
        assert (await caller.receive()).status == 200
        assert (await gateway.ask("/healthz")).status == 200
        await stopping
        assert await caller.has_ended()
    with pytest.raises(ConnectionError):
        await gateway.ask("/healthz")
