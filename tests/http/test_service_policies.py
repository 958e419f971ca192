"""What a service's policy refuses, fills in, counts and shows, through HTTP."""

import asyncio
import json
import time

import pytest
from support.callers.refusals import NEVER_MS, check_balance, read_rate_limit, read_refusal
from support.callers.service_calls import BATCH, MANY_OFFERS, SHOP, products
from support.callers.wire import Caller, write_request
from support.waiting import until

HOUR_MS = 3_600_000
# Between the gateway's clock and the test's, on a busy machine.
SLACK_MS = 3_000


def batch(**policy):
    return json.dumps({"batch": policy})


async def service(gateway, name="batch"):
    return (await gateway.ask("/status")).json()["services"][name]


@pytest.fixture
async def _within_one_hour():
    """Begin no test about a clock window at that window's very end."""
    await until(lambda: time.time() % 3600 < 3570, 40)


# What may not be done now


async def test_service_floor(serve, simulate):
    """A service stops at its own floor, is told that floor, and others go on."""
    simulator = await simulate(tokens=100, first_lump_in_ms=40_000)
    gateway = await serve(simulator, service_policies=batch(floor=80))
    assert (await gateway.ask(products(20), BATCH)).status == 200
    await gateway.at_rest()
    got = await gateway.ask(products(3), BATCH)
    told = read_refusal(got, 429, "service_floor", "insufficientTokens")
    check_balance(told, available=80, required=3, floor=80)
    assert (told["deficit"], told["max_items_now"], told["service"]) == (3, 0, "batch")
    assert told["error"]["message"] == (
        "Insufficient Keepa tokens: 80 available, 3 required above this service's floor of 80; "
        f"it fits in {told['retry_after_seconds']} s"
    )
    assert told["retryable"]
    assert 0 <= told["refillIn"] - simulator.state()["refill_in_ms"] < SLACK_MS
    assert read_rate_limit(got)[:2] == (1200, 0)
    assert (await gateway.ask(products(3), SHOP)).status == 200


async def test_accounts_floor_is_no_service_floor(serve, simulate):
    """A service whose own floor is the account's is refused for `floor`, as everybody is."""
    gateway = await serve(await simulate(tokens=12), service_policies=batch(floor=10))
    read_refusal(await gateway.ask(products(3), BATCH), 429, "floor", "insufficientTokens")


@pytest.mark.usefixtures("_within_one_hour")
@pytest.mark.parametrize(
    ("policy", "window_ms"),
    [
        ({"tokens_per_hour": 30}, HOUR_MS),
        ({"tokens_per_day": 30}, 24 * HOUR_MS),
        ({"tokens_per_hour": 30, "tokens_per_day": 30}, 24 * HOUR_MS),
        ({"tokens_per_hour": 30, "tokens_per_day": 900}, HOUR_MS),
    ],
)
async def test_service_quota(serve, simulator, policy, window_ms):
    """Beyond its cap a service waits for the window's end; no token is missing, others go on."""
    gateway = await serve(simulator, service_policies=batch(**policy))
    assert (await gateway.ask(products(20), BATCH)).status == 200
    await gateway.at_rest()
    got = await gateway.ask(products(11), BATCH, "Accept-Encoding: gzip")
    told = read_refusal(got, 429, "service_quota", "quotaExceeded")
    assert got.get("Content-Encoding") == "gzip"
    check_balance(told, available=80, required=11)
    assert (told["retryable"], told["deficit"], told["max_items_now"]) == (True, 0, 10)
    left_ms = window_ms - time.time() * 1000 % window_ms
    assert abs(told["refillIn"] - left_ms) < SLACK_MS
    assert (await gateway.ask(products(11), SHOP)).status == 200
    assert (await gateway.ask(products(10), BATCH)).status == 200


async def test_call_dearer_than_the_cap_itself(serve, simulator):
    """A call that costs more than a whole window's cap is not retryable."""
    gateway = await serve(simulator, service_policies=batch(tokens_per_day=30))
    told = read_refusal(
        await gateway.ask(products(31), BATCH), 429, "service_quota", "quotaExceeded"
    )
    assert (told["retryable"], told["refillIn"], told["max_items_now"]) == (False, NEVER_MS, 30)


