"""Redis away, halted, slow, restarted, full or locked: promises 1, 3, 4 and 7 of the ledger."""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from support.callers.crowd import ONE_TOKEN, Slow, Trickle, agree, all_spent, verdict
from support.measure.stopwatch import Stopwatch
from support.network.slow_relay import SlowRelay
from support.waiting import until

pytestmark = pytest.mark.e2e

FLOOR = 10
RETRIES = 2000


async def start(machines, simulator, url, count=2, **settings):
    """Start gateways and wait until they admit calls."""
    chosen = {
        "keepa_base_url": simulator.url,
        "redis_url": url,
        "min_balance_threshold": FLOOR,
        "balance_max_age_seconds": 1,
        **settings,
    }
    gateways = [machines.serve(**chosen) for _ in range(count)]
    for gateway in gateways:
        await (await gateway.started()).ready()
    # The first call waits for the learning time of the new ledger.
    assert verdict(await gateways[0].ask(ONE_TOKEN)) == "200"
    return gateways


async def slow_calls(gateways, count, milliseconds):
    """Start slow calls, and have them held."""
    slow = Slow(gateways, count, milliseconds)

    async def all_are_held():
        return await gateways[0].reserved() == slow.tokens

    await until(all_are_held)
    return slow


async def timed(gateway):
    began_at = Stopwatch()
    answer = await gateway.ask(ONE_TOKEN)
    return verdict(answer), began_at.seconds


def resident_mib(gateway):
    """Memory of a gateway's process."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def ended_well(gateways, simulator, floor=FLOOR):
    """Spend what is left; the floor is kept, nothing is held, and the balance is Keepa's."""
    async with Trickle(gateways, 0.005):
        await all_spent(simulator, floor, 20)
    quiet_after = await agree(gateways, simulator)
    truth = await simulator.state()
    assert truth["lowest_balance_by_charge"] == floor
    assert truth["refused_total"] == 0
    for gateway in gateways:
        assert (await gateway.metrics())["reservations_expired_total"] == 0
        assert "Traceback" not in gateway.output + gateway.errors
    return quiet_after


