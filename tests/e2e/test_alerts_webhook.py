"""Alerts of several gateways on one Redis: one post for each event, whoever dies."""

import asyncio
import time
from datetime import datetime
from urllib.parse import urlsplit

import pytest
from support.callers.wire import ask
from support.gateways.processes import KEY
from support.measure.stopwatch import Stopwatch
from support.network.fault_proxy import FaultProxy
from support.network.webhook_receiver import SECRET_PATH, receiving
from support.waiting import until

pytestmark = pytest.mark.e2e

PRODUCT = "/product?domain=1&asin=B000000001"


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


async def spend(simulator, tokens):
    """Draw tokens as a consumer whom nobody sees."""
    await steer(simulator, "/sim/spend", tokens)


async def refill(simulator, tokens):
    """Have so many tokens from now on."""
    await steer(simulator, "/sim/reset", tokens)


async def steer(simulator, path, tokens):
    answer = await ask(simulator.url, path, method="POST", body=b'{"tokens": %d}' % tokens)
    assert answer.status == 200


def serve_one(machines, simulator, redis, receiver, **settings):
    chosen = {
        "keepa_base_url": simulator.url, "redis_url": redis.url, "drain_seconds": 0,
        "alert_webhook_url": receiver.url, "balance_max_age_seconds": 1, "log_level": "DEBUG",
    }  # fmt: skip
    return machines.serve(**{**chosen, **settings})


def serve_two(*parties, **settings):
    return [serve_one(*parties, **settings) for _ in range(2)]


def by_process(gateways, event):
    """Return the gateway that posted this event, and the others."""
    pid = int(event["gateway"].rpartition(":")[2])
    poster = next(gateway for gateway in gateways if gateway.process.pid == pid)
    return poster, [gateway for gateway in gateways if gateway is not poster]


async def quiet(receiver, gateways, seconds=3.5):
    """Give every gateway a few turns in which it could post once more."""
    asked = [await gateway.metrics() for gateway in gateways]
    assert len(asked) == len(gateways)
    count = len(receiver.events)
    await asyncio.sleep(seconds)
    assert len(receiver.events) == count, receiver.events


async def test_each_event_is_posted_once(machines, redis, receiver, figures):
    """Low balance, drift and floor, their begin and the balances' end: one post of each."""
    simulator = await machines.simulate(tokens=200, lump_in_ms=55_000).started()
    gateways = serve_two(machines, simulator, redis, receiver)
    for gateway in gateways:
        await (await gateway.started()).ready()
    await quiet(receiver, gateways)
    assert receiver.events == []
    await spend(simulator, 155)
    spent_at = Stopwatch()
    await receiver.wait_for("balance_low", "firing")
    low_after = spent_at.seconds
    await receiver.wait_for("drift", "firing")
    await quiet(receiver, gateways)
    await spend(simulator, 40)
    await receiver.wait_for("balance_below_floor", "firing")
    await refill(simulator, 300)
    await receiver.wait_for("balance_below_floor", "resolved")
    await receiver.wait_for("balance_low", "resolved")
    await quiet(receiver, gateways)
    figures(low_told_seconds=round(low_after, 2))
    assert low_after < 4
    # Drift is over ten minutes from here.
    assert sorted(receiver.told()) == [
        ("balance_below_floor", "firing"), ("balance_below_floor", "resolved"),
        ("balance_low", "firing"), ("balance_low", "resolved"), ("drift", "firing"),
    ]  # fmt: skip
    for gateway in gateways:
        assert gateway.logged("job_crashed") == []
        printed = gateway.output + gateway.errors
        assert SECRET_PATH not in printed
        assert SECRET_PATH not in str(await gateway.status())
    assert KEY not in str(receiver.events)