@pytest.mark.usefixtures("_within_one_hour")
async def test_quota_counts_what_was_consumed(serve, simulator):
    """A hold counts in full while its call runs, then only what Keepa charged."""
    gateway = await serve(simulator, service_policies=batch(tokens_per_hour=30))
    call = asyncio.create_task(gateway.ask(MANY_OFFERS, BATCH, "X-Sim-Latency-Ms: 400"))
    await gateway.until(lambda tokens: tokens["reserved"] == 24)
    assert (await service(gateway))["hour"]["used"] == 24
    read_refusal(await gateway.ask(products(7), BATCH), 429, "service_quota", "quotaExceeded")
    got = await call
    assert (got.status, got.get("X-Keepa-Gateway-Reserved")) == (200, "24")
    await gateway.at_rest()
    assert (await service(gateway))["hour"]["used"] == 5
    assert (await gateway.ask(MANY_OFFERS, BATCH)).status == 200


@pytest.mark.usefixtures("_within_one_hour")
async def test_quota_counts_what_was_charged_above_the_price(serve, simulate):
    """An overrun (a code that matches many products) counts in full."""
    gateway = await serve(
        await simulate(tokens=1000, refill_rate=50), service_policies=batch(tokens_per_day=900)
    )
    target = "/product?domain=1&code=1500150015001"
    got = await gateway.ask(target, BATCH)
    assert (got.status, got.get("X-Keepa-Gateway-Reserved")) == (200, "1")
    await gateway.at_rest()
    assert (await service(gateway))["day"]["used"] == 1500
    read_refusal(await gateway.ask(target, BATCH), 429, "service_quota", "quotaExceeded")


@pytest.mark.usefixtures("_within_one_hour")
async def test_free_calls_pass_a_used_up_quota(serve, simulator):
    """A call that costs nothing passes whatever the service has used."""
    gateway = await serve(simulator, service_policies=batch(tokens_per_hour=1))
    assert (await gateway.ask(products(1), BATCH)).status == 200
    assert (await gateway.ask("/tracking?type=list", BATCH)).status == 200


async def test_service_concurrency(serve, simulator):
    """A service has at most so many calls in flight; it may try again in a second."""
    gateway = await serve(simulator, service_policies=batch(max_concurrency=2))
    slow = [
        asyncio.create_task(gateway.ask(products(2), BATCH, "X-Sim-Latency-Ms: 400"))
        for _ in range(2)
    ]
    await gateway.until(lambda tokens: tokens["reserved"] == 4)
    told = read_refusal(
        await gateway.ask(products(3), BATCH), 429, "service_concurrency", "quotaExceeded"
    )
    check_balance(told, available=96, required=3, held=4)
    assert (told["retryable"], told["retry_after_seconds"], told["refillIn"]) == (True, 1, 1000)
    assert (told["deficit"], told["max_items_now"]) == (0, 0)
    assert (await service(gateway))["holds"] == 2
    assert (await gateway.ask(products(3), SHOP)).status == 200
    assert [(await call).status for call in slow] == [200, 200]
    await gateway.at_rest()
    assert (await gateway.ask(products(3), BATCH)).status == 200


async def test_call_in_doubt_counts_as_in_flight(serve, simulator):
    """A call that Keepa may still be at work on takes its place among those in flight."""
    gateway = await serve(simulator, service_policies=batch(max_concurrency=1))
    assert (await gateway.ask(products(1), BATCH, "X-Sim-Fault: drop")).status == 502
    read_refusal(await gateway.ask(products(1), BATCH), 429, "service_concurrency", "quotaExceeded")


# A service that is blocked

BLOCKED = batch(blocked=True, floor=90)


@pytest.mark.parametrize("target", [products(1), "/token", "/tracking?type=list", "/no_endpoint"])
async def test_a_blocked_service_makes_no_call(serve, simulator, target):
    """Each call is a 403 for good, a free one and `/token` too; other services go on."""
    gateway = await serve(simulator, service_policies=BLOCKED)
    await gateway.until_ready()
    told = read_refusal(await gateway.ask(target, BATCH), 403, "blocked", "forbidden")
    assert (told["retryable"], told["current_balance"], told["service"]) == (False, None, "batch")
    assert "max_items_now" not in told
    assert "SERVICE_POLICIES" in told["error"]["message"]
    assert simulator.state()["calls"] == {"token": 1}
    assert (await gateway.ask(products(1), SHOP)).status == 200


