"""`Prefer: wait=N`: calls that wait for tokens or a request slot instead of a 429."""

import asyncio
import json
import time
from contextlib import AsyncExitStack

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from support.refusals import check_balance, read_refusal
from support.scripted_keepa import fields
from support.waiting import until
from support.wire import Caller, ask, write_request

BATCH = "X-Service-Name: batch"
SHOP = "X-Service-Name: shop"
WAIT = "Prefer: wait=60"
FREE = "/tracking?type=list"
# So long a test waits for what should happen at once.
AT_ONCE_SECONDS = 5
# Reserved 24; such a product has no offers, and 6 are charged.
MANY_OFFERS = "/product?domain=1&offers=40&asin=B0MIN00001"


def products(count):
    return f"/product?domain=1&asin={','.join(f'B{n:09}' for n in range(count))}"


def call(gateway, *arguments):
    return asyncio.create_task(gateway.ask(*arguments))


async def waiting(gateway):
    """How many calls wait, by service."""
    services = (await gateway.ask("/status")).json()["services"]
    return {name: row["waiting"] for name, row in services.items() if row["waiting"]}


async def until_waiting(gateway, **wanted):
    async def so_many_wait():
        return await waiting(gateway) == wanted

    await until(so_many_wait)


async def ended_at(task):
    """Return the answer and when it came, monotonic."""
    return await task, time.monotonic()


@pytest.fixture
def log():
    """Every event that is logged while the test runs."""
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture
def pair(serve, redis_server, account):
    """Return a starter of two gateways that share a ledger."""

    async def start(upstream, **settings):
        shared = {"redis_url": redis_server.url, "account": account, **settings}
        gateways = [await serve(upstream, **shared) for _ in range(2)]
        for gateway in gateways:
            assert (await gateway.ask("/token")).status == 200
        return gateways

    return start


# What is asked for


@pytest.mark.parametrize(
    ("headers", "applied"),
    [
        (["Prefer: wait=7"], "wait=7"),
        (["prefer: WAIT=7"], "wait=7"),
        (['Prefer: wait="7"'], "wait=7"),
        (["Prefer: wait = 7"], "wait=7"),
        (["Prefer: respond-async, wait=7"], "wait=7"),
        (["Prefer: wait=7, handling=lenient"], "wait=7"),
        (["Prefer: wait=7; foo=bar"], "wait=7"),
        (["Prefer: return=minimal", "Prefer: wait=7"], "wait=7"),
        (["Prefer: wait=7", "Prefer: wait=9"], "wait=7"),
        (["Prefer: wait=0"], "wait=0"),
        (["Prefer: wait=60"], "wait=60"),
        (["Prefer: wait=61"], "wait=60"),
        (["Prefer: wait=900000000"], "wait=60"),
        (["Prefer: wait=99999999999999999999"], "wait=60"),
        (['Prefer: foo="a, wait=9", wait=7'], "wait=7"),
        (['Prefer: foo="a, wait=9"'], None),
        (['Prefer: foo="a; wait=9"'], None),
        ([], None),
        (["Prefer: wait"], None),
        (["Prefer: wait="], None),
        (["Prefer: wait=x"], None),
        (["Prefer: wait=-1"], None),
        (["Prefer: wait=1.5"], None),
        (["Prefer: wait=7s"], None),
        (['Prefer: wait="7'], None),
        (['Prefer: wait=7"'], None),
        (["Prefer: await=7"], None),
        (["Prefer: respond-async"], None),
        (["Prefer: "], None),
        (["Prefer: \xff=wait=7"], None),
    ],
)
async def test_preference(serve, simulate, headers, applied):
    """A wait in whole seconds is honoured up to MAX_WAIT_SECONDS, and said so on every answer."""
    gateway = await serve(await simulate(tokens=11))
    got = await gateway.ask(products(1), *headers)
    assert (got.status, got.get("Preference-Applied")) == (200, applied)
    # Of five lumps: more than anybody waits for.
    got = await gateway.ask(products(100), *headers)
    read_refusal(got, 429, "floor", "insufficientTokens")
    assert got.get("Preference-Applied") == applied


