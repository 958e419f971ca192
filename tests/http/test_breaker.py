"""Calls that would surely fail are refused before anything is reserved, and no others."""

import asyncio
from collections import Counter

import pytest
from support.callers.refusals import read_refusal
from support.callers.wire import Caller, write_request
from support.waiting import until

PRODUCT = "/product?domain=1&asin=B000000001&key=x"
CATEGORY = "/category?domain=1&category=1&key=x"
FAILING = {"breaker_failures": 3, "breaker_cooldown_seconds": 30}
QUICK = {"breaker_failures": 3, "breaker_cooldown_seconds": 0.2}


async def breaker_of(gateway):
    return (await gateway.ask("/status")).json()["breaker"]


def is_closed(gateway):
    async def look():
        return await breaker_of(gateway) == "closed"

    return look


async def hang_up(_, writer):
    writer.close()


async def fail(gateway, times, fault="drop"):
    for _ in range(times):
        assert (await gateway.ask(PRODUCT, f"X-Sim-Fault: {fault}")).status >= 500


async def test_calls_without_an_answer_open_the_circuit(serve, simulator):
    """Calls that Keepa drops count; then all calls get a 503 at once."""
    gateway = await serve(simulator, **FAILING)
    await fail(gateway, 3)
    assert await breaker_of(gateway) == "open"
    reserved = (await gateway.tokens())["reserved"]
    calls = simulator.state()["calls"]
    for target in (PRODUCT, CATEGORY):
        got = await gateway.ask(target, "X-Service-Name: other")
        told = read_refusal(got, 503, "circuit_open", "unavailable")
        assert 28 <= told["retry_after_seconds"] <= 30
    assert (await gateway.tokens())["reserved"] == reserved
    assert simulator.state()["calls"] == calls
    assert "keepa_gateway_breaker_open 1.0" in (await gateway.ask("/metrics")).body.decode()


@pytest.mark.parametrize("fault", ["html_503", "empty_502", "cut_body_early", "http_500"])
async def test_answers_that_fail_open_the_circuit_of_their_kind(serve, simulator, fault):
    """A 5xx or a cut body counts against that service's calls of that endpoint, and no others."""
    gateway = await serve(simulator, **FAILING)
    for _ in range(3):
        await gateway.ask(PRODUCT, f"X-Sim-Fault: {fault}")
    assert await breaker_of(gateway) == "closed"
    calls = simulator.state()["calls"]["product"]
    told = read_refusal(await gateway.ask(PRODUCT), 503, "circuit_open", "unavailable")
    assert 28 <= told["retry_after_seconds"] <= 30
    assert "product calls" in told["error"]["message"]
    assert simulator.state()["calls"]["product"] == calls
    assert (await gateway.ask(CATEGORY)).status == 200
    assert (await gateway.ask(PRODUCT, "X-Service-Name: other")).status == 200
    page = (await gateway.ask("/metrics")).body.decode()
    assert "keepa_gateway_breaker_open 0.0" in page
    open_one = 'endpoint_breaker_open{endpoint="product",service="anonymous"} 1.0'
    assert open_one in page


async def test_one_failing_caller_refuses_nobody_else(serve, simulate):
    """A caller that polls, gets an error page each time and retries is alone with its circuit."""
    gateway = await serve(
        await simulate(tokens=1200),
        breaker_failures=5,
        breaker_cooldown_seconds=0.1,
        upstream_retries=3,
    )

    async def poll():
        while True:
            await gateway.ask(PRODUCT, "X-Service-Name: poller", "X-Sim-Fault: html_503")
            await asyncio.sleep(0.003)

    polling = asyncio.create_task(poll())
    statuses = Counter()
    async with Caller(gateway.url) as caller:
        for number in range(99):
            target = PRODUCT if number % 2 else CATEGORY
            await caller.send(write_request(target, ["X-Service-Name: steady"]))
            statuses[(await caller.receive()).status] += 1
            await asyncio.sleep(0.01)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    assert statuses == {200: 99}


