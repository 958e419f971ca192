"""Calls that the budget refuses: what they are told, and that they cost nothing."""

import asyncio

import pytest
from support.callers.refusals import NEVER_MS, check_balance, read_rate_limit, read_refusal
from support.callers.wire import Caller, write_request

ASINS = ",".join(f"B{n:09}" for n in range(100))
MINUTE_MS = 60_000
# Between the simulator's answer and ours, on a busy machine.
SLACK_MS = 3_000


def products(count):
    return f"/product?domain=1&key=x&asin={','.join(ASINS.split(',')[:count])}"


async def test_floor_tells_all_of_the_contract(serve, simulate):
    """A call that would cross the floor is told balance, price, floor, deficit and how many fit."""
    simulator = await simulate(tokens=15, first_lump_in_ms=40_000)
    gateway = await serve(simulator)
    got = await gateway.ask("/bestsellers?domain=1&category=3&key=x", "X-Service-Name: pricing")
    told = read_refusal(got, 429, "floor", "insufficientTokens")
    check_balance(told, available=15, required=50)
    assert (told["deficit"], told["endpoint"], told["service"]) == (45, "bestsellers", "pricing")
    assert told["error"]["message"] == (
        "Insufficient Keepa tokens: 15 available, 50 required above a floor of 10; "
        f"it fits in {told['retry_after_seconds']} s"
    )
    assert told["error"]["details"] == "bestsellers"
    assert (told["retryable"], told["refillRate"]) == (True, 20)
    assert "max_items_now" not in told
    assert got.get("X-Keepa-Gateway-Reserved") == "0"


@pytest.mark.parametrize(("required", "lumps"), [(6, 1), (25, 1), (26, 2), (45, 2), (100, 5)])
async def test_refill_in_is_exact_to_the_lump(serve, simulate, required, lumps):
    """`refillIn` and `Retry-After` name the very lump that covers the call."""
    simulator = await simulate(tokens=15, first_lump_in_ms=40_000)
    gateway = await serve(simulator)
    got = await gateway.ask(products(required))
    told = read_refusal(got, 429, "floor", "insufficientTokens")
    until_lump = simulator.state()["refill_in_ms"] + (lumps - 1) * MINUTE_MS
    # Never earlier than Keepa's lump; later by what passed since it was asked.
    assert 0 <= told["refillIn"] - until_lump < SLACK_MS
    assert told["deficit"] == required + 10 - 15
    assert told["max_items_now"] == 5


async def test_wait_counts_what_is_held(serve, simulate):
    """Tokens that calls in flight hold are not available, and the wait says so."""
    simulator = await simulate(tokens=60, first_lump_in_ms=40_000)
    gateway = await serve(simulator)
    async with Caller(gateway.url) as slow:
        await slow.send(write_request(products(40), ["X-Sim-Latency-Ms: 800"]))
        await gateway.until(lambda tokens: tokens["reserved"] == 40)
        got = await gateway.ask(products(20))
        told = read_refusal(got, 429, "floor", "insufficientTokens")
        check_balance(told, available=20, required=20, held=40)
        assert (told["deficit"], told["max_items_now"]) == (10, 10)
        assert read_rate_limit(got)[:2] == (1200, 10)


async def test_what_can_never_fit_says_so(serve, simulate):
    """A call dearer than the bucket less the floor can never fit: not retryable, an hour's wait."""
    simulator = await simulate(tokens=40, refill_rate=1)
    gateway = await serve(simulator)
    got = await gateway.ask(products(51))
    told = read_refusal(got, 429, "exceeds_capacity", "insufficientTokens")
    check_balance(told, available=40, required=51, capacity=60)
    assert (told["retryable"], told["refillIn"], told["deficit"]) == (False, NEVER_MS, 21)
    assert told["max_items_now"] == 30


async def test_what_just_fits_the_bucket_is_worth_waiting_for(serve, simulate):
    """A call that needs the whole bucket above the floor is retryable."""
    simulator = await simulate(tokens=40, refill_rate=1)
    gateway = await serve(simulator)
    told = read_refusal(await gateway.ask(products(50)), 429, "floor", "insufficientTokens")
    assert told["retryable"]
    assert told["refillIn"] > 19 * MINUTE_MS


async def test_without_gain_no_wait_helps(serve, simulate):
    """When trackings take every lump, the floor's refusal is not retryable."""
    simulator = await simulate(tokens=15, refill_rate=20, flow_reduction=20.0)
    gateway = await serve(simulator)
    told = read_refusal(await gateway.ask(products(6)), 429, "floor", "insufficientTokens")
    assert (told["retryable"], told["refillIn"]) == (False, NEVER_MS)
    assert told["tokenFlowReduction"] == 20.0