async def test_a_blocked_service_is_told_before_all_else(serve, simulate):
    """Whatever limit, balance or rate would refuse too, the answer is that it is blocked."""
    gateway = await serve(
        await simulate(tokens=-50),
        service_policies=batch(blocked=True, endpoints=["product"], max_cost=1, floor=90),
        rate_limit_per_minute=1,
        rate_limit_burst=1,
    )
    for target in (products(5), "/deal?selection={}", "/product?domain=1&offers=100&asin=B1"):
        told = await gateway.ask(target, BATCH, "Prefer: wait=9")
        read_refusal(told, 403, "blocked", "forbidden")


async def test_a_blocked_service_is_told_so_without_a_store(serve):
    """With Redis away it gets its 403, and a quote of it too."""
    away = {"redis_url": "redis://127.0.0.1:1/0"}
    gateway = await serve("http://127.0.0.1:1", service_policies=BLOCKED, **away)
    read_refusal(await gateway.ask(products(1), BATCH), 403, "blocked", "forbidden")
    quoted = (await gateway.ask("/quote?path=product&asin=B1", BATCH)).json()
    assert (quoted["reason"], quoted["admitted"], quoted["retryable"]) == ("blocked", False, False)


async def test_operators_see_that_a_service_is_blocked(serve, simulator):
    """Its policy and refusals stand in `/status`, the refusals in `denied_total` too."""
    gateway = await serve(simulator, service_policies=BLOCKED)
    assert (await service(gateway))["policy"] == {"floor": 90, "blocked": True}
    for _ in range(2):
        await gateway.ask(products(1), BATCH)

    async def is_counted():
        row = await service(gateway)
        return row["denied"] == 2 and row["refusals"] == {"blocked": 2}

    await until(is_counted)
    metrics = (await gateway.ask("/metrics")).body.decode()
    labels = 'endpoint="product",mode="enforced",reason="blocked",service="batch"'
    assert f"keepa_gateway_denied_total{{{labels}}} 2.0" in metrics


async def test_shadow_mode_blocks_nobody(serve, simulator):
    """With ENFORCE=false a blocked service's calls run, its `/token` too, and are counted."""
    gateway = await serve(simulator, service_policies=BLOCKED, enforce=False)
    await gateway.until_ready()
    for target in (products(1), "/token"):
        assert (await gateway.ask(target, BATCH)).status == 200

    async def is_counted():
        return (await service(gateway))["refusals"] == {"blocked": 2}

    await until(is_counted)


# Whose policy

ROTATION = "batch:new-secret,batch:old-secret,shop:shop-secret"


@pytest.mark.parametrize(("key", "status"), [("new-secret", 403), ("old-secret", 403),
    ("shop-secret", 200), ("third-secret", 401)])  # fmt: skip
async def test_two_secrets_of_one_service(serve, simulator, key, status):
    """Either secret of a service makes the call its own, under its policy."""
    gateway = await serve(
        simulator, service_keys=ROTATION, service_policies=batch(endpoints=["product"])
    )
    got = await gateway.ask(f"/bestsellers?domain=1&category=3&key={key}")
    assert got.status == status
    if status == 403:
        assert got.json()["service"] == "batch"


async def test_default_is_for_all_the_rest(serve, simulator):
    """`default` holds for every service without a policy of its own, anonymous ones too."""
    text = json.dumps({"default": {"max_cost": 5}, "batch": {"max_cost": 9}})
    gateway = await serve(simulator, service_policies=text)
    await gateway.until_ready()
    for header in (SHOP, "X-Other: x"):
        told = read_refusal(await gateway.ask(products(6), header), 429, "max_cost", "costLimit")
        assert told["max_items_now"] == 5
    assert (await gateway.ask(products(9), BATCH)).status == 200


async def test_rate_limit_tells_what_is_left_above_the_services_floor(serve, simulator):
    """`r` is what this service may still spend, on answers and refusals alike."""
    gateway = await serve(simulator, service_policies=batch(floor=60))
    assert read_rate_limit(await gateway.ask(products(5), BATCH))[1] == 35
    assert read_rate_limit(await gateway.ask(products(5), SHOP))[1] == 80
    got = await gateway.ask(products(31), BATCH)
    told = read_refusal(got, 429, "service_floor", "insufficientTokens")
    assert (read_rate_limit(got)[1], told["max_items_now"]) == (30, 30)