async def test_a_call_with_its_retries_is_one(serve, simulator):
    """Attempts do not count: two calls of four attempts each are two failures."""
    gateway = await serve(simulator, breaker_failures=3, upstream_retries=3)
    await fail(gateway, 2)
    assert await breaker_of(gateway) == "closed"
    await fail(gateway, 1)
    assert await breaker_of(gateway) == "open"


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
    """After the cooldown the free question closes it, without any call; then all calls pass."""
    gateway = await serve(simulator, **QUICK)
    await gateway.until_ready()
    tokens_asked = simulator.state()["calls"]["token"]
    await fail(gateway, 3)
    assert await breaker_of(gateway) == "open"
    await until(is_closed(gateway))
    assert simulator.state()["calls"]["token"] == tokens_asked + 1
    calls = await asyncio.gather(*(gateway.ask(PRODUCT) for _ in range(5)))
    assert {got.status for got in calls} == {200}
    assert "keepa_gateway_breaker_open 0.0" in (await gateway.ask("/metrics")).body.decode()


async def test_circuit_stays_open_while_keepa_is_away(serve, keepa):
    """While the free question gets no answer either, the cooldown starts anew each time."""
    gateway = await serve(keepa, **QUICK)
    await gateway.until_ready()
    keepa.token_answers = False
    keepa.script = hang_up
    await fail(gateway, 3)
    asked = keepa.token_calls
    await until(lambda: keepa.token_calls >= asked + 3)
    assert (await gateway.ask(PRODUCT)).status == 503
    keepa.token_answers, keepa.script = True, None
    await until(is_closed(gateway))
    assert (await gateway.ask(PRODUCT)).status == 200


async def test_balance_that_is_refreshed_closes_the_circuit(serve, simulator):
    """The observer's own `/token` tells as well that Keepa answers."""
    gateway = await serve(simulator, balance_max_age_seconds=1, **FAILING)
    await fail(gateway, 3)
    assert await breaker_of(gateway) == "open"
    await until(is_closed(gateway))


async def test_failed_probe_opens_an_endpoint_again(serve, simulator):
    """A probe that fails is answered as it ended, and the cooldown starts anew."""
    gateway = await serve(simulator, **QUICK)
    await fail(gateway, 3, "html_503")
    assert (await gateway.ask(PRODUCT)).status == 503
    await asyncio.sleep(0.25)
    assert (await gateway.ask(PRODUCT, "X-Sim-Fault: empty_502")).status == 502
    read_refusal(await gateway.ask(PRODUCT), 503, "circuit_open", "unavailable")


async def test_denied_probe_gives_its_turn_back(serve, simulator):
    """A probe that does not fit the budget is refused with 429, and the next call is the probe."""
    gateway = await serve(simulator, **QUICK)
    await fail(gateway, 3, "html_503")
    await asyncio.sleep(0.25)
    dear = "/product?domain=1&offers=100&asin=" + ",".join(f"B{n:09d}" for n in range(99))
    assert (await gateway.ask(dear)).status == 429
    assert (await gateway.ask(PRODUCT)).status == 200
    calls = await asyncio.gather(*(gateway.ask(PRODUCT) for _ in range(5)))
    assert {got.status for got in calls} == {200}


async def test_retries_stop_when_the_circuit_opens(serve, keepa):
    """A call whose circuit another one opened meanwhile is not attempted further."""
    gateway = await serve(keepa, upstream_retries=10, breaker_failures=1)
    keepa.script = hang_up
    once = gateway.ask("/tracking?type=add&tracking=[]")
    got = await asyncio.gather(gateway.ask(PRODUCT), once)
    assert {answer.status for answer in got} == {502}
    assert len(keepa.requests) < 6


async def test_token_is_answered_while_the_circuit_is_open(serve, simulator):
    """`/token` is the ledger's answer, whatever Keepa does."""
    gateway = await serve(simulator, **FAILING)
    await fail(gateway, 3)
    assert (await gateway.ask("/token?key=x")).status == 200
