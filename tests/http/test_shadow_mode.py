"""ENFORCE=false: what would be refused is counted, logged and let through."""

import asyncio
import gzip
import json
from contextlib import AsyncExitStack

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.callers.refusals import read_refusal
from support.callers.service_calls import BATCH, products
from support.callers.wire import Caller, write_request
from support.gateways.served import REAL_KEY
from support.keepa.scripted import fields
from support.waiting import until, within

THREE = "/product?domain=1&asin=B000000001,B000000002,B000000003"


@pytest.fixture
def shadow(serve):
    """Return a starter of gateways that refuse nothing; `policy` is the batch service's."""

    async def start(upstream, *, policy=None, **settings):
        policies = json.dumps({"batch": policy or {}})
        return await serve(upstream, enforce=False, service_policies=policies, **settings)

    return start


async def denials(gateway):
    """Counts of `denied_total` by service, endpoint, reason and mode."""
    text = (await gateway.ask("/metrics")).body.decode()
    return {
        tuple(sample.labels[name] for name in ("service", "endpoint", "reason", "mode")):
            sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "keepa_gateway_denied_total"
    }  # fmt: skip


def would_refuse(log):
    return [event for event in log if event["event"] == "would_refuse"]


async def check_told(gateway, log, endpoint, reason, required):
    """See one would-be refusal of the batch service in metrics and log, and none that was one."""
    assert await denials(gateway) == {("batch", endpoint, reason, "shadow"): 1}
    (line,) = would_refuse(log)
    wanted = {
        "service": "batch", "endpoint": endpoint, "reason": reason, "required": required,
        "log_level": "info",
    }  # fmt: skip
    assert wanted.items() <= line.items()
    assert line["request_id"]


REASONS = {
    "floor": ({}, 12, 20, products(5), 5),
    "service_floor": ({"floor": 90}, 100, 20, products(12), 12),
    "exceeds_capacity": ({}, 60, 1, products(55), 55),
    "service_quota": ({"tokens_per_hour": 5}, 100, 20, products(6), 6),
    "max_cost": ({"max_cost": 5}, 100, 20, products(6), 6),
    "max_offers": ({"max_offers": 20}, 100, 20, "/product?domain=1&offers=40&asin=B0MIN1", 24),
    "code_limit": ({"code_limit": 2}, 100, 20, "/product?domain=1&code=1&code-limit=9", 9),
    "endpoint_not_allowed": ({"endpoints": ["deal"]}, 100, 20, products(2), 2),
    "blocked": ({"blocked": True}, 100, 20, products(2), 2),
}


@pytest.mark.parametrize("reason", REASONS)
async def test_would_be_refusal_passes(log, shadow, simulate, reason):
    """Whatever budget and policies would refuse runs, is counted, logged, and settled."""
    policy, tokens, rate, target, required = REASONS[reason]
    simulator = await simulate(tokens=tokens, refill_rate=rate)
    gateway = await shadow(simulator, policy=policy)
    await gateway.until_ready()
    got = await gateway.ask(target, BATCH)
    assert got.status == 200
    assert got.get("X-Keepa-Gateway-Reserved") == str(required)
    await check_told(gateway, log, "product", reason, required)
    tokens_told = await gateway.at_rest()
    assert tokens_told["remaining"] == simulator.state()["tokens_left"]
    assert tokens_told["total_used"] == simulator.state()["charged_total"] > 0

    async def counted():
        row = (await gateway.ask("/status")).json()["services"]["batch"]
        return row["refusals"] == {reason: 1} and row["denied"] == 1

    await until(counted)


async def test_concurrency_passes(log, shadow, simulator):
    """More calls in flight than the service may have all run."""
    gateway = await shadow(simulator, policy={"max_concurrency": 1})
    await gateway.until_ready()
    slow = asyncio.create_task(gateway.ask(products(1), BATCH, "X-Sim-Latency-Ms: 500"))
    await gateway.until(lambda tokens: tokens["reserved"] == 1)
    assert (await gateway.ask(products(2), BATCH)).status == 200
    await check_told(gateway, log, "product", "service_concurrency", 2)
    assert (await slow).status == 200


async def test_request_rate_passes(log, shadow, simulator):
    """Calls beyond the request rate run, and are counted each."""
    gateway = await shadow(simulator, rate_limit_per_minute=1, rate_limit_burst=1)
    await gateway.until_ready()
    for _ in range(3):
        assert (await gateway.ask(products(1), BATCH)).status == 200
    assert await denials(gateway) == {("batch", "product", "rate_limited", "shadow"): 2}
    assert [line["reason"] for line in would_refuse(log)] == ["rate_limited"] * 2


