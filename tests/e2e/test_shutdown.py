"""SIGTERM: not ready at once, still listening for a while, and no call lost."""

import asyncio
import time

import orjson
import pytest
from support.callers.crowd import Slow, agree
from support.callers.wire import Caller, write_request
from support.measure.stopwatch import Stopwatch
from support.waiting import until

pytestmark = pytest.mark.e2e

DRAIN_SECONDS = 1
# A request that reaches the gateway just before the end of the drain, seen from outside.
CLOCK_SLACK_SECONDS = 0.05


async def watch_door(gateway):
    """Ask `/readyz` on new connections until there are none; return the times and statuses."""
    seen = []
    while True:
        asked_at = time.monotonic()
        try:
            answer = await gateway.ask("/readyz")
        except ConnectionRefusedError:
            seen.append((asked_at, None, None))
            return seen
        except (OSError, EOFError):
            # Let in by the kernel in the very moment the listener closed.
            continue
        seen.append((asked_at, answer.status, answer.json().get("missing")))
        await asyncio.sleep(0.02)


async def test_calls_in_flight_finish_after_sigterm(machines, redis, figures):
    """SIGTERM drains: 503 on /readyz at once, calls finish whole, exit code 0, no hold left."""
    simulator = await machines.simulate(tokens=500).started()
    settings = {"keepa_base_url": simulator.url, "redis_url": redis.url}
    stopping = machines.serve(drain_seconds=DRAIN_SECONDS, **settings)
    other = machines.serve(**settings)
    for gateway in (stopping, other):
        await (await gateway.started()).ready()
    slow = Slow([stopping], 20, 2000)
    large = asyncio.create_task(
        stopping.ask(
            "/product?key=x&domain=1&asin=B0MAX00001", "X-Sim-Fault: slow_body",
            "X-Sim-Slow-Seconds: 2", "X-Sim-Bytes: 3000000", "X-Sim-Order: sorted",
        )
    )  # fmt: skip

    async def all_are_at_keepa():
        return (await simulator.state())["in_flight"] == 21

    await until(all_are_at_keepa)
    watch = Stopwatch()
    stopped_at = stopping.terminate()
    seen = await watch_door(stopping)
    delay = watch.delay_seconds
    closed_after = seen[-1][0] - stopped_at
    late = [entry for entry in seen if entry[0] > stopped_at + 0.1]
    assert {status for _, status, _ in late[:-1]} == {503}
    assert all("draining" in missing for _, _, missing in late[:-1])
    assert closed_after >= DRAIN_SECONDS - CLOCK_SLACK_SECONDS
    assert closed_after - delay < DRAIN_SECONDS + 1
    assert not stopping.has_ended
    assert await slow.verdicts() == {"200": 20}
    answer = await large
    assert (answer.status, answer.whole) == (200, True)
    assert orjson.loads(answer.plain)["products"][0]["asin"] == "B0MAX00001"
    assert len(answer.body) > 3_000_000
    assert await stopping.ended() == 0
    ended_after = time.monotonic() - stopped_at
    quiet_after = await agree([other], simulator)
    assert stopping.errors == ""
    assert [line["outcome"] for line in stopping.logged("call")] == ["settled"] * 21
    assert stopping.lines()[-1]["event"] == "stopped"
    first_503_at = next(at for at, status, _ in seen if status == 503)
    figures(
        listener_closed_seconds=round(closed_after, 2), ended_seconds=round(ended_after, 2),
        first_503_seconds=round(first_503_at - stopped_at, 3),
        agree_seconds=quiet_after,
    )  # fmt: skip


async def test_calls_are_served_while_draining(machines):
    """Between SIGTERM and the end of the drain a new call is answered as ever."""
    gateway = machines.serve(keepa_base_url="simulator", drain_seconds=DRAIN_SECONDS)
    await (await gateway.started()).ready()
    gateway.terminate()
    await until(lambda: _drains(gateway))
    answer = await gateway.ask("/product?key=x&domain=1&asin=B0MIN00001", "X-Sim-Latency-Ms: 1200")
    assert (answer.status, answer.whole) == (200, True)
    assert await gateway.ended() == 0


async def test_an_idle_gateway_ends_right_after_the_drain(machines, figures):
    """SIGTERM ends an idle gateway with 0, also while callers keep idle connections to it."""
    gateway = machines.serve(keepa_base_url="simulator", drain_seconds=0.3)
    await (await gateway.started()).ready()
    async with Caller(gateway.url) as idle, Caller(gateway.url):
        await idle.send(write_request("/healthz"))
        assert (await idle.receive()).status == 200
        watch = Stopwatch()
        gateway.terminate()
        assert await gateway.ended(5) == 0
        figures(ended_seconds=round(watch.seconds, 2))
        assert watch.wall_seconds >= 0.3 - CLOCK_SLACK_SECONDS
        assert watch.seconds < 2
        assert await idle.has_ended()
    assert gateway.errors == ""


async def test_a_second_sigterm_changes_nothing(machines):
    """A supervisor that repeats itself neither cuts calls nor makes the exit a failure."""
    gateway = machines.serve(keepa_base_url="simulator", drain_seconds=0.3)
    await (await gateway.started()).ready()
    slow = Slow([gateway], 4, 1000)
    await until(lambda: _reserves(gateway, slow.tokens))
    gateway.terminate()
    gateway.terminate()
    assert await slow.verdicts() == {"200": 4}
    assert await gateway.ended() == 0


async def _reserves(gateway, tokens):
    return await gateway.reserved() == tokens


async def _drains(gateway):
    return (await gateway.ask("/readyz")).status == 503