async def test_no_wait_is_granted_where_none_may_be(serve, simulate):
    """MAX_WAIT_SECONDS=0: nobody waits, and no preference is applied."""
    gateway = await serve(await simulate(tokens=10, first_lump_in_ms=800), max_wait_seconds=0)
    got = await gateway.ask(products(1), "Prefer: wait=5")
    read_refusal(got, 429, "floor", "insufficientTokens")
    assert got.get("Preference-Applied") is None


async def test_default_wait(serve, simulate):
    """A call that says nothing waits DEFAULT_WAIT_SECONDS; one that says 0 does not."""
    simulator = await simulate(tokens=10, first_lump_in_ms=900)
    gateway = await serve(simulator, default_wait_seconds=5)
    got = await gateway.ask(products(1), "Prefer: wait=0")
    read_refusal(got, 429, "floor", "insufficientTokens")
    got = await gateway.ask(products(1))
    assert (got.status, got.get("Preference-Applied")) == (200, None)


# What wakes


async def test_wakes_at_the_lump(log, serve, simulate):
    """A call waits for the lump that brings its tokens; its wait is not the gateway's time."""
    simulator = await simulate(tokens=10, first_lump_in_ms=1_500)
    gateway = await serve(simulator)
    await gateway.until_ready()
    lump_at = time.monotonic() + simulator.state()["refill_in_ms"] / 1000
    got, ended = await ended_at(call(gateway, products(5), BATCH, "Prefer: wait=9"))
    assert (got.status, got.get("Preference-Applied")) == (200, "wait=9")
    assert -0.01 < ended - lump_at < 1
    (line,) = (event for event in log if event["event"] == "call")
    assert 500 < line["waited_ms"] <= 1_500
    assert line["added_ms"] < 300
    text = (await gateway.ask("/metrics")).body.decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    (added,) = (s.value for s in samples if s.name == "keepa_gateway_added_seconds_sum")
    assert added < 0.3


async def test_wakes_when_a_hold_is_released(serve, simulate):
    """Tokens of a call that Keepa did not charge wake who waits, long before the lump."""
    gateway = await serve(await simulate(tokens=30, first_lump_in_ms=40_000))
    first = call(gateway, products(20), "X-Sim-Latency-Ms: 700", "X-Sim-Fault: all_zero")
    await gateway.until(lambda tokens: tokens["reserved"] == 20)
    second = call(gateway, products(20), BATCH, WAIT)
    await until_waiting(gateway, batch=1)
    assert (await first).status == 400
    async with asyncio.timeout(AT_ONCE_SECONDS):
        assert (await second).status == 200


async def test_wakes_when_a_hold_is_settled(serve, simulate):
    """What a call did not consume of its hold wakes who waits."""
    simulator = await simulate(tokens=35, first_lump_in_ms=40_000)
    gateway = await serve(simulator)
    first = call(gateway, MANY_OFFERS, "X-Sim-Latency-Ms: 700")
    await gateway.until(lambda tokens: tokens["reserved"] == 24)
    second = call(gateway, products(19), BATCH, WAIT)
    await until_waiting(gateway, batch=1)
    async with asyncio.timeout(AT_ONCE_SECONDS):
        assert [(await first).status, (await second).status] == [200, 200]
    assert simulator.state()["tokens_left"] == 10


async def test_wakes_when_another_caller_leaves(serve, simulate):
    """The tokens of a caller who hangs up before its turn wake who waits."""
    simulator = await simulate(tokens=32, first_lump_in_ms=40_000)
    gateway = await serve(simulator, max_concurrency=1)
    first = call(gateway, products(1), "X-Sim-Latency-Ms: 2000")
    await gateway.until(lambda tokens: tokens["reserved"] == 1)
    async with Caller(gateway.url) as leaver:
        await leaver.send(write_request(products(20)))
        await gateway.until(lambda tokens: tokens["reserved"] == 21)
        second = call(gateway, products(20), BATCH, WAIT)
        await until_waiting(gateway, batch=1)
    # It has its tokens while the first call still has the only slot to Keepa.
    await until_waiting(gateway)
    assert (await gateway.tokens())["reserved"] == 21
    assert [(await first).status, (await second).status] == [200, 200]