async def test_unknown_balance_passes(log, shadow, keepa):
    """A balance that nobody tells holds no call up."""
    keepa.token_answers = False
    gateway = await shadow(keepa)
    async with within(2):
        assert (await gateway.ask(products(3), BATCH)).status == 200
    assert len(keepa.requests) == 1
    await check_told(gateway, log, "product", "balance_unknown", 3)


async def test_call_that_would_run_is_no_denial(log, shadow, simulator):
    """A call that fits is counted and logged as ever."""
    gateway = await shadow(simulator, policy={"floor": 50, "max_cost": 40, "code_limit": 5})
    await gateway.until_ready()
    assert (await gateway.ask(products(40), BATCH)).status == 200
    assert (await denials(gateway), would_refuse(log)) == ({}, [])


async def test_one_call_is_one_denial(log, shadow, simulate):
    """A call that several things speak against is one would-be refusal, for what came first."""
    gateway = await shadow(await simulate(tokens=12), policy={"max_cost": 4, "floor": 50})
    await gateway.until_ready()
    assert (await gateway.ask(products(5), BATCH)).status == 200
    await check_told(gateway, log, "product", "max_cost", 5)

    async def row():
        told = (await gateway.ask("/status")).json()["services"]["batch"]
        return told if "max_cost" in told["refusals"] else None

    told = await until(row)
    assert (told["denied"], told["refusals"]) == (1, {"max_cost": 1})


async def test_nobody_waits(shadow, simulate):
    """What is let through has nothing to wait for."""
    gateway = await shadow(await simulate(tokens=12, first_lump_in_ms=40_000))
    await gateway.until_ready()
    async with within(5):
        got = await gateway.ask(products(5), BATCH, "Prefer: wait=60")
    assert (got.status, got.get("Preference-Applied")) == (200, None)


@pytest.mark.parametrize(
    "body", [b"", b"code=1,2&domain=1", gzip.compress(b"code=1,2&domain=1", mtime=0)]
)
async def test_nothing_is_filled_in(shadow, keepa, body):
    """A call leaves as it came: no `code-limit` is put into it."""
    gateway = await shadow(keepa, policy={"code_limit": 5})
    await gateway.until_ready()
    query = "domain=1&key=mine" if body else "domain=1&code=1,2&key=mine"
    headers = ["Content-Encoding: gzip"] if body.startswith(b"\x1f") else []
    how = {"method": "POST", "body": body} if body else {}
    assert (await gateway.ask(f"/product?{query}", BATCH, *headers, **how)).status == 200
    head, _, sent = keepa.requests[-1].partition(b"\r\n\r\n")
    assert head.split(b" ")[1].decode() == f"/product?{query.replace('mine', REAL_KEY)}"
    assert sent == body


# What is refused all the same


async def test_what_no_policy_decides_is_refused(log, shadow, simulator):
    """An unknown key is a 401 as ever, and what is no call of Keepa's is none."""
    gateway = await shadow(simulator, service_keys="batch:s3cret,shop:other")
    await gateway.until_ready()
    for target, how, status, reason in (
        (f"{products(1)}&key=wrong", {}, 401, "unauthorized"),
        (products(1), {}, 401, "unauthorized"),
        ("/token", {}, 401, "unauthorized"),
        ("/quote?path=product", {}, 401, "unauthorized"),
        ("/a/b?key=s3cret", {}, 404, "not_found"),
        ("/product?key=s3cret", {"method": "PUT"}, 405, "method_not_allowed"),
        ("/" + "x" * 140_000, {}, 414, "too_large"),
    ):
        read_refusal(await gateway.ask(target, **how), status, reason)
    assert simulator.state()["calls"] == {"token": 1}
    assert would_refuse(log) == []
    assert {mode for *_, mode in await denials(gateway)} == {"enforced"}


async def test_open_circuit_refuses(shadow, simulator):
    """While Keepa fails every attempt, calls are refused as ever."""
    gateway = await shadow(simulator, breaker_failures=1)
    assert (await gateway.ask(products(1), BATCH, "X-Sim-Fault: drop")).status == 502
    read_refusal(await gateway.ask(products(1), BATCH), 503, "circuit_open", "unavailable")


async def test_overload_refuses(shadow, simulator):
    """Beyond slots and queue to Keepa calls are refused as ever."""
    gateway = await shadow(simulator, max_concurrency=1, max_queue=0)
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(products(1), [BATCH, "X-Sim-Latency-Ms: 500"]))
        await gateway.until(lambda tokens: tokens["reserved"] == 1)
        read_refusal(await gateway.ask(products(1), BATCH), 503, "overloaded", "unavailable")
        assert (await caller.receive()).status == 200