async def test_a_gateway_killed_before_its_post_arrived_is_replaced(
    machines, redis, receiver, figures
):
    """The claim of the killed one goes to the other, which posts the same event."""
    receiver.script = [None]
    simulator = await machines.simulate(tokens=40, lump_in_ms=55_000).started()
    gateways = serve_two(machines, simulator, redis, receiver)
    for gateway in gateways:
        await (await gateway.started()).ready()
    event = (await until(lambda: receiver.events))[0]
    poster, others = by_process(gateways, event)
    poster.kill()
    killed_at = time.monotonic()
    arrived = await receiver.wait_for("balance_low", "firing", 20)
    figures(taken_over_seconds=round(time.monotonic() - killed_at, 2))
    assert by_process(gateways, arrived)[0] is others[0]
    assert arrived["since"] == event["since"]
    await quiet(receiver, others)
    assert receiver.told() == [("balance_low", "firing")]
    # What the other one has told it also ends.
    await refill(simulator, 140)
    await receiver.wait_for("balance_low", "resolved")


async def test_a_restarted_fleet_repeats_nothing(machines, redis, receiver):
    """What was told is in Redis: gateways started since do not tell it again, but its end."""
    simulator = await machines.simulate(tokens=40, lump_in_ms=55_000).started()
    first = serve_two(machines, simulator, redis, receiver)
    for gateway in first:
        await (await gateway.started()).ready()
    await receiver.wait_for("balance_low", "firing")
    await quiet(receiver, first, 1.5)
    for gateway in first:
        gateway.kill()
    second = serve_two(machines, simulator, redis, receiver)
    for gateway in second:
        await (await gateway.started()).ready()
    await quiet(receiver, second)
    await refill(simulator, 140)
    await receiver.wait_for("balance_low", "resolved")
    assert receiver.told() == [("balance_low", "firing"), ("balance_low", "resolved")]


async def test_an_outage_of_redis_is_told_by_each_gateway(machines, redis, receiver):
    """It cannot be agreed on through Redis: each tells its begin and its end, once."""
    simulator = await machines.simulate(tokens=200).started()
    gateways = serve_two(machines, simulator, redis, receiver)
    for gateway in gateways:
        await (await gateway.started()).ready()
    redis.kill()
    await until(lambda: len(receiver.told("redis_outage")) == 2, 10)
    redis.start()
    await until(lambda: len(receiver.told("redis_outage")) == 4, 25)
    for state in ("firing", "resolved"):
        events = [event for event in receiver.arrived if event["state"] == state]
        assert {event["name"] for event in events} == {"redis_outage"}
        assert {by_process(gateways, event)[0] for event in events} == set(gateways)
        assert all(event["since"] for event in events)


ALARMS = "keepa-gateway:{of-the-test}:alarms"


async def lose_redis(machines, redis, receiver):
    """Return a gateway that has told of an outage, and what it posted."""
    simulator = await machines.simulate(tokens=200).started()
    gateway = serve_one(machines, simulator, redis, receiver, account="of-the-test")
    await (await gateway.started()).ready()
    redis.kill()
    return simulator, gateway, await receiver.wait_for("redis_outage", "firing")


async def test_an_outage_whose_gateway_died_after_it_is_ended_by_the_next(
    machines, redis, receiver, figures
):
    """Killed within seconds of the recovery it leaves nothing open: its successor ends it."""
    simulator, gateway, begun = await lose_redis(machines, redis, receiver)
    redis.start()
    await until(lambda: b"redis_outage" in redis.command("HKEYS", ALARMS))
    gateway.kill()
    killed_at = time.monotonic()
    successor = serve_one(machines, simulator, redis, receiver, account="of-the-test")
    await (await successor.started()).ready()
    ended = await receiver.wait_for("redis_outage", "resolved", 45)
    figures(ended_seconds=round(time.monotonic() - killed_at, 1))
    assert ended["gateway"] == begun["gateway"]
    # The note has gone by the store's clock, the first post by the gateway's.
    apart = datetime.fromisoformat(ended["since"]) - datetime.fromisoformat(begun["since"])
    assert abs(apart.total_seconds()) < 0.5
    await asyncio.sleep(2)
    assert receiver.told() == [("redis_outage", "firing"), ("redis_outage", "resolved")]
    assert b"redis_outage" not in redis.command("HKEYS", ALARMS)


