"""Replicas that are given new values one by one: what holds while old and new ones run together."""

import asyncio
import itertools
import json
import time
from collections import Counter

import pytest
from support.callers.crowd import BROKEN, agree, verdict
from support.callers.service_calls import BATCH, SHOP, call, products, until_waiting
from support.callers.wire import ask
from support.gateways.processes import KEY
from support.waiting import until

pytestmark = pytest.mark.e2e

DROPPED = "X-Sim-Fault: charge_and_drop"


@pytest.fixture
def serve(machines, redis):
    """Return what starts one replica more, ready, with settings of its own."""

    async def start(simulator, **settings):
        chosen = {"drain_seconds": 0, "upstream_retries": 0, **settings}
        gateway = machines.serve(keepa_base_url=simulator.url, redis_url=redis.url, **chosen)
        return await (await gateway.started()).ready()

    return start


async def told(gateway, *arguments):
    return verdict(await gateway.ask(*arguments))


async def steer(simulator, path, **values):
    body = json.dumps(values).encode()
    assert (await ask(simulator.url, path, method="POST", body=body)).status == 200


def capped(**caps):
    return {"service_policies": json.dumps({"shop": caps})}


async def test_each_call_keeps_the_floor_of_its_own_gateway(machines, serve):
    """With floors of 10 and 60 nothing goes below 10, and nothing through the other below 60."""
    simulator = await machines.simulate(tokens=100, lump_in_ms=59_000).started()
    low = await serve(simulator, min_balance_threshold=10)
    high = await serve(simulator, min_balance_threshold=60)
    assert await told(high, products(41)) == "429 floor"
    assert await told(high, products(40)) == "200"
    assert await told(high, products(1)) == "429 floor"
    assert await told(low, products(51)) == "429 floor"
    assert await told(low, products(50)) == "200"
    assert await told(low, products(1)) == "429 floor"
    await agree([low, high], simulator)
    assert [(await one.tokens())["floor"] for one in (low, high)] == [10, 60]
    assert await simulator.lowest() == 10


async def test_tallies_stay_when_caps_change(machines, serve):
    """What a service has used counts under a smaller cap, a larger one, and after a restart."""
    simulator = await machines.simulate(tokens=900, lump_in_ms=59_000).started()
    # Of the day: an hour might end just now.
    first = await serve(simulator, **capped(tokens_per_day=100))
    assert await told(first, products(60), SHOP) == "200"
    smaller = await serve(simulator, **capped(tokens_per_day=50))
    larger = await serve(simulator, **capped(tokens_per_day=200))
    first.terminate()
    assert await first.ended() == 0
    assert await told(smaller, products(1), SHOP) == "429 service_quota"
    assert await told(larger, products(100), SHOP) == "200"
    assert await told(larger, products(41), SHOP) == "429 service_quota"
    assert await told(larger, products(40), SHOP) == "200"
    first_again = await serve(simulator, **capped(tokens_per_day=100))
    assert await told(first_again, products(1), SHOP) == "429 service_quota"
    assert await told(first_again, products(1), BATCH) == "200"
    days = [(await one.status())["services"]["shop"]["day"] for one in (smaller, larger)]
    assert [(day["used"], day["cap"]) for day in days] == [(200, 50), (200, 200)]


async def test_a_hold_lives_as_long_as_its_own_gateway_said(machines, serve, figures):
    """Two calls in doubt, with lives of 3 and 7 seconds: each ends by its own, seen by both."""
    simulator = await machines.simulate(tokens=100, lump_in_ms=59_000).started()
    short, long = [
        await serve(simulator, upstream_timeout_seconds=2, reservation_ttl_seconds=seconds)
        for seconds in (3, 7)
    ]
    began_at = time.monotonic()
    for gateway, tokens in ((long, 20), (short, 5)):
        assert await told(gateway, products(tokens), DROPPED) == "502 upstream_unreachable"
    ended = {}
    for left in (20, 0):

        async def both_tell(left=left):
            return [await one.reserved() for one in (short, long)] == [left, left]

        await until(both_tell)
        ended[left] = round(time.monotonic() - began_at, 1)
    figures(short_ended=ended[20], long_ended=ended[0])
    assert 2.9 <= ended[20] < ended[0]
    assert ended[0] >= 6.9
    await agree([short, long], simulator)


async def test_the_request_rate_goes_on_from_what_was_used(machines, serve, figures):
    """A used-up burst stays used up under a faster rate, whose slots come back faster."""
    simulator = await machines.simulate(tokens=900, lump_in_ms=59_000).started()
    slow = await serve(simulator, rate_limit_per_minute=1, rate_limit_burst=20)
    fast = await serve(simulator, rate_limit_per_minute=600, rate_limit_burst=20)
    wide = await serve(simulator, rate_limit_per_minute=600, rate_limit_burst=400)
    off = await serve(simulator, rate_limit_per_minute=0)
    assert await told(fast, products(1)) == "200"
    # A slot takes this one a minute: none comes back while the burst is used up.
    while verdict(refused := await slow.ask(products(1))) == "200":
        pass
    also_refused = await fast.ask(products(1))
    assert verdict(refused) == verdict(also_refused) == "429 rate_limited"
    slow_seconds, fast_seconds = [int(one.get("Retry-After")) for one in (refused, also_refused)]
    figures(slow_seconds=slow_seconds, fast_seconds=fast_seconds)
    assert (fast_seconds, fast_seconds < slow_seconds <= 60) == (1, True)
    await asyncio.sleep(fast_seconds)
    assert await told(fast, products(1)) == "200"
    # As many slots taken, of more: no wait.
    assert await told(wide, products(1)) == "200"
    assert await told(off, products(1)) == "200"


