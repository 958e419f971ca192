"""The ledger's server replaced while calls are under way: promises 1, 3, 5 and 7 of the ledger.

As in test_store_loss the balance is tight, and some slow calls wait for a slot, so that Keepa knows
nothing of them yet: were their holds forgotten, their tokens would be given away twice.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot
from support.callers.crowd import ONE_TOKEN, Slow, Trickle, agree, all_spent, verdict
from support.measure.stopwatch import Stopwatch
from support.redis.group import Cluster, Watched, say
from support.redis.server import lend
from support.waiting import until

from gateway.ledger.scripts import name_keys

pytestmark = pytest.mark.e2e

FLOOR = 10
LEARNING_SECONDS = 2.5
ACCOUNT = "shop"
# Until the ledger has moved, twice in the cluster, and learned again.
LONG_MS, SHORT_MS = 10_000, 300
AT_KEEPA, WAITING = 20, 20
SLOW_TOKENS = 3 * (AT_KEEPA + WAITING)
FREE = 25


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    yield from lend(Watched, tmp_path)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    yield from lend(Cluster, tmp_path)


async def start(machines, simulator, url):
    """Start two gateways with ten slots each, wait until they admit calls."""
    settings = {
        "keepa_base_url": simulator.url,
        "redis_url": url,
        "account": ACCOUNT,
        "min_balance_threshold": FLOOR,
        "max_concurrency": AT_KEEPA // 2,
    }
    gateways = [machines.serve(**settings) for _ in range(2)]
    for gateway in gateways:
        await (await gateway.started()).ready()
    # The first call waits for the learning time of the new ledger.
    assert verdict(await gateways[0].ask(ONE_TOKEN)) == "200"
    return gateways


async def slow_calls(gateways, simulator):
    """Start the slow calls: some at Keepa, in all the slots, the others waiting for one."""
    long = Slow(gateways, AT_KEEPA, LONG_MS)

    async def fill_all_slots():
        return (await simulator.state())["in_flight"] == AT_KEEPA

    await until(fill_all_slots)
    short = Slow(gateways, WAITING, SHORT_MS)
    await until(lambda: holds(gateways[0], SLOW_TOKENS))
    return long, short


async def holds(gateway, tokens):
    return (await gateway.reserved() or 0) >= tokens


def holds_at(server):
    """Count the holds that a server has."""
    return say(server, "HLEN", name_keys(ACCOUNT)[1])


async def ended_well(gateways, simulator, slow, figures, **more):
    """All slow calls are answered, the floor is kept, nothing is held, the balance is Keepa's."""
    for calls in slow:
        assert await calls.verdicts() == {"200": calls.count}
    async with Trickle(gateways, 0.005):
        await all_spent(simulator, FLOOR, 20)
    quiet_after = await agree(gateways, simulator)
    truth = await simulator.state()
    figures(lowest=truth["lowest_balance_by_charge"], agree_seconds=quiet_after, **more)
    assert truth["lowest_balance_by_charge"] == FLOOR
    assert truth["refused_total"] == 0
    for gateway in gateways:
        assert (await gateway.metrics())["reservations_expired_total"] == 0
        assert gateway.logged("new_epoch")
        assert "Traceback" not in gateway.output + gateway.errors


@pytest.mark.parametrize("end", ["killed", "halted"])
async def test_a_replica_that_lacks_the_last_writes_takes_over(
    machines, watched, figures, end
) -> None:
    """Fail-over with 40 slow calls in flight that the new master never heard of."""
    simulator = await machines.simulate(tokens=FLOOR + 1 + SLOW_TOKENS + FREE).started()
    gateways = await start(machines, simulator, watched.url)
    # A hold whose end it missed would be held there until it expires.
    await until(lambda: not holds_at(watched.replica))
    watched.cut_off_replica()
    slow = await slow_calls(gateways, simulator)
    assert not holds_at(watched.replica)
    called = gateways[:1]
    # The other one gets no calls, so that only its own watch tells it of the fail-over.
    async with Trickle(called, 0.01) as trickle:
        if end == "killed":
            watched.master.kill()
        else:
            watched.master.stop()
        ended_at = Stopwatch()
        await until(lambda: trickle.told["503 ledger_unavailable"])
        await asyncio.to_thread(watched.wait_for_fail_over)
        switched_after = ended_at.seconds
        await until(lambda: holds(gateways[0], SLOW_TOKENS), every=0.01)
        back_after = ended_at.seconds
        # A former master that wakes up believes for a moment that it still is one.
        watched.master.proceed()
        trickle.forget()
        called.append(gateways[1])
        await until(lambda: trickle.told["200"] or trickle.told["429 floor"])
        served_after = ended_at.seconds
        assert (await simulator.state())["in_flight"] == AT_KEEPA
        await until(lambda: trickle.told["429 floor"])
        await ended_well(
            gateways, simulator, slow, figures, switched_seconds=round(switched_after, 2),
            holds_back_seconds=round(back_after, 2), served_seconds=round(served_after, 2),
        )  # fmt: skip
    assert back_after - switched_after < LEARNING_SECONDS


async def test_a_slot_that_moves_under_calls(machines, cluster, figures) -> None:
    """A cluster of three, the ledger's slot moved twice with 40 slow calls in flight."""
    simulator = await machines.simulate(tokens=FLOOR + 1 + SLOW_TOKENS + FREE).started()
    gateways = await start(machines, simulator, cluster.url)
    slow = await slow_calls(gateways, simulator)
    slot = key_slot(name_keys(ACCOUNT)[0].encode())
    source = cluster.owner(slot)
    others = [node for node in cluster.nodes if node is not source]
    async with Trickle(gateways, 0.01) as trickle:
        for move, (origin, target) in enumerate(((source, others[0]), (others[0], others[1])), 1):
            await asyncio.to_thread(cluster.move, slot, origin, target)
            # What was told before this belongs to the node that was left.
            for gateway in gateways:
                await until(lambda n=move, gateway=gateway: len(gateway.logged("new_epoch")) >= n)
                await until(lambda gateway=gateway: holds(gateway, SLOW_TOKENS), LEARNING_SECONDS)
            trickle.forget()
            await until(lambda: trickle.told["200"] or trickle.told["429 floor"])
        await until(lambda: trickle.told["429 floor"])
        assert (await simulator.state())["in_flight"] == AT_KEEPA
        await ended_well(gateways, simulator, slow, figures)
    assert say(others[1], "EXISTS", name_keys(ACCOUNT)[0]) == 1
