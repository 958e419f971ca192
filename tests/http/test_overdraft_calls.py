"""OVERDRAFT=when_full: a call dearer than the bucket may run, alone, from a full one."""

import asyncio
import json
import re

import pytest
from support.callers.refusals import NEVER_MS, check_balance, read_rate_limit, read_refusal
from support.callers.service_calls import BATCH, SHOP
from support.callers.wire import ask
from support.waiting import within

# The whole list: 500 tokens.
LIGHTNING = "/lightningdeal?domain=1"
PRODUCT = "/product?domain=1&asin=B000000001"
SLOW = "X-Sim-Latency-Ms: 600"


@pytest.fixture
async def small(simulate):
    """An account whose bucket, which is full, holds 300."""
    return await simulate(tokens=300, refill_rate=5)


async def gauge(gateway, name):
    text = (await gateway.ask("/metrics")).body.decode()
    return float(re.search(rf"^keepa_gateway_{name} (\S+)$", text, re.MULTILINE)[1])


def never(got, available, held=0):
    """Check the refusal of a call that can never fit."""
    told = read_refusal(got, 429, "exceeds_capacity", "insufficientTokens")
    check_balance(told, available=available, required=500, held=held, capacity=300)
    assert (told["retryable"], told["refillIn"]) == (False, NEVER_MS)
    assert told["deficit"] == 510 - available


async def test_runs_from_a_full_bucket(serve, small):
    """Full, and nothing else held: the call runs, and its debt is shown until it is paid back."""
    gateway = await serve(small, overdraft="when_full")
    await gateway.until_ready()
    got = await gateway.ask(LIGHTNING, BATCH)
    assert (got.status, got.json()["tokensConsumed"]) == (200, 500)
    assert got.get("X-Keepa-Gateway-Reserved") == "500"
    assert read_rate_limit(got)[:2] == (300, 0)
    tokens = await gateway.at_rest()
    assert (tokens["remaining"], tokens["available"], tokens["debt"]) == (-200, -200, 200)
    assert (await gauge(gateway, "tokens_debt"), await gauge(gateway, "tokens_remaining")) == (
        200, -200,
    )  # fmt: skip
    assert small.state()["tokens_left"] == -200


async def test_others_wait_until_the_debt_is_paid(serve, small):
    """While it runs and until its debt is paid, others are refused; free calls pass."""
    gateway = await serve(small, overdraft="when_full")
    await gateway.until_ready()
    call = asyncio.create_task(gateway.ask(LIGHTNING, BATCH, SLOW))
    await gateway.until(lambda tokens: tokens["reserved"] == 500)
    told = read_refusal(await gateway.ask(PRODUCT, SHOP), 429, "floor", "insufficientTokens")
    check_balance(told, available=-200, required=1, held=500, capacity=300)
    assert (told["deficit"], told["max_items_now"], told["retryable"]) == (211, 0, True)
    assert (await gateway.ask("/tracking?type=list", SHOP)).status == 200
    assert (await call).status == 200
    await gateway.at_rest()
    told = read_refusal(await gateway.ask(PRODUCT, SHOP), 429, "floor", "insufficientTokens")
    check_balance(told, available=-200, required=1, capacity=300)
    # 211 tokens at 5 a minute: 43 lumps. One more is counted on: the next may find the bucket full,
    # for all that the ledger knows of when Keepa charged the call.
    assert 42 * 60_000 < told["refillIn"] <= 44 * 60_000
    never(await gateway.ask(LIGHTNING, BATCH), -200)
    assert small.state()["calls"]["lightningdeal"] == 1


async def test_debt_is_paid_back(serve, simulate):
    """With the lumps the debt goes, and calls run again."""
    simulator = await simulate(tokens=300, refill_rate=5)
    gateway = await serve(simulator, overdraft="when_full", balance_max_age_seconds=1)
    await gateway.until_ready()
    assert (await gateway.ask(LIGHTNING, BATCH)).status == 200
    await gateway.until(lambda tokens: tokens["debt"] == 200)
    body = json.dumps({"tokens": 40}).encode()
    await ask(simulator.url, "/sim/reset", method="POST", body=body)
    await gateway.until(lambda tokens: (tokens["debt"], tokens["remaining"]) == (0, 40))
    assert await gauge(gateway, "tokens_debt") == 0
    assert (await gateway.ask(PRODUCT, SHOP)).status == 200


async def test_not_from_a_bucket_that_is_not_full(serve, simulate):
    """One token short of full it stays `exceeds_capacity`."""
    gateway = await serve(await simulate(tokens=299, refill_rate=5), overdraft="when_full")
    await gateway.until_ready()
    never(await gateway.ask(LIGHTNING, BATCH), 299)