async def test_retries_against_a_dead_store_are_cheap(machines, redis, figures):
    """Down in service: the first call hears within a second, 2 000 more in milliseconds each."""
    simulator = await machines.simulate(tokens=100).started()
    gateways = await start(machines, simulator, redis.url, 1)
    (gateway,) = gateways
    slow = await slow_calls(gateways, 10, 800)
    redis.stop()
    told, first_seconds = await timed(gateway)
    assert told == "503 ledger_unavailable"
    assert first_seconds < 1
    redis.kill()
    assert await slow.verdicts() == {"200": slow.count}
    for _ in range(RETRIES // 4):
        await gateway.ask(ONE_TOKEN)
    before = resident_mib(gateway)
    ends = [await timed(gateway) for _ in range(RETRIES)]
    grown = resident_mib(gateway) - before
    seconds = sorted(seconds for _, seconds in ends)
    assert Counter(told for told, _ in ends) == {"503 ledger_unavailable": RETRIES}
    redis.start()
    quiet_after = await ended_well(gateways, simulator)
    figures(
        first_seconds=round(first_seconds, 2), median_ms=round(seconds[RETRIES // 2] * 1000, 2),
        p99_ms=round(seconds[RETRIES * 99 // 100] * 1000, 1), grown_mib=round(grown, 1),
        agree_seconds=quiet_after,
    )  # fmt: skip
    assert seconds[RETRIES * 99 // 100] < 0.1
    assert grown < 4
    # Once for the outage, not for each call.
    assert len(gateway.logged("store_down")) == 1


@pytest.mark.parametrize("halt", ["CLIENT PAUSE", "SIGSTOP"])
async def test_a_halted_store_costs_no_call_twice(machines, redis, figures, halt):
    """Calls end while Redis stands still; what it runs afterwards, and again, counts once."""
    simulator = await machines.simulate(tokens=200).started()
    gateways = await start(machines, simulator, redis.url)
    async with Trickle(gateways, 0.01) as trickle:
        await until(lambda: trickle.told["200"] > 20)
        if halt == "SIGSTOP":
            redis.stop()
        else:
            redis.command("CLIENT", "PAUSE", "2500", "ALL")
        halted_at, watch = time.monotonic(), Stopwatch()
        await until(lambda: trickle.told["503 ledger_unavailable"] > 20)
        refused_after = trickle.first_at["503 ledger_unavailable"] - halted_at - watch.delay_seconds
        if halt == "SIGSTOP":
            redis.proceed()
        trickle.forget()
        await until(lambda: trickle.told["200"])
    quiet_after = await ended_well(gateways, simulator)
    figures(refused_after_seconds=round(refused_after, 2), agree_seconds=quiet_after)
    assert refused_after < 1.2


async def test_a_slow_store_still_serves(machines, redis, figures):
    """Half a second for each reply, from the first connection on: calls are answered."""
    simulator = await machines.simulate(tokens=60).started()
    async with SlowRelay(redis.port, 0.5) as relay:
        gateways = await start(machines, simulator, relay.url)
        ends = await asyncio.gather(*(timed(gateways[n % 2]) for n in range(30)))
        slowest = max(seconds for _, seconds in ends)
        assert {told for told, _ in ends} == {"200"}
        quiet_after = await ended_well(gateways, simulator)
        figures(slowest_seconds=round(slowest, 2), agree_seconds=quiet_after)
        for gateway in gateways:
            assert not gateway.logged("store_down")


@pytest.mark.parametrize("kept", ["nothing", "all it said it wrote"])
async def test_a_restarted_store_is_filled_or_believed_anew(machines, redis, figures, kept):
    """Redis killed under calls and back, empty or from its log: the floor is kept, holds end."""
    if kept != "nothing":
        redis.options = ("--appendonly", "yes", "--appendfsync", "always")
        redis.restart()
    simulator = await machines.simulate(tokens=150).started()
    gateways = await start(machines, simulator, redis.url)
    slow = await slow_calls(gateways, 20, 4000)
    async with Trickle(gateways, 0.01) as trickle:
        await until(lambda: trickle.told["200"] > 20)
        redis.kill()
        await until(lambda: trickle.told["503 ledger_unavailable"])
        redis.start()
        trickle.forget()
        back_at = Stopwatch()
        await until(lambda: trickle.told["200"] or trickle.told["429 floor"])
        served_after = back_at.seconds
        assert await slow.verdicts() == {"200": slow.count}
    quiet_after = await ended_well(gateways, simulator)
    figures(served_after_seconds=round(served_after, 2), agree_seconds=quiet_after)
    for gateway in gateways:
        assert gateway.logged("new_epoch")


async def test_forgotten_scripts_are_not_noticed(machines, redis):
    """SCRIPT FLUSH over and over under calls: each is answered, each is charged once."""
    simulator = await machines.simulate(tokens=150).started()
    gateways = await start(machines, simulator, redis.url)
    async with Trickle(gateways, 0.005) as trickle:
        for part in range(10):
            await until(lambda part=part: trickle.told["200"] > 10 * part)
            assert redis.command("SCRIPT", "FLUSH").startswith(b"+OK")
    assert trickle.told.keys() <= {"200", "429 floor"}
    await ended_well(gateways, simulator)


async def test_a_full_store_refuses_and_recovers(machines, redis, figures):
    """No memory left: 503 and not a fault of ours; calls in flight end, and nothing stays held."""
    simulator = await machines.simulate(tokens=150).started()
    gateways = await start(machines, simulator, redis.url)
    slow = await slow_calls(gateways, 10, 1500)
    async with Trickle(gateways, 0.005) as trickle:
        await until(lambda: trickle.told["200"] > 20)
        redis.command("CONFIG", "SET", "maxmemory", "1")
        await until(lambda: trickle.told["503 ledger_unavailable"] > 50)
        assert await slow.verdicts() == {"200": slow.count}
        for gateway in gateways:
            readiness = await gateway.ask("/readyz")
            assert (readiness.status, readiness.json()["missing"]) == (503, ["store"])
            assert (await gateway.metrics())["store_up"] == 0
        redis.command("CONFIG", "SET", "maxmemory", "0")
        trickle.forget()
        await until(lambda: trickle.told["200"])
    assert trickle.told.keys() <= {"200", "429 floor", "503 ledger_unavailable"}
    quiet_after = await ended_well(gateways, simulator)
    figures(agree_seconds=quiet_after)
    for gateway in gateways:
        refused = gateway.logged("script_refused")
        # Told, but not once for each call.
        assert 0 < len(refused) < 10
        assert "OOM" in refused[0]["error"]
        assert [line["error"] for line in gateway.logged("store_down")] == ["OOM"]


async def test_a_wrong_password_is_told_in_one_line(machines, redis):
    """Not ready, alive, no exit, the password nowhere; the right one at the server is enough."""
    redis.command("CONFIG", "SET", "requirepass", "right-password")
    simulator = await machines.simulate().started()
    gateway = machines.serve(
        keepa_base_url=simulator.url,
        redis_url=redis.url.replace("://", "://:wrong%2Fpassword@"),
    )
    await gateway.started()
    readiness = await gateway.ask("/readyz")
    assert (readiness.status, "store" in readiness.json()["missing"]) == (503, True)
    with suppress(AssertionError):
        # Some more attempts, to see that they are not told.
        await until(lambda: len(gateway.logged("store_down")) > 1, 1)
    (line,) = gateway.logged("store_down")
    assert (line["error"], "password" in line["hint"]) == ("WRONGPASS", True)
    assert (await gateway.ask("/healthz")).status == 200
    with_password = ("AUTH", "right-password"), ("CONFIG", "SET", "requirepass", "wrong/password")
    redis.converse(*with_password)
    await gateway.ready()
    for secret in ("wrong/password", "wrong%2Fpassword"):
        assert secret not in gateway.output + gateway.errors