async def test_the_shorter_max_age_serves_all(machines, serve):
    """What somebody else spends is known to every gateway as soon as to the one that asks most."""
    simulator = await machines.simulate(tokens=100, lump_in_ms=59_000).started()
    often = await serve(simulator, balance_max_age_seconds=1)
    seldom = await serve(simulator, balance_max_age_seconds=3600)
    await steer(simulator, "/sim/spend", tokens=60)
    await agree([often, seldom], simulator, 5)
    assert await told(seldom, products(31)) == "429 floor"


async def test_calls_wait_in_one_line_each_as_long_as_it_may(machines, serve):
    """With MAX_WAIT_SECONDS of 60 and 1 the one waits for the lump, the other is refused."""
    simulator = await machines.simulate(tokens=15, rate=60, lump_in_ms=10_000).started()
    patient = await serve(simulator, max_wait_seconds=60)
    hasty = await serve(simulator, max_wait_seconds=1)
    waiting = call(patient, products(20), SHOP, "Prefer: wait=30")
    await until_waiting(hasty, shop=1)
    assert await told(hasty, products(20), SHOP, "Prefer: wait=30") == "429 floor"
    assert verdict(await waiting) == "200"
    await agree([patient, hasty], simulator)


LOW = {
    "min_balance_threshold": 10, "reservation_ttl_seconds": 150, "balance_max_age_seconds": 60,
    "max_wait_seconds": 60, "rate_limit_per_minute": 0, "default_wait_seconds": 0,
    "service_policies": json.dumps({"batch": {"floor": 60, "tokens_per_hour": 400}}),
}  # fmt: skip
HIGH = {
    "min_balance_threshold": 40, "reservation_ttl_seconds": 21, "balance_max_age_seconds": 1,
    "max_wait_seconds": 2, "rate_limit_per_minute": 6000, "rate_limit_burst": 100,
    "default_wait_seconds": 1, "upstream_timeout_seconds": 20, "max_concurrency": 5,
    "service_policies": json.dumps({
        "batch": {"floor": 90, "tokens_per_hour": 100, "max_concurrency": 2},
        "shop": {"max_cost": 6},
    }),
}  # fmt: skip


class Traffic:
    """Callers who go to the replicas that are in rotation, as behind a load balancer."""

    def __init__(self, replicas):
        self.rotation = list(replicas)
        self.told = Counter()
        self._is_over = False
        self._turns = itertools.count()

    async def go_on(self, tokens, *headers):
        while not self._is_over:
            gateway = self.rotation[next(self._turns) % len(self.rotation)]
            try:
                self.told[await told(gateway, products(tokens), *headers)] += 1
            except BROKEN as error:
                self.told[type(error).__name__] += 1
            await asyncio.sleep(0.05)

    async def some_more(self):
        """Wait until some more calls have been answered."""
        enough = self.told.total() + 20
        await until(lambda: self.told.total() >= enough)

    async def __aenter__(self):
        kinds = [(3, SHOP), (5, SHOP, "Prefer: wait=3"), (4, BATCH), (2, BATCH, "Prefer: wait=20")]
        self._callers = [asyncio.create_task(self.go_on(*kind)) for kind in kinds * 3]
        return self

    async def __aexit__(self, *_):
        self._is_over = True
        await asyncio.gather(*self._callers)


@pytest.mark.parametrize(("old", "new"), [(LOW, HIGH), (HIGH, LOW)], ids=["up", "down"])
@pytest.mark.timeout(90)
async def test_new_values_one_replica_at_a_time(machines, serve, figures, old, new):
    """Under load, across a lump, with all values changed: no call lost, no hold stuck, no crash."""
    simulator = await machines.simulate(
        tokens=400, rate=240, lump_in_ms=9000, latency=0.1
    ).started()
    replicas = [await serve(simulator, **old) for _ in range(2)]
    ended = []
    async with Traffic(replicas) as traffic:
        for leaving in replicas:
            await traffic.some_more()
            coming = await serve(simulator, **new)
            traffic.rotation = [coming, *(one for one in traffic.rotation if one is not leaving)]
            leaving.terminate()
            ended.append(leaving)

        async def lump_has_come():
            return (await simulator.state())["gained_total"]

        await until(lump_has_come, 20)
        await traffic.some_more()
    for leaving in ended:
        assert await leaving.ended(30) == 0
    quiet_after = await agree(traffic.rotation, simulator, 20)
    truth = await simulator.state()
    figures(
        told=dict(traffic.told), lowest=truth["lowest_balance"], quiet_after=quiet_after,
        charged=truth["charged_total"],
    )  # fmt: skip
    assert {word.partition(" ")[0] for word in traffic.told} == {"200", "429"}
    assert truth["lowest_balance"] >= 10
    assert truth["refused_total"] == 0
    for gateway in traffic.rotation:
        status = await gateway.status()
        services = status["services"]
        assert sum(one["used"] for one in services.values()) == truth["charged_total"]
        assert [(one["reserved"], one["waiting"]) for one in services.values()] == [(0, 0)] * 2
    for gateway in (*ended, *traffic.rotation):
        assert not gateway.logged("job_crashed")
        assert not gateway.logged("script_refused")
        assert "Traceback" not in gateway.output + gateway.errors
        assert KEY not in gateway.output
