"""Several gateways in front of one Keepa account, on one real Redis."""

import asyncio
import time

import pytest
from support.callers.refusals import check_balance, read_refusal
from support.callers.wire import ask
from support.keepa.scripted import fields
from support.waiting import within

PRODUCT = "/product?domain=1&asin=B000000001&key=x"
LEARNED_SECONDS = 2.5


@pytest.fixture
def fleet(serve, redis_server, account):
    """Return a starter of two gateways that share a ledger and have learned of each other."""

    async def start(upstream, **settings):
        shared = {"redis_url": redis_server.url, "account": account, **settings}
        gateways = [await serve(upstream, **shared) for _ in range(2)]
        for gateway in gateways:
            # Waits for the new ledger's learning time as any first call does.
            assert (await gateway.ask("/token?key=x")).status == 200
        return gateways

    return start


async def test_budget_is_spent_to_the_floor_exactly(fleet, simulate):
    """Of 200 calls at once on 100 tokens and a floor of 10, exactly 90 are answered."""
    simulator = await simulate(tokens=100)
    gateways = await fleet(simulator)
    answers = await asyncio.gather(
        *(ask(gateways[n % 2].url, PRODUCT, ["X-Sim-Latency-Ms: 50"]) for n in range(200))
    )
    refused = [got for got in answers if got.status == 429]
    assert sorted(got.status for got in answers) == [200] * 90 + [429] * 110
    for got in refused:
        told = read_refusal(got, 429, "floor", "insufficientTokens")
        assert told["deficit"] > 0
        check_balance(told, available=told["current_balance"], required=1, held=told["reserved"])
    state = simulator.state()
    assert (state["lowest_balance"], state["calls"]["product"], state["refused_total"]) == (
        10, 90, 0,
    )  # fmt: skip
    for gateway in gateways:
        tokens = await gateway.at_rest()
        assert (tokens["remaining"], tokens["total_used"]) == (10, 90)


async def test_request_rate_is_shared(fleet, simulate):
    """The request rate holds for all gateways together."""
    gateways = await fleet(await simulate(), rate_limit_per_minute=1, rate_limit_burst=5)
    answers = await asyncio.gather(*(ask(gateways[n % 2].url, PRODUCT) for n in range(12)))
    assert sorted(got.status for got in answers) == [200] * 5 + [429] * 7


async def test_balance_is_refreshed_by_one_of_them(fleet, simulate):
    """At each BALANCE_MAX_AGE_SECONDS one gateway asks Keepa, not each of them."""
    simulator = await simulate()
    gateways = await fleet(simulator, balance_max_age_seconds=1)
    asked, began = simulator.state()["calls"]["token"], time.monotonic()
    async with within(15):
        while simulator.state()["calls"]["token"] < asked + 3:
            await asyncio.sleep(0.02)
    # Three times a second apart; two gateways on their own would need half as long.
    assert time.monotonic() - began > 1.9
    for gateway in gateways:
        assert (await gateway.tokens())["observed_seconds_ago"] < 2


async def test_one_inquiry_for_the_whole_fleet(serve, keepa, redis_server, account):
    """While the balance is unknown one `/token` serves the waiting calls of every gateway."""
    may_answer = asyncio.Event()
    keepa.before_token = may_answer.wait
    shared = {"redis_url": redis_server.url, "account": account}
    gateways = [await serve(keepa, **shared) for _ in range(2)]
    calls = [asyncio.create_task(ask(gateways[n % 2].url, PRODUCT)) for n in range(20)]
    async with within(5):
        while not keepa.token_calls:
            await asyncio.sleep(0.01)
    may_answer.set()
    # A new ledger admits nothing in its first 2.5 seconds, which each call waits for.
    assert {(await call).status for call in calls} == {200}
    assert keepa.token_calls == 1


async def test_holds_of_one_are_seen_by_the_other(fleet, simulate):
    """What one gateway has in flight the other counts as reserved."""
    simulator = await simulate()
    first, second = await fleet(simulator)
    call = asyncio.create_task(first.ask(PRODUCT, "X-Sim-Latency-Ms: 500"))
    await second.until(lambda tokens: tokens["reserved"] == 1)
    told = (await second.ask("/token?key=x")).json()
    assert told["tokensLeft"] == 99
    assert (await call).status == 200
    assert (await second.at_rest())["remaining"] == 99


async def test_emptied_redis_costs_a_pause_and_no_tokens(fleet, simulate, own_redis):
    """FLUSHALL with calls in flight: their holds come back, and the balances agree afterwards."""
    simulator = await simulate(tokens=100)
    first, second = await fleet(simulator, redis_url=own_redis.url)
    calls = [
        asyncio.create_task(ask(gateway.url, PRODUCT, ["X-Sim-Latency-Ms: 3000"]))
        for gateway in (first, second) * 10
    ]
    await first.until(lambda tokens: tokens["reserved"] == 20)
    own_redis.command("FLUSHALL")
    began = time.monotonic()
    late = asyncio.create_task(ask(second.url, PRODUCT))
    await second.until(lambda tokens: tokens["reserved"] >= 20)
    assert (await late).status == 200
    assert time.monotonic() - began > LEARNED_SECONDS - 0.1
    assert {(await call).status for call in calls} == {200}
    await first.at_rest()
    # What was charged before and told again after is put right by the next answer.
    assert (await first.ask("/tracking?type=list&key=x")).status == 200
    await first.until(lambda tokens: tokens["remaining"] == 79)
    assert simulator.state()["tokens_left"] == 79


async def test_emptied_redis_is_noticed_without_calls(fleet, keepa, own_redis):
    """After FLUSHALL a gateway without calls is ready again soon, by an observation of its own."""
    first, second = await fleet(keepa, redis_url=own_redis.url)
    keepa.token = fields(tokensLeft=70)
    own_redis.command("FLUSHALL")
    for gateway in (first, second):
        await gateway.until(lambda tokens: tokens["remaining"] == 70)
        assert (await gateway.ask("/readyz")).status == 200
