"""While Keepa fails every attempt, calls are refused before anything is reserved."""

import asyncio

import pytest
from support.refusals import read_refusal

PRODUCT = "/product?domain=1&asin=B000000001&key=x"
FAILING = {"breaker_failures": 3, "breaker_cooldown_seconds": 30}
QUICK = {"breaker_failures": 3, "breaker_cooldown_seconds": 0.2}


async def breaker_of(gateway):
    return (await gateway.ask("/status")).json()["breaker"]


async def fail(gateway, times, fault="drop"):
    for _ in range(times):
        assert (await gateway.ask(PRODUCT, f"X-Sim-Fault: {fault}")).status >= 500


@pytest.mark.parametrize("fault", ["drop", "html_503", "empty_502", "cut_body_early", "http_500"])
async def test_failures_open_the_circuit(serve, simulator, fault):
    """A drop, a page, a cut body and a 5xx of Keepa's count; then calls get a 503 at once."""
    gateway = await serve(simulator, **FAILING)
    for _ in range(3):
        await gateway.ask(PRODUCT, f"X-Sim-Fault: {fault}")
    assert await breaker_of(gateway) == "open"
    reserved = (await gateway.tokens())["reserved"]
    calls = simulator.state()["calls"]["product"]
    got = await gateway.ask(PRODUCT)
    told = read_refusal(got, 503, "circuit_open", "unavailable")
    assert 28 <= told["retry_after_seconds"] <= 30
    assert (await gateway.tokens())["reserved"] == reserved
    assert simulator.state()["calls"]["product"] == calls
    assert "keepa_gateway_breaker_open 1.0" in (await gateway.ask("/metrics")).body.decode()


async def test_unreachable_keepa_opens_the_circuit(serve, keepa):
    """No connection counts as well, and so does a time-out."""
    gateway = await serve(keepa, **FAILING)
    await gateway.until_ready()
    await keepa.go_away()
    for _ in range(3):
        assert (await gateway.ask(PRODUCT)).status == 502
    assert (await gateway.ask(PRODUCT)).status == 503


async def test_time_outs_open_the_circuit(serve, simulator):
    """A call that Keepa does not answer in time counts."""
    gateway = await serve(simulator, **FAILING, upstream_timeout_seconds=1)
    calls = [gateway.ask(PRODUCT, "X-Sim-Latency-Ms: 5000") for _ in range(3)]
    assert {got.status for got in await asyncio.gather(*calls)} == {504}
    assert await breaker_of(gateway) == "open"


@pytest.mark.parametrize("target", ["/product?asin=B1&domain=99", "/bestsellers?category=0"])
async def test_keepas_refusals_do_not_count(serve, simulate, target):
    """Keepa's 4xx and its 429 say that it is well."""
    gateway = await serve(await simulate(), **FAILING)
    for _ in range(5):
        await gateway.ask(target, "X-Sim-Fault: all_zero")
    assert await breaker_of(gateway) == "closed"


async def test_circuit_closes_by_itself(serve, simulator):
    """After the cooldown the free question and one call go first; then all calls pass again."""
    gateway = await serve(simulator, **QUICK)
    await fail(gateway, 3)
    tokens_asked = simulator.state()["calls"].get("token", 0)
    await asyncio.sleep(0.25)
    assert await breaker_of(gateway) == "half_open"
    assert (await gateway.ask(PRODUCT)).status == 200
    assert simulator.state()["calls"]["token"] == tokens_asked + 1
    assert await breaker_of(gateway) == "closed"
    assert "keepa_gateway_breaker_open 0.0" in (await gateway.ask("/metrics")).body.decode()


async def test_failed_probe_opens_it_again(serve, simulator):
    """A probe that fails is answered as it ended, and the cooldown starts anew."""
    gateway = await serve(simulator, **QUICK)
    await fail(gateway, 3)
    await asyncio.sleep(0.25)
    await fail(gateway, 1)
    assert await breaker_of(gateway) == "open"
    assert (await gateway.ask(PRODUCT)).status == 503


async def test_denied_probe_gives_its_turn_back(serve, simulator):
    """A probe that does not fit the budget is refused with 429, and the next call is the probe."""
    gateway = await serve(simulator, **QUICK)
    await fail(gateway, 3)
    await asyncio.sleep(0.25)
    dear = "/product?domain=1&offers=100&asin=" + ",".join(f"B{n:09d}" for n in range(99))
    assert (await gateway.ask(dear)).status == 429
    assert await breaker_of(gateway) == "half_open"
    assert (await gateway.ask(PRODUCT)).status == 200
    assert await breaker_of(gateway) == "closed"


async def test_retries_stop_when_the_circuit_opens(serve, keepa):
    """The call whose attempt opened it is not attempted further."""
    gateway = await serve(keepa, upstream_retries=10, breaker_failures=2)

    async def script(_, writer):
        writer.close()

    keepa.script = script
    assert (await gateway.ask(PRODUCT)).status == 502
    assert len(keepa.requests) == 2


async def test_token_is_answered_while_the_circuit_is_open(serve, simulator):
    """`/token` is the ledger's answer, whatever Keepa does."""
    gateway = await serve(simulator, **FAILING)
    await fail(gateway, 3)
    assert (await gateway.ask("/token?key=x")).status == 200