async def test_not_beside_another_call(serve, simulate):
    """With anything held it does not run, and it does not wait in the line."""
    simulator = await simulate(tokens=301, refill_rate=5)
    gateway = await serve(simulator, overdraft="when_full")
    await gateway.until_ready()
    call = asyncio.create_task(gateway.ask(PRODUCT, SHOP, SLOW))
    await gateway.until(lambda tokens: tokens["reserved"] == 1)
    available = (await gateway.tokens())["available"]
    async with within(5):
        never(await gateway.ask(LIGHTNING, BATCH, "Prefer: wait=60"), available, held=1)
    assert not call.done()
    assert (await call).status == 200


async def test_two_at_once(serve, small):
    """Of several at once one runs."""
    gateway = await serve(small, overdraft="when_full")
    await gateway.until_ready()
    answers = await asyncio.gather(*(gateway.ask(LIGHTNING, BATCH, SLOW) for _ in range(6)))
    assert sorted(got.status for got in answers) == [200] + [429] * 5
    assert small.state()["lowest_balance"] == -200


async def test_never_by_default(serve, small):
    """Without the rule a call dearer than the bucket is refused, also from a full one."""
    gateway = await serve(small)
    await gateway.until_ready()
    never(await gateway.ask(LIGHTNING, BATCH), 300)
    assert "lightningdeal" not in small.state()["calls"]


@pytest.mark.parametrize(("account", "own"), [("never", "when_full"), ("when_full", "never")])
async def test_services_own_rule(serve, small, account, own):
    """A service's `overdraft` takes the place of OVERDRAFT, for it alone."""
    policies = json.dumps({"batch": {"overdraft": own}})
    gateway = await serve(small, overdraft=account, service_policies=policies)
    await gateway.until_ready()
    may, may_not = (BATCH, SHOP) if own == "when_full" else (SHOP, BATCH)
    never(await gateway.ask(LIGHTNING, may_not), 300)
    assert (await gateway.ask(LIGHTNING, may)).status == 200


async def test_what_fits_is_no_overdraft(serve, small):
    """A call that fits the bucket is held to the floor, rule or not."""
    gateway = await serve(small, overdraft="when_full", min_balance_threshold=50)
    await gateway.until_ready()
    assert (await gateway.ask("/bestsellers?domain=1&category=3", BATCH)).status == 200
    await gateway.at_rest()
    asins = ",".join(f"B{n:09}" for n in range(34))
    got = await gateway.ask(f"/product?domain=1&offers=20&asin={asins}", BATCH)
    told = read_refusal(got, got.status, got.json()["reason"], "insufficientTokens")
    # 34 x 12 = 408 is dearer than the bucket, which is not full; 20 x 12 = 240 is not dearer.
    assert told["reason"] == "exceeds_capacity"
    asins = ",".join(f"B{n:09}" for n in range(20))
    got = await gateway.ask(f"/product?domain=1&offers=20&asin={asins}", BATCH)
    read_refusal(got, 429, "floor", "insufficientTokens")


@pytest.mark.parametrize(
    ("policy", "reason", "kind"),
    [
        ({"max_cost": 400}, "max_cost", "costLimit"),
        ({"tokens_per_day": 400}, "service_quota", "quotaExceeded"),
    ],
)
async def test_own_caps_hold_all_the_same(serve, small, policy, reason, kind):
    """The rule lifts the floor, not what the service may spend."""
    gateway = await serve(
        small, overdraft="when_full", service_policies=json.dumps({"batch": policy})
    )
    await gateway.until_ready()
    read_refusal(await gateway.ask(LIGHTNING, BATCH), 429, reason, kind)
    assert (await gateway.ask(LIGHTNING, SHOP)).status == 200


async def test_quote_of_an_overdraft(serve, small):
    """A quote says that the call would run while the bucket is full, and never after."""
    gateway = await serve(small, overdraft="when_full")
    await gateway.until_ready()
    told = (await gateway.ask("/quote?path=lightningdeal&domain=1", BATCH)).json()
    assert (told["admitted"], told["required_tokens"], told["reason"]) == (True, 500, None)
    assert (await gateway.ask(LIGHTNING, BATCH)).status == 200
    await gateway.at_rest()
    told = (await gateway.ask("/quote?path=lightningdeal&domain=1", BATCH)).json()
    assert (told["admitted"], told["reason"]) == (False, "exceeds_capacity")