async def test_wakes_when_an_observation_raises_the_balance(serve, simulate):
    """Tokens that `/token` tells of wake who waits."""
    simulator = await simulate(tokens=10, first_lump_in_ms=40_000)
    gateway = await serve(simulator, balance_max_age_seconds=1)
    second = call(gateway, products(20), BATCH, WAIT)
    await until_waiting(gateway, batch=1)
    body = json.dumps({"tokens": 90, "first_lump_in_ms": 40_000}).encode()
    await ask(simulator.url, "/sim/reset", method="POST", body=body)
    async with asyncio.timeout(AT_ONCE_SECONDS):
        assert (await second).status == 200


async def test_wakes_by_what_another_gateway_settles(pair, simulate):
    """Tokens that come back to another gateway wake who waits here."""
    one, other = await pair(await simulate(tokens=35, first_lump_in_ms=50_000))
    first = call(other, MANY_OFFERS, "X-Sim-Latency-Ms: 700")
    await one.until(lambda tokens: tokens["reserved"] == 24)
    second = call(one, products(19), BATCH, WAIT)
    await until_waiting(other, batch=1)
    async with asyncio.timeout(AT_ONCE_SECONDS):
        assert [(await first).status, (await second).status] == [200, 200]


async def test_waits_for_the_request_rate(serve, simulator):
    """A call short of a request slot only waits for it."""
    gateway = await serve(simulator, rate_limit_per_minute=60, rate_limit_burst=1)
    for number in range(3):
        began = time.monotonic()
        got = await gateway.ask(FREE if number else products(1), "Prefer: wait=5")
        assert got.status == 200
        assert number == 0 or 0.8 < time.monotonic() - began < 2.5


# What does not wait


async def test_call_that_cannot_fit_in_time_is_refused_at_once(serve, simulate):
    """Where the lump comes after the wait, the refusal comes now."""
    gateway = await serve(await simulate(tokens=15, first_lump_in_ms=40_000))
    await gateway.until_ready()
    began = time.monotonic()
    got = await gateway.ask(products(20), "Prefer: wait=30")
    told = read_refusal(got, 429, "floor", "insufficientTokens")
    assert time.monotonic() - began < 2
    check_balance(told, available=15, required=20)
    assert got.get("Preference-Applied") == "wait=30"
    assert await waiting(gateway) == {}


@pytest.mark.parametrize(
    ("policy", "count", "reason"),
    [
        ({"tokens_per_hour": 2}, 3, "service_quota"),
        ({"max_cost": 2}, 3, "max_cost"),
        ({"endpoints": ["deal"]}, 3, "endpoint_not_allowed"),
        ({}, 51, "exceeds_capacity"),
    ],
)
async def test_own_caps_are_not_waited_for(serve, simulate, policy, count, reason):
    """What a lump does not cure is refused at once, however long the call would wait."""
    simulator = await simulate(tokens=50, refill_rate=1, first_lump_in_ms=900)
    gateway = await serve(simulator, service_policies=json.dumps({"batch": policy}))
    async with asyncio.timeout(AT_ONCE_SECONDS):
        got = await gateway.ask(products(count), BATCH, WAIT)
    assert (got.status in {403, 429}, got.json()["reason"]) == (True, reason)


