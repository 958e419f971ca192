"""What is known of the balance: from whom, how old, and who asks Keepa for it."""

import asyncio
import time

import pytest
from support.callers.refusals import read_refusal
from support.callers.wire import ask
from support.keepa.scripted import answer, fields, scripted_keepa
from support.measure.stopwatch import Stopwatch
from support.waiting import within

PRODUCT = "/product?domain=1&asin=B000000001&key=x"
SHAPE = {
    "timestamp": int, "tokensLeft": int, "refillIn": int, "refillRate": int,
    "tokenFlowReduction": float, "tokensConsumed": int, "processingTimeInMs": int,
}  # fmt: skip


async def test_token_is_answered_from_the_ledger(serve, simulate):
    """`/token` has Keepa's own shape, with what is available as tokensLeft, and asks nobody."""
    simulator = await simulate(tokens=77, flow_reduction=1.5, first_lump_in_ms=40_000)
    gateway = await serve(simulator)
    for path in ("/token?key=x", "/token/?key=x", "/token"):
        got = await gateway.ask(path)
        told = got.json()
        assert {name: type(value) for name, value in told.items()} == SHAPE
        assert (told["tokensLeft"], told["refillRate"], told["tokensConsumed"]) == (77, 20, 0)
        assert told["tokenFlowReduction"] == 1.5
        assert 0 <= told["refillIn"] - simulator.state()["refill_in_ms"] < 3_000
        assert abs(told["timestamp"] - time.time() * 1000) < 5_000
        assert got.get("X-Keepa-Gateway-Reserved") == "0"
        assert got.get("Content-Type").startswith("application/json")
    assert simulator.state()["calls"] == {"token": 1}


async def test_token_tells_what_is_available(serve, simulate):
    """Tokens that calls in flight hold are not told as left."""
    simulator = await simulate(tokens=77)
    gateway = await serve(simulator)
    call = asyncio.create_task(gateway.ask(PRODUCT, "X-Sim-Latency-Ms: 400"))
    await gateway.until(lambda tokens: tokens["reserved"] == 1)
    assert (await gateway.ask("/token?key=x")).json()["tokensLeft"] == 76
    assert (await call).status == 200


@pytest.mark.parametrize("tokens", [-31, 0])
async def test_token_may_be_negative(serve, simulate, tokens):
    """`/token` tells an empty or overdrawn bucket as Keepa does."""
    gateway = await serve(await simulate(tokens=tokens))
    assert (await gateway.ask("/token?key=x")).json()["tokensLeft"] == tokens


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
async def test_token_is_gzipped_for_who_accepts_it(gateway, accepted):
    """`/token` is gzipped when the caller accepts it, as Keepa's Java client expects."""
    got = await gateway.ask("/token?key=x", f"Accept-Encoding: {accepted}")
    assert got.get("Content-Encoding") == ("gzip" if accepted == "gzip" else None)
    assert got.json()["tokensLeft"] == 100


async def test_one_inquiry_for_all_who_wait(serve, keepa):
    """While the balance is unknown all calls wait for one and the same `/token`."""
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def wait():
        asked.set()
        await may_answer.wait()

    keepa.before_token = wait
    gateway = await serve(keepa)
    calls = [asyncio.create_task(ask(gateway.url, PRODUCT)) for _ in range(30)]
    await asked.wait()
    await gateway.ask("/healthz")
    assert not any(call.done() for call in calls)
    may_answer.set()
    assert {(await call).status for call in calls} == {200}
    assert keepa.token_calls == 1


async def test_unknown_balance_is_no_ground_to_spend(serve, keepa):
    """With `/token` failing from the start a call waits three seconds, then gets its 503."""
    keepa.token_answers = False
    gateway = await serve(keepa)
    assert (await gateway.ask("/readyz")).json()["missing"] == ["balance"]
    started = Stopwatch()
    answers = await asyncio.gather(
        ask(gateway.url, PRODUCT), ask(gateway.url, "/token?key=x"), ask(gateway.url, PRODUCT)
    )
    assert started.wall_seconds > 2.5
    assert started.seconds < 4.5
    for got in answers:
        told = read_refusal(got, 503, "balance_unknown", "unavailable")
        assert told["retry_after_seconds"] == 2
    assert keepa.requests == []
    assert keepa.token_calls < 12


async def test_answer_that_tells_no_balance_is_not_taken_for_one(serve, stack):
    """An answer to `/token` without a believable balance leaves it unknown."""
    texts = [b"<html>", fields(refillRate=0), fields()[:60]]
    pairs = []
    for text in texts:
        keepa = await stack.enter_async_context(scripted_keepa())
        keepa.token = text
        pairs.append((keepa, await serve(keepa)))
    for keepa, gateway in pairs:
        async with within(5):
            while not keepa.token_calls:
                await asyncio.sleep(0.01)
        assert (await gateway.tokens())["remaining"] is None
        assert (await gateway.ask("/readyz")).status == 503
    for keepa, _ in pairs:
        keepa.token = fields(tokensLeft=55)
    for _, gateway in pairs:
        await gateway.until(lambda tokens: tokens["remaining"] == 55)
        assert (await gateway.ask("/readyz")).status == 200


async def test_balance_is_observed_again_without_calls(serve, simulate):
    """At every BALANCE_MAX_AGE_SECONDS Keepa is asked again, and what others spent is seen."""
    simulator = await simulate()
    gateway = await serve(simulator, balance_max_age_seconds=1)
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    simulator.bucket.spend(60, int(time.time() * 1000))
    await gateway.until(lambda tokens: tokens["remaining"] == 40)
    metrics = (await gateway.ask("/metrics")).plain
    assert b'keepa_gateway_drift_tokens_total{direction="spent"} 60.0' in metrics
    assert simulator.state()["calls"]["token"] <= 3


async def test_answers_keep_the_balance_fresh(serve, simulate):
    """While calls bring the balance along, nobody asks for it besides."""
    simulator = await simulate()
    gateway = await serve(simulator, balance_max_age_seconds=1)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        assert (await gateway.ask("/tracking?type=list&key=x")).status == 200
        await asyncio.sleep(0.2)
    assert simulator.state()["calls"]["token"] <= 2


async def test_old_balance_is_spent_on_for_a_while(serve, keepa):
    """With `/token` failing an observation serves five times its age, then it is unknown."""
    gateway = await serve(keepa, balance_max_age_seconds=1)
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    keepa.token_answers = False
    keepa.reply = answer(b"<html>", status="500 Oops")
    await gateway.until(lambda tokens: tokens["observed_seconds_ago"] > 1.5)
    # Free: it takes nothing of the balance, and its answer tells none.
    assert (await gateway.ask("/tracking?type=list")).status == 500
    assert (await gateway.ask("/readyz")).status == 200
    assert (await gateway.ask(PRODUCT)).status == 500
    await gateway.until(lambda tokens: tokens["observed_seconds_ago"] > 5)
    ready = await gateway.ask("/readyz")
    assert (ready.status, ready.json()["missing"]) == (503, ["balance"])
