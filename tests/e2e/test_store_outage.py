"""The ledger's store away for a while: refused at once, and recovered without help."""

import asyncio
from collections import Counter

import pytest
from support.callers.crowd import ONE_TOKEN, Slow, agree, verdict
from support.callers.refusals import read_refusal
from support.measure.stopwatch import Stopwatch
from support.waiting import until

pytestmark = pytest.mark.e2e

PAUSED_CALLS = 20


async def timed(gateway):
    """Make one call of one token; return its answer and how long it took."""
    began_at = Stopwatch()
    answer = await gateway.ask(ONE_TOKEN)
    return answer, began_at.seconds


async def test_a_gateway_starts_and_recovers_without_its_store(machines, redis, figures):
    """Redis down at start: alive, not ready, calls refused within a second; then it serves."""
    redis.kill()
    simulator = await machines.simulate().started()
    gateway = machines.serve(keepa_base_url=simulator.url, redis_url=redis.url)
    await gateway.started()
    assert (await gateway.ask("/healthz")).status == 200
    readiness = await gateway.ask("/readyz")
    assert (readiness.status, "store" in readiness.json()["missing"]) == (503, True)
    answer, seconds = await timed(gateway)
    refusal = read_refusal(answer, 503, "ledger_unavailable", "unavailable")
    assert (refusal["retryable"], refusal["retry_after_seconds"]) == (True, 2)
    assert seconds < 1
    assert (await simulator.state())["calls_total"] == 0
    redis.start()
    started_at = Stopwatch()
    await gateway.ready()
    ready_after = started_at.seconds
    answer, _ = await timed(gateway)
    served_after = started_at.seconds
    assert answer.status == 200
    quiet_after = await agree([gateway], simulator)
    figures(
        refused_seconds=round(seconds, 3), ready_seconds=round(ready_after, 2),
        served_seconds=round(served_after, 2), agree_seconds=quiet_after,
    )  # fmt: skip
    # Tried again within a second.
    assert ready_after < 1.3
    assert [line["event"] for line in gateway.lines() if line["event"].startswith("store_")] == [
        "store_down", "store_up",
    ]  # fmt: skip


async def test_a_halted_store_is_given_up_in_time_and_taken_back(machines, redis, figures):
    """Redis halted (SIGSTOP): calls are refused in about a second; it goes on: nothing is lost.

    What was sent to the halted server runs when it goes on. Holds last 150 s here: those of the
    refused calls are gone because they are released, not because they expire.
    """
    simulator = await machines.simulate(tokens=500).started()
    settings = {"keepa_base_url": simulator.url, "redis_url": redis.url}
    gateways = [machines.serve(**settings) for _ in range(2)]
    for gateway in gateways:
        await (await gateway.started()).ready()
    slow = Slow(gateways, 10, 1500)

    async def all_are_held():
        return await gateways[0].reserved() == slow.tokens

    await until(all_are_held)
    redis.stop()
    ends = await asyncio.gather(*(timed(gateways[n % 2]) for n in range(PAUSED_CALLS)))
    slowest = max(seconds for _, seconds in ends)
    assert Counter(verdict(answer) for answer, _ in ends) == {
        "503 ledger_unavailable": PAUSED_CALLS
    }
    again = [await timed(gateway) for gateway in gateways for _ in range(3)]
    slowest_again = max(seconds for _, seconds in again)
    assert {verdict(answer) for answer, _ in again} == {"503 ledger_unavailable"}
    assert (await gateways[0].ask("/readyz")).json()["missing"] == ["store"]
    # They end while the store is away, and are answered all the same.
    assert await slow.verdicts() == {"200": slow.count}
    redis.proceed()
    proceeded_at = Stopwatch()

    async def is_served():
        return (await gateways[0].ask(ONE_TOKEN)).status == 200

    await until(is_served)
    served_after = proceeded_at.seconds
    quiet_after = await agree(gateways, simulator)
    truth = await simulator.state()
    figures(
        refused_seconds=round(slowest, 2), refused_again_seconds=round(slowest_again, 3),
        served_seconds=round(served_after, 2), agree_seconds=quiet_after,
    )  # fmt: skip
    assert slowest < 1.3
    assert slowest_again < 1
    assert served_after < 2
    # Nothing of a refused call ever reached Keepa.
    assert truth["calls"]["product"] == slow.count + 1
    for gateway in gateways:
        assert (await gateway.metrics())["reservations_expired_total"] == 0
