"""What our own accounting is unsure of is asked about at once, and alarms nobody.

At the default of BALANCE_MAX_AGE_SECONDS: within these tests no observation grows old.
"""

import asyncio
import time

import pytest
from support.callers.crowd import Slow
from support.network.webhook_receiver import receiving
from support.waiting import until

pytestmark = pytest.mark.e2e

CALLS, AT_KEEPA, TOKENS = 50, 10, 1000
LEFT = TOKENS - 3 * AT_KEEPA
"""What Keepa has charged when a gateway is killed; the other calls were never sent."""
LEFT_BY_ALL = TOKENS - 3 * CALLS
TTL_SECONDS = 4
# From the moment that makes the balance doubtful: a look at most every half a second, one `/token`
# a second, the rest is slack for a busy machine.
RIGHT_WITHIN_SECONDS = 3


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


async def start_two(machines, redis, receiver, simulator, left, **settings):
    """Start gateways that alarm where more is counted as spent than leaves that many tokens."""
    chosen = {
        "keepa_base_url": simulator.url, "redis_url": redis.url, "max_concurrency": AT_KEEPA,
        "alert_webhook_url": receiver.url, "alert_balance": left - 20, **settings,
    }  # fmt: skip
    gateways = [machines.serve(**chosen) for _ in range(2)]
    for gateway in gateways:
        await (await gateway.started()).ready()
    return gateways


async def in_flight(gateway, simulator):
    """Begin the calls, of which some are at Keepa and charged, and the others wait for a slot."""
    slow = Slow([gateway], CALLS, 2500)

    async def are_there():
        truth = await simulator.state()
        return truth["in_flight"] == AT_KEEPA and await gateway.reserved() == slow.tokens

    await until(are_there)
    return slow


async def test_a_killed_gateways_holds_are_doubted_for_seconds(machines, redis, receiver, figures):
    """kill -9: when its holds have expired, an idle gateway has Keepa's balance at once."""
    simulator = await machines.simulate(tokens=TOKENS, lump_in_ms=60_000).started()
    times = {"upstream_timeout_seconds": 3, "reservation_ttl_seconds": TTL_SECONDS}
    doomed, idle = await start_two(machines, redis, receiver, simulator, LEFT, **times)
    slow = await in_flight(doomed, simulator)
    doomed.kill()
    killed_at = time.monotonic()
    await slow.verdicts()
    asked = (await simulator.state())["calls"]["token"]
    # Nobody asks the idle one for anything meanwhile.
    await asyncio.sleep(TTL_SECONDS + RIGHT_WITHIN_SECONDS - (time.monotonic() - killed_at))
    tokens = await idle.tokens()
    assert (tokens["remaining"], tokens["available"]) == (LEFT, LEFT)
    seen = await idle.metrics()
    figures(token_calls=(await simulator.state())["calls"]["token"] - asked)
    assert (seen["reservations_expired_total"], seen["drift_tokens_total"]) == (CALLS, 0)
    assert receiver.told() == []


async def test_settles_after_an_emptied_store_are_doubted_for_seconds(
    machines, redis, receiver, figures
):
    """FLUSHALL with charged calls in flight: they settle, and the balance is Keepa's at once."""
    simulator = await machines.simulate(tokens=TOKENS, lump_in_ms=60_000).started()
    gateways = await start_two(machines, redis, receiver, simulator, LEFT_BY_ALL)
    slow = await in_flight(gateways[0], simulator)
    redis.command("FLUSHALL")
    await slow.verdicts()
    ended_at = time.monotonic()

    async def is_right():
        truth = (await simulator.state())["tokens_left"]
        told = [await gateway.tokens() for gateway in gateways]
        return all((tokens["remaining"], tokens["reserved"]) == (truth, 0) for tokens in told)

    await until(is_right, RIGHT_WITHIN_SECONDS, every=0.05)
    figures(right_after_seconds=round(time.monotonic() - ended_at, 2))
    seen = [await gateway.metrics() for gateway in gateways]
    assert sum(metrics["drift_tokens_total"] for metrics in seen) == 0
    assert receiver.told() == []