async def test_concurrency_is_waited_for(serve, simulator):
    """A call beyond its service's calls in flight runs when one of them ends, and stops nobody."""
    policies = json.dumps({"batch": {"max_concurrency": 1}})
    gateway = await serve(simulator, service_policies=policies)
    first = call(gateway, products(1), BATCH, "X-Sim-Latency-Ms: 900")
    await gateway.until(lambda tokens: tokens["reserved"] == 1)
    second = call(gateway, products(1), BATCH, WAIT)
    await until_waiting(gateway, batch=1)
    assert (await gateway.ask(products(1), SHOP)).status == 200
    got = await gateway.ask(products(1), BATCH)
    read_refusal(got, 429, "service_concurrency", "quotaExceeded")
    assert not first.done()
    assert not second.done()
    assert [(await answer).status for answer in (first, second)] == [200, 200]


async def test_a_cap_of_the_hour_is_not_waited_for(serve, simulator):
    """A service that has used up its hour is told so at once."""
    policies = json.dumps({"batch": {"tokens_per_hour": 1}})
    gateway = await serve(simulator, service_policies=policies)
    assert (await gateway.ask(products(1), BATCH)).status == 200
    read_refusal(await gateway.ask(products(1), BATCH, WAIT), 429, "service_quota", "quotaExceeded")


# Whose turn


async def test_refused_at_the_end_of_its_wait_with_fresh_numbers(serve, simulate):
    """Who finds the lump taken by a service with a lower floor is told how things are by then."""
    simulator = await simulate(tokens=10, first_lump_in_ms=1_000)
    gateway = await serve(simulator, service_policies='{"batch": {"floor": 20}}')
    await gateway.until_ready()
    began = time.monotonic()
    batch = call(gateway, products(5), BATCH, "Prefer: wait=2")
    await until_waiting(gateway, batch=1)
    shop = call(gateway, products(15), SHOP, "Prefer: wait=2")
    assert (await shop).status == 200
    got = await batch
    assert 1.9 < time.monotonic() - began < 4
    told = read_refusal(got, 429, "service_floor", "insufficientTokens")
    check_balance(told, available=15, required=5, floor=20)
    assert (told["deficit"], got.get("Preference-Applied")) == (10, "wait=2")
    assert 50_000 < told["refillIn"] < 60_000
    rows = (await gateway.ask("/status")).json()["services"]
    assert (rows["batch"]["refusals"], rows["batch"]["waiting"]) == ({"service_floor": 1}, 0)


async def test_lower_floor_goes_first(serve, simulate):
    """Of two that wait, the service that may go lower has its tokens first, though it came last."""
    simulator = await simulate(tokens=10, first_lump_in_ms=1_200)
    gateway = await serve(simulator, max_concurrency=1, service_policies='{"batch": {"floor": 12}}')
    ended = []
    batch = call(gateway, products(5), BATCH, "Prefer: wait=9")
    batch.add_done_callback(lambda _: ended.append("batch"))
    await until_waiting(gateway, batch=1)
    shop = call(gateway, products(5), SHOP, "Prefer: wait=9", "X-Sim-Latency-Ms: 200")
    shop.add_done_callback(lambda _: ended.append("shop"))
    assert [(await batch).status, (await shop).status] == [200, 200]
    assert ended == ["shop", "batch"]


async def test_first_come_first_served(serve, keepa):
    """Calls of one floor have their tokens in the order they came."""
    keepa.token = fields(tokensConsumed=0, tokensLeft=10, refillIn=1_500)
    gateway = await serve(keepa, max_concurrency=1)
    await gateway.until_ready()
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller(gateway.url)) for _ in range(6)]
        for number, caller in enumerate(callers):
            await caller.send(write_request(f"/product?asin=B{number}", [BATCH, "Prefer: wait=9"]))
            await until_waiting(gateway, batch=number + 1)
        assert [(await caller.receive()).status for caller in callers] == [200] * 6
    order = [request.split(b"asin=")[1][:2] for request in keepa.requests]
    assert order == [b"B%d" % number for number in range(6)]