# Several gateways


@pytest.mark.usefixtures("_within_one_hour")
async def test_quota_is_shared(pair, simulate):
    """Of 60 calls at once on two gateways a cap of 25 lets exactly 25 through."""
    gateways = await pair(await simulate(), service_policies=batch(tokens_per_hour=25))
    calls = [gateways[n % 2].ask(products(1), BATCH, "X-Sim-Latency-Ms: 100") for n in range(60)]
    answers = await asyncio.gather(*calls)
    assert sorted(got.status for got in answers) == [200] * 25 + [429] * 35
    for got in answers:
        if got.status == 429:
            read_refusal(got, 429, "service_quota", "quotaExceeded")
    for gateway in gateways:
        await gateway.at_rest()
        row = await service(gateway)
        assert (row["used"], row["hour"]["used"], row["hour"]["cap"]) == (25, 25, 25)
        assert row["refusals"] == {"service_quota": 35}


async def test_concurrency_is_shared(pair, simulate):
    """Of 20 calls at once on two gateways a bound of 3 lets exactly 3 through."""
    simulator = await simulate()
    gateways = await pair(simulator, service_policies=batch(max_concurrency=3))
    calls = [gateways[n % 2].ask(products(1), BATCH, "X-Sim-Latency-Ms: 800") for n in range(20)]
    answers = await asyncio.gather(*calls)
    assert sorted(got.status for got in answers) == [200] * 3 + [429] * 17
    assert simulator.state()["calls"]["product"] == 3


# What operators see


@pytest.mark.usefixtures("_within_one_hour")
async def test_status_shows_policies_and_their_use(serve, simulator):
    """A service's row: its policy, use in each window, holds, those who wait, refusals."""
    policy = {
        "floor": 60, "tokens_per_hour": 30, "tokens_per_day": 100, "max_cost": 25,
        "max_concurrency": 2, "endpoints": ["product"], "code_limit": 5, "max_offers": 40,
        "overdraft": "when_full",
    }  # fmt: skip
    gateway = await serve(simulator, service_policies=batch(**policy))
    row = await service(gateway)
    assert (row["used"], row["refusals"], row["waiting"]) == (0, {}, 0)
    assert row["policy"] == policy
    assert (await gateway.ask(products(20), BATCH)).status == 200
    await gateway.at_rest()
    for target, reason in ((products(26), "max_cost"), (products(25), "service_quota")):
        assert (await gateway.ask(target, BATCH)).json()["reason"] == reason
    assert (await gateway.ask("/deal?selection={}", BATCH)).status == 403
    slow = asyncio.create_task(gateway.ask(products(2), BATCH, "X-Sim-Latency-Ms: 2500"))

    async def all_counted():
        row = await service(gateway)
        return row if row["denied"] == 3 and row["holds"] else None

    row = await until(all_counted)
    left = int(3600 - time.time() % 3600)
    assert abs(row["hour"].pop("ends_in_seconds") - left) <= 3
    assert 0 < row["day"].pop("ends_in_seconds") <= 86_400
    assert row == {
        "used": 20, "denied": 3, "reserved": 2, "floor": 60, "holds": 1, "waiting": 0,
        "hour": {"used": 22, "cap": 30}, "day": {"used": 22, "cap": 100},
        "refusals": {"max_cost": 1, "service_quota": 1, "endpoint_not_allowed": 1},
        "policy": policy,
    }  # fmt: skip
    assert (await slow).status == 200
    status = (await gateway.ask("/status")).json()
    assert (status["enforce"], status["tokens"]["debt"]) == (True, 0)


async def test_pipelined_calls_are_answered_in_turn(serve, simulator):
    """Answers and refusals of one connection come in its order."""
    gateway = await serve(simulator, service_policies=batch(max_cost=2))
    async with Caller(gateway.url) as caller:
        targets = [products(1), products(3), products(2), products(4)]
        await caller.send(b"".join(write_request(target, [BATCH]) for target in targets))
        assert [(await caller.receive()).status for _ in targets] == [200, 429, 200, 429]
