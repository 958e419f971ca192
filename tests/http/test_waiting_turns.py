"""Calls that wait: whose turn it is, who leaves, and what goes away meanwhile."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from support.callers.refusals import check_balance, read_refusal
from support.callers.service_calls import BATCH, SHOP, call, products, until_waiting, waiting
from support.callers.wire import Caller, write_request
from support.keepa.scripted import fields
from support.measure.stopwatch import Stopwatch
from support.waiting import within

WAIT = "Prefer: wait=60"
FREE = "/tracking?type=list"
# So long a test waits for what should happen at once.
AT_ONCE_SECONDS = 5


# Whose turn


async def test_refused_at_the_end_of_its_wait_with_fresh_numbers(serve, simulate):
    """Who finds the lump taken by a service with a lower floor is told how things are by then."""
    simulator = await simulate(tokens=10, first_lump_in_ms=1_000)
    gateway = await serve(simulator, service_policies='{"batch": {"floor": 20}}')
    await gateway.until_ready()
    began = Stopwatch()
    batch = call(gateway, products(5), BATCH, "Prefer: wait=2")
    await until_waiting(gateway, batch=1)
    shop = call(gateway, products(15), SHOP, "Prefer: wait=2")
    assert (await shop).status == 200
    got = await batch
    assert began.wall_seconds > 1.9
    assert began.seconds < 4
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
        async with within(AT_ONCE_SECONDS):
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
    left_at = Stopwatch()
    await until_waiting(gateway)
    # By their own leave, not when others think their gateway gone.
    assert left_at.seconds < 2
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
        began = Stopwatch()
        stopping = asyncio.create_task(stack.aclose())
        got = await caller.receive()
        assert began.seconds < 3
        told = read_refusal(got, 429, "floor", "insufficientTokens")
        assert (told["current_balance"], got.get("Preference-Applied")) == (10, "wait=60")
        await stopping
        assert began.seconds < 6
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
    began = Stopwatch()
    got = await batch
    # For a store that comes back within three seconds they keep their places.
    assert began.wall_seconds > 2
    assert began.seconds < 5
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
    async with within(15):
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