async def test_a_stopped_gateway_ends_the_outage_that_it_told(machines, redis, receiver):
    """Stopped while Redis is away, it tells the end itself: nobody else would know of it."""
    _, gateway, begun = await lose_redis(machines, redis, receiver)
    gateway.terminate()
    assert await gateway.ended() == 0
    ended = await receiver.wait_for("redis_outage", "resolved", 1)
    assert ended["gateway"] == begun["gateway"]
    assert "has stopped" in ended["text"]


async def test_keepas_outage_of_a_killed_gateway_is_ended_by_the_next(machines, redis, receiver):
    """What it told is in Redis, so its successor finds it and tells the end."""
    simulator = await machines.simulate(tokens=500).started()
    chosen = {"breaker_failures": 1, "upstream_retries": 0}
    gateway = serve_one(machines, simulator, redis, receiver, **chosen)
    await (await gateway.started()).ready()
    simulator.kill()
    assert (await gateway.ask(PRODUCT)).status == 502
    await receiver.wait_for("keepa_outage", "firing")
    gateway.kill()
    simulator = await machines.simulate(tokens=500).started()
    await serve_one(machines, simulator, redis, receiver, **chosen).started()
    await receiver.wait_for("keepa_outage", "resolved", 60)
    assert receiver.told() == [("keepa_outage", "firing"), ("keepa_outage", "resolved")]


async def test_keepas_outage_ends_with_a_gateway_that_is_alone(machines, receiver):
    """Without Redis nobody could tell the end after a stop, so the gateway does."""
    simulator = await machines.simulate(tokens=500).started()
    gateway = machines.serve(
        keepa_base_url=simulator.url, alert_webhook_url=receiver.url, drain_seconds=0,
        breaker_failures=1, upstream_retries=0, balance_max_age_seconds=3600,
    )  # fmt: skip
    await (await gateway.started()).ready()
    simulator.kill()
    assert (await gateway.ask(PRODUCT)).status == 502
    await receiver.wait_for("keepa_outage", "firing")
    gateway.terminate()
    assert await gateway.ended() == 0
    await receiver.wait_for("keepa_outage", "resolved", 1)


async def test_keepas_outage_is_one_for_all_gateways(machines, redis, receiver):
    """Each has a circuit of its own: the alarm begins with the first, ends after the last."""
    simulator = await machines.simulate(tokens=500).started()

    async def passes(gateway):
        return (await gateway.ask(PRODUCT)).status == 200

    port = urlsplit(simulator.url).port
    async with FaultProxy(port) as first_wire, FaultProxy(port) as second_wire:
        # An answer to anything would end an outage: each has a wire of its own to lose.
        first, second = gateways = [
            serve_one(
                machines, simulator, redis, receiver, breaker_failures=1, upstream_retries=0,
                breaker_cooldown_seconds=1, keepa_base_url=f"http://127.0.0.1:{wire.port}",
            )
            for wire in (first_wire, second_wire)
        ]  # fmt: skip
        for gateway in gateways:
            await (await gateway.started()).ready()
        first_wire.refuse()
        assert not await passes(first)
        await receiver.wait_for("keepa_outage", "firing")
        await first_wire.lift()
        await until(lambda: passes(first))
        # The other one fails for longer than the first is well again.
        for _ in range(3):
            second_wire.refuse()
            assert not await passes(second)
            await quiet(receiver, gateways, 6)
            await second_wire.lift()
            await until(lambda: passes(second))
        await receiver.wait_for("keepa_outage", "resolved", 30)
    assert receiver.told("keepa_outage") == [
        ("keepa_outage", "firing"), ("keepa_outage", "resolved"),
    ]  # fmt: skip


async def test_a_stop_does_not_wait_for_a_webhook(machines, receiver):
    """With a post under way that nobody answers, SIGTERM ends the process in a second or so."""
    receiver.script = [None] * 100
    simulator = await machines.simulate(tokens=40).started()
    gateway = machines.serve(
        keepa_base_url=simulator.url, alert_webhook_url=receiver.url, drain_seconds=0
    )
    await (await gateway.started()).ready()
    await until(lambda: receiver.events)
    stopped_at = gateway.terminate()
    assert await gateway.ended() == 0
    assert time.monotonic() - stopped_at < 2.5
    assert gateway.errors == ""