@pytest.mark.parametrize(
    ("tokens", "floor", "asked", "deficit", "fits"),
    [
        (-31, 10, 1, 42, 0),
        (10, 10, 1, 1, 0),
        (0, 0, 1, 1, 0),
        (0, -50, 1, 1, 0),
        (-5, -50, 1, 6, 0),
        (20, -50, 71, 1, 70),
        (5, 100, 1, 96, 0),
    ],
)
async def test_deficit_and_what_fits_at_the_edges(
    serve, simulate, tokens, floor, asked, deficit, fits
):
    """Deficit is max(required + floor, 1) - available; Keepa runs nothing from 0 down."""
    simulator = await simulate(tokens=tokens)
    gateway = await serve(simulator, min_balance_threshold=floor)
    told = read_refusal(await gateway.ask(products(asked)), 429, "floor", "insufficientTokens")
    check_balance(told, available=tokens, required=asked, floor=floor)
    assert (told["deficit"], told["max_items_now"]) == (deficit, fits)
    assert simulator.state()["calls"] == {"token": 1}


@pytest.mark.parametrize(("tokens", "floor"), [(11, 10), (1, 0), (1, -50)])
async def test_the_last_token_above_the_floor_may_be_spent(serve, simulate, tokens, floor):
    """A call that takes the balance to the floor exactly is admitted."""
    simulator = await simulate(tokens=tokens)
    gateway = await serve(simulator, min_balance_threshold=floor)
    assert (await gateway.ask(products(1))).status == 200
    assert simulator.state()["tokens_left"] == tokens - 1


async def test_call_admitted_by_the_wait_that_it_was_told(serve, simulate):
    """Who waits as long as the refusal says is admitted."""
    simulator = await simulate(tokens=10, first_lump_in_ms=1_200)
    gateway = await serve(simulator)
    told = read_refusal(await gateway.ask(products(20)), 429, "floor", "insufficientTokens")
    assert told["refillIn"] <= 1_300
    await asyncio.sleep(told["refillIn"] / 1000)
    assert (await gateway.ask(products(20))).status == 200


async def test_refused_call_takes_nothing(serve, simulate):
    """A refused call reaches Keepa never, and takes no token and no request slot."""
    simulator = await simulate(tokens=12)
    gateway = await serve(simulator, rate_limit_per_minute=1, rate_limit_burst=2)
    for _ in range(5):
        read_refusal(await gateway.ask(products(3)), 429, "floor", "insufficientTokens")
    assert (await gateway.ask(products(1))).status == 200
    assert (await gateway.ask(products(1))).status == 200
    tokens = await gateway.at_rest()
    assert (tokens["remaining"], tokens["requests_made"]) == (10, 2)
    assert simulator.state()["calls"] == {"token": 1, "product": 2}


async def test_free_calls_pass_whatever_the_balance(serve, simulate):
    """A call that costs nothing is not refused by the budget."""
    simulator = await simulate(tokens=-31)
    gateway = await serve(simulator)
    got = await gateway.ask("/tracking?type=list&key=x")
    assert got.status == 200
    assert got.get("X-Keepa-Gateway-Reserved") == "0"


async def test_headers_of_an_admitted_call(gateway):
    """An answer of Keepa's carries the reservation and the bucket as the call left it."""
    got = await gateway.ask(products(7))
    assert got.get("X-Keepa-Gateway-Reserved") == "7"
    capacity, left, seconds = read_rate_limit(got)
    assert (capacity, left) == (1200, 100 - 7 - 10)
    assert 0 < seconds <= 60


async def test_rate_limit_is_never_negative(serve, simulate):
    """Below the floor `r` is 0, as a structured field's count of what is left must be."""
    gateway = await serve(await simulate(tokens=3))
    assert read_rate_limit(await gateway.ask(products(1)))[1] == 0


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True), ("zstd, gzip, deflate", True), ("GZip;q=0.3", True), ("*", True),
        ("identity", False), ("br", False), ("gzip;q=0", False), (None, False),
    ],
)  # fmt: skip
async def test_refusal_is_gzipped_for_who_accepts_it(serve, simulate, accepted, packed):
    """A refusal is gzipped when, and only when, the caller accepts gzip."""
    gateway = await serve(await simulate(tokens=3))
    headers = [] if accepted is None else [f"Accept-Encoding: {accepted}"]
    got = await gateway.ask(products(1), *headers)
    read_refusal(got, 429, "floor", "insufficientTokens")
    assert got.get("Content-Encoding") == ("gzip" if packed else None)
    assert int(got.get("Content-Length")) == len(got.body)
