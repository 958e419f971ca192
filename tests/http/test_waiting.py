"""`Prefer: wait=N`: calls that wait for tokens or a request slot instead of a 429."""

import asyncio
import json
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.callers.refusals import check_balance, read_refusal
from support.callers.service_calls import (
    BATCH,
    MANY_OFFERS,
    MANY_OFFERS_CHARGED,
    SHOP,
    call,
    products,
    until_waiting,
    waiting,
)
from support.callers.wire import Caller, ask, write_request
from support.keepa.scripted import answer
from support.measure.stopwatch import Stopwatch
from support.waiting import until, within

WAIT = "Prefer: wait=60"
FREE = "/tracking?type=list"
# So long a test waits for what should happen at once.
AT_ONCE_SECONDS = 5


async def ended_at(task):
    """Return the answer and when it came, monotonic."""
    return await task, time.monotonic()


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


async def test_a_full_line_promises_nothing(serve, simulate):
    """Where nobody more may wait, a call is refused at once, and not told that it might have."""
    simulator = await simulate(tokens=10, first_lump_in_ms=50_000)
    gateway = await serve(simulator, max_queue=1)
    async with Caller(gateway.url) as first:
        await first.send(write_request(products(1), [BATCH, "Prefer: wait=60"]))
        await until_waiting(gateway, batch=1)
        got = await gateway.ask(products(1), SHOP, "Prefer: wait=60")
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
    assert 500 < line["waited_ms"] < 2_500
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
    async with within(AT_ONCE_SECONDS):
        assert (await second).status == 200


async def test_wakes_when_a_hold_is_settled(serve, simulate):
    """What a call did not consume of its hold wakes who waits."""
    simulator = await simulate(tokens=35, first_lump_in_ms=40_000)
    gateway = await serve(simulator)
    first = call(gateway, MANY_OFFERS, "X-Sim-Latency-Ms: 700")
    await gateway.until(lambda tokens: tokens["reserved"] == 24)
    second = call(gateway, products(19), BATCH, WAIT)
    await until_waiting(gateway, batch=1)
    async with within(AT_ONCE_SECONDS):
        assert [(await first).status, (await second).status] == [200, 200]
    assert simulator.state()["tokens_left"] == 35 - MANY_OFFERS_CHARGED - 19


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
    async with within(AT_ONCE_SECONDS):
        assert (await second).status == 200


async def test_wakes_by_what_another_gateway_settles(pair, simulate):
    """Tokens that come back to another gateway wake who waits here."""
    one, other = await pair(await simulate(tokens=35, first_lump_in_ms=50_000))
    first = call(other, MANY_OFFERS, "X-Sim-Latency-Ms: 700")
    await one.until(lambda tokens: tokens["reserved"] == 24)
    second = call(one, products(19), BATCH, WAIT)
    await until_waiting(other, batch=1)
    async with within(AT_ONCE_SECONDS):
        assert [(await first).status, (await second).status] == [200, 200]


async def test_waits_for_the_request_rate(serve, simulator):
    """A call short of a request slot only waits for it."""
    gateway = await serve(simulator, rate_limit_per_minute=60, rate_limit_burst=1)
    for number in range(3):
        began = Stopwatch()
        got = await gateway.ask(FREE if number else products(1), "Prefer: wait=5")
        assert got.status == 200
        assert number == 0 or (began.wall_seconds > 0.8 and began.seconds < 2.5)


# What does not wait


async def test_call_that_cannot_fit_in_time_is_refused_at_once(serve, simulate):
    """Where the lump comes after the wait, the refusal comes now."""
    gateway = await serve(await simulate(tokens=15, first_lump_in_ms=40_000))
    await gateway.until_ready()
    began = Stopwatch()
    got = await gateway.ask(products(20), "Prefer: wait=30")
    told = read_refusal(got, 429, "floor", "insufficientTokens")
    assert began.seconds < 2
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
    async with within(AT_ONCE_SECONDS):
        got = await gateway.ask(products(count), BATCH, WAIT)
    assert (got.status in {403, 429}, got.json()["reason"]) == (True, reason)


async def test_concurrency_is_waited_for(serve, keepa):
    """A call beyond its service's calls in flight runs when one of them ends, and stops nobody."""
    answered = asyncio.Event()

    async def answer_when_told(_, writer):
        await answered.wait()
        writer.write(answer())

    keepa.script = answer_when_told
    policies = json.dumps({"batch": {"max_concurrency": 1}})
    gateway = await serve(keepa, service_policies=policies)
    first = call(gateway, products(1), BATCH)
    await until(lambda: keepa.requests)
    keepa.script = None
    second = call(gateway, products(1), BATCH, WAIT)
    await until_waiting(gateway, batch=1)
    assert (await gateway.ask(products(1), SHOP)).status == 200
    got = await gateway.ask(products(1), BATCH)
    read_refusal(got, 429, "service_concurrency", "quotaExceeded")
    assert not first.done()
    assert not second.done()
    answered.set()
    assert [(await ended).status for ended in (first, second)] == [200, 200]
