"""A replica that dies with calls under way: promises 1, 3 and 7."""

import time

import pytest
from support.callers.crowd import ONE_TOKEN, Slow, Trickle, agree, all_spent
from support.waiting import until

pytestmark = pytest.mark.e2e

FLOOR = 10
TTL_SECONDS = 4


async def test_a_killed_replicas_holds_expire_and_count_as_spent(machines, redis, figures):
    """kill -9 with 50 slow calls in flight: the other replica serves on, the holds expire."""
    calls, free = 50, 80
    simulator = await machines.simulate(tokens=FLOOR + 1 + 3 * calls + free).started()
    settings = {
        "keepa_base_url": simulator.url,
        "redis_url": redis.url,
        "balance_max_age_seconds": 1,
        "upstream_timeout_seconds": 3,
        "reservation_ttl_seconds": TTL_SECONDS,
        # Keepa hears of 20 of the 50; the other 30 are never sent, yet nobody alive can know.
        "max_concurrency": 20,
    }
    doomed, other = machines.serve(**settings), machines.serve(**settings)
    for replica in (doomed, other):
        await (await replica.started()).ready()
    await until(lambda: _serves(other), 5)
    slow = Slow([doomed], calls, 2500)
    await until(lambda: _reserves(other, slow.tokens))
    async with Trickle([other], pause=0.025) as trickle:
        await until(lambda: trickle.told["200"])
        doomed.kill()
        killed_at = time.monotonic()
        assert (await slow.verdicts()).keys() <= {"gone", "cut"}
        used_before = (await other.tokens())["total_used"] - trickle.told["200"]

        async def all_are_gone():
            return (await other.metrics())["reservations_expired_total"] == calls

        await until(all_are_gone, TTL_SECONDS + 2, every=0.1)
        gone_after = time.monotonic() - killed_at
        spent = (await other.tokens())["total_used"] - trickle.told["200"] - used_before
        held_back = dict(trickle.told)

        await all_spent(simulator, FLOOR, 20)
    quiet_after = await agree([other], simulator)
    truth = await simulator.state()
    figures(
        calls=calls + trickle.count, told_until_expiry=held_back, told=dict(trickle.told),
        lowest=truth["lowest_balance_by_charge"], holds_gone_seconds=round(gone_after, 2),
        agree_seconds=quiet_after,
    )  # fmt: skip
    assert held_back["200"] > 0
    # The calls in the air at each of the two looks make no larger difference.
    assert abs(spent - slow.tokens) < 10
    assert trickle.told.keys() <= {"200", "429 floor"}
    assert truth["lowest_balance_by_charge"] == FLOOR
    assert truth["refused_total"] == 0
    assert (await other.metrics())["reservations_expired_total"] == calls


async def _serves(gateway):
    return (await gateway.ask(ONE_TOKEN)).status == 200


async def _reserves(gateway, tokens):
    return await gateway.reserved() == tokens