async def test_newcomer_does_not_overtake(serve, simulate):
    """Who comes when there are tokens again goes behind those who wait for them."""
    simulator = await simulate(tokens=20, first_lump_in_ms=1_500)
    gateway = await serve(simulator)
    await gateway.until_ready()
    large = call(gateway, products(25), BATCH, "Prefer: wait=9")
    await until_waiting(gateway, batch=1)
    # Fits now; but then the large one would miss its lump.
    got = await gateway.ask(products(10), SHOP)
    told = read_refusal(got, 429, "floor", "insufficientTokens")
    assert told["deficit"] == 0
    assert "waited longer" in told["error"]["message"]
    assert (await large).status == 200
    assert simulator.state()["tokens_left"] == 15


async def test_small_call_passes_where_nobody_is_delayed(serve, simulate):
    """A call that leaves the first one's lump in time does not wait behind it."""
    simulator = await simulate(tokens=25, first_lump_in_ms=1_500)
    gateway = await serve(simulator)
    await gateway.until_ready()
    large = call(gateway, products(30), BATCH, "Prefer: wait=9")
    await until_waiting(gateway, batch=1)
    assert (await gateway.ask(products(5), SHOP)).status == 200
    assert not large.done()
    assert (await large).status == 200
    assert simulator.state()["tokens_left"] == 10


async def test_line_is_shared_by_gateways(pair, simulate):
    """Calls that wait at two gateways are served in one order: by floor."""
    simulator = await simulate(tokens=10, first_lump_in_ms=3_000)
    one, other = await pair(simulator, service_policies='{"batch": {"floor": 14}}')
    batch = call(one, products(10), BATCH, "Prefer: wait=4")
    await until_waiting(other, batch=1)
    shop = call(other, products(10), SHOP, "Prefer: wait=4")
    assert (await shop).status == 200
    told = read_refusal(await batch, 429, "service_floor", "insufficientTokens")
    assert told["current_balance"] == 20


# Room


async def test_waiting_takes_no_place_on_the_way_to_keepa(serve, simulate):
    """Calls that wait for tokens leave slots and queue to others; the line is bounded too."""
    gateway = await serve(
        await simulate(tokens=10, first_lump_in_ms=40_000), max_concurrency=1, max_queue=2
    )
    async with AsyncExitStack() as stack:
        for number in (1, 2):
            caller = await stack.enter_async_context(Caller(gateway.url))
            await caller.send(write_request(products(1), [BATCH, WAIT]))
            await until_waiting(gateway, batch=number)
        # No third one waits at this gateway.
        async with asyncio.timeout(AT_ONCE_SECONDS):
            got = await gateway.ask(products(1), SHOP, WAIT)
        read_refusal(got, 429, "floor", "insufficientTokens")
        # One slot, and a queue of two.
        free = [call(gateway, FREE, SHOP, "X-Sim-Latency-Ms: 100") for _ in range(3)]
        assert [(await one).status for one in free] == [200] * 3
        assert await waiting(gateway) == {"batch": 2}


# Who leaves, and what goes away


@pytest.mark.parametrize("leavers", [1, 3])
async def test_who_leaves_while_waiting_spent_nothing(serve, simulate, leavers):
    """A caller who hangs up leaves no place and no hold, and its call is never sent."""
    simulator = await simulate(tokens=10, first_lump_in_ms=2_500)
    gateway = await serve(simulator)
    async with AsyncExitStack() as stack:
        for _ in range(leavers):
            caller = await stack.enter_async_context(Caller(gateway.url))
            await caller.send(write_request(products(5), [BATCH, "Prefer: wait=20"]))
        await until_waiting(gateway, batch=leavers)
    left_at = time.monotonic()
    await until_waiting(gateway)
    # By their own leave, not when others think their gateway gone.
    assert time.monotonic() - left_at < 1
    # The lump is all for those who are still there.
    assert (await gateway.ask(products(20), SHOP, "Prefer: wait=20")).status == 200
    tokens = await gateway.at_rest()
    assert (tokens["remaining"], tokens["requests_made"]) == (10, 1)
    assert simulator.state()["calls"]["product"] == 1
    rows = (await gateway.ask("/status")).json()["services"]
    assert "batch" not in rows or rows["batch"]["used"] == rows["batch"]["holds"] == 0