async def test_keepas_own_refusal_is_passed_on(shadow, simulate):
    """At 0 Keepa itself refuses, and its 429 reaches the caller as Keepa sent it."""
    simulator = await simulate(tokens=0)
    gateway = await shadow(simulator)
    await gateway.until_ready()
    got = await gateway.ask(products(1), BATCH)
    assert (got.status, "reason" in got.json()) == (429, False)
    assert simulator.state()["refused_total"] == 1


async def test_status_says_that_nothing_is_enforced(shadow, simulator):
    """`/status` tells the mode."""
    gateway = await shadow(simulator)
    assert (await gateway.ask("/status")).json()["enforce"] is False


async def test_balance_below_zero_by_shadow_calls(shadow, simulate):
    """Calls that nobody holds up take the balance where they take it, and the ledger says so."""
    simulator = await simulate(tokens=20)
    gateway = await shadow(simulator)
    await gateway.until_ready()
    assert (await gateway.ask(products(60), BATCH)).status == 200
    tokens = await gateway.at_rest()
    assert (tokens["remaining"], tokens["debt"]) == (-40, 40)
    assert (await gateway.ask("/token", BATCH)).json()["tokensLeft"] == -40


# Without Redis


async def test_redis_that_was_never_there(log, shadow, simulator):
    """Without its store a call runs, with nothing known of a balance."""
    gateway = await shadow(simulator, redis_url="redis://127.0.0.1:1/0")
    got = await gateway.ask(products(3), BATCH)
    assert (got.status, got.get("RateLimit")) == (200, None)
    assert got.get("X-Keepa-Gateway-Reserved") == "3"
    await check_told(gateway, log, "product", "ledger_unavailable", 3)


async def test_token_without_redis_is_keepas(shadow, keepa):
    """`/token` is forwarded where the ledger cannot answer it."""
    keepa.token = fields(tokensConsumed=0, tokensLeft=77, refillIn=12_345)
    gateway = await shadow(keepa, redis_url="redis://127.0.0.1:1/0")
    got = await gateway.ask("/token?key=x", BATCH)
    assert (got.status, got.body) == (200, keepa.token)


@pytest.mark.parametrize("outage", [("kill", "start"), ("stop", "proceed")])
async def test_holds_made_without_redis_count_when_it_is_back(
    log, shadow, simulate, own_redis, outage
):
    """A call in flight when Redis comes back is held there, and settled there in the end."""
    begin, end = outage
    simulator = await simulate()
    gateway = await shadow(simulator, redis_url=own_redis.url)
    await gateway.until_ready()
    async with AsyncExitStack() as stack:
        getattr(own_redis, begin)()
        caller = await stack.enter_async_context(Caller(gateway.url))
        await caller.send(write_request(THREE, [BATCH, "X-Sim-Latency-Ms: 6000"]))
        await until(lambda: simulator.state()["in_flight"] == 1)
        getattr(own_redis, end)()
        await until_reserved(gateway, 3)
        row = (await gateway.ask("/status")).json()["services"]["batch"]
        assert (row["holds"], row["reserved"]) == (1, 3)
        assert (await caller.receive()).status == 200
    assert (await gateway.at_rest())["total_used"] == 3
    # What was charged before an emptied Redis was told of it is put right by the next answer.
    assert (await gateway.ask("/tracking?type=list")).status == 200
    await gateway.until(lambda tokens: (tokens["remaining"], tokens["reserved"]) == (97, 0))
    assert [line["reason"] for line in would_refuse(log)] == ["ledger_unavailable"]


@pytest.mark.parametrize("outage", [("kill", "start"), ("stop", "proceed")])
async def test_calls_that_ended_without_redis_are_subtracted(shadow, simulate, own_redis, outage):
    """What calls consumed while Redis was away is in its books when it is back."""
    begin, end = outage
    simulator = await simulate()
    gateway = await shadow(simulator, redis_url=own_redis.url)
    await gateway.until_ready()
    getattr(own_redis, begin)()
    answers = await asyncio.gather(*(gateway.ask(THREE, BATCH) for _ in range(5)))
    assert {got.status for got in answers} == {200}
    getattr(own_redis, end)()

    async def is_told():
        got = await gateway.ask("/status")
        if got.status != 200:
            return False
        tokens = got.json()["tokens"]
        wanted = {"remaining": 85, "reserved": 0, "total_used": 15}
        return wanted.items() <= tokens.items()

    await until(is_told)
    assert simulator.state()["tokens_left"] == 85


async def until_reserved(gateway, tokens):
    async def is_so():
        got = await gateway.ask("/status")
        return got.status == 200 and got.json()["tokens"]["reserved"] == tokens

    await until(is_so)