async def test_stop_refuses_those_who_wait(serve, simulate, stack):
    """A gateway that stops tells its waiting callers promptly, and leaves no place behind."""
    simulator = await simulate(tokens=10, first_lump_in_ms=50_000)
    gateway = await serve(simulator)
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(products(5), [BATCH, WAIT]))
        await until_waiting(gateway, batch=1)
        began = time.monotonic()
        stopping = asyncio.create_task(stack.aclose())
        got = await caller.receive()
        assert time.monotonic() - began < 3
        told = read_refusal(got, 429, "floor", "insufficientTokens")
        assert (told["current_balance"], got.get("Preference-Applied")) == (10, "wait=60")
        await stopping
        assert time.monotonic() - began < 6
    assert "product" not in simulator.state()["calls"]


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_redis_goes_away_from_those_who_wait(serve, simulate, own_redis, end):
    """Without the store nobody can wait for long: those who do are told so."""
    simulator = await simulate(tokens=10, first_lump_in_ms=50_000)
    gateway = await serve(simulator, redis_url=own_redis.url)
    assert (await gateway.ask("/token")).status == 200
    batch = call(gateway, products(5), BATCH, WAIT)
    await until_waiting(gateway, batch=1)
    getattr(own_redis, end)()
    began = time.monotonic()
    got = await batch
    # For a store that comes back within three seconds they keep their places.
    assert 2 < time.monotonic() - began < 5
    read_refusal(got, 503, "ledger_unavailable", "unavailable")
    assert got.get("Preference-Applied") == "wait=60"


async def test_emptied_redis_forgets_nobody_who_waits(serve, simulate, own_redis):
    """After FLUSHALL those who wait take their places again, and are served."""
    simulator = await simulate(tokens=10, first_lump_in_ms=7_000)
    gateway = await serve(simulator, redis_url=own_redis.url)
    assert (await gateway.ask("/token")).status == 200
    batch = call(gateway, products(5), BATCH, WAIT)
    await until_waiting(gateway, batch=1)
    own_redis.command("FLUSHALL")
    async with asyncio.timeout(15):
        assert (await batch).status == 200


async def test_circuit_opens_while_they_wait(serve, simulate):
    """Who waited until the circuit to Keepa opened is told that when its turn comes."""
    simulator = await simulate(tokens=10, first_lump_in_ms=1_500)
    gateway = await serve(simulator, breaker_failures=1)
    batch = call(gateway, products(5), BATCH, "Prefer: wait=20")
    await until_waiting(gateway, batch=1)
    assert (await gateway.ask(FREE, SHOP, "X-Sim-Fault: drop")).status == 502
    got = await batch
    read_refusal(got, 503, "circuit_open", "unavailable")
    assert got.get("Preference-Applied") == "wait=20"
    await until_waiting(gateway)
    assert (await gateway.tokens())["reserved"] == 0
    assert "product" not in simulator.state()["calls"]


async def test_refused_waiter_tells_how_long_it_waited(log, serve, simulate):
    """The line of a call that waited in vain has its wait, apart from the gateway's own time."""
    simulator = await simulate(tokens=10, first_lump_in_ms=500)
    gateway = await serve(simulator, service_policies='{"batch": {"floor": 20}}')
    await gateway.until_ready()
    batch = call(gateway, products(5), BATCH, "Prefer: wait=1")
    await until_waiting(gateway, batch=1)
    assert (await gateway.ask(products(20), SHOP, "Prefer: wait=1")).status == 200
    assert (await batch).status == 429
    lines = [event for event in log if event["event"] == "call" and event["service"] == "batch"]
    (line,) = lines
    assert (line["outcome"], line["reason"]) == ("refused", "service_floor")
    assert 900 < line["waited_ms"] < 1_500
    assert line["added_ms"] < 500
