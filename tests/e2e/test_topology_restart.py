"""The services of deploy/compose.yaml work together, and both gateways can be restarted."""

import asyncio
import time
from collections import Counter

import pytest
from support.callers.crowd import BROKEN, agree, verdict
from support.callers.wire import Caller, write_request
from support.deploy.topology import Topology, needs_topology
from support.waiting import until

pytestmark = [pytest.mark.e2e, needs_topology]

FLOOR = 10
CALLERS = 20
REFUSED_PAUSE_SECONDS = 0.1
# So that calls are under way at the simulator whenever a gateway stops.
STEERED = ["X-Sim-Latency-Ms: 100"]
FIELDS = "key=x&domain=1&asin=B0MIN00001"
GET = write_request(f"/product?{FIELDS}", STEERED)
POST = write_request(
    "/product",
    [*STEERED, "Content-Type: application/x-www-form-urlencoded"],
    method="POST",
    body=FIELDS.encode(),
)


class Load:
    """Callers of the front, one call after the other: a half on kept connections."""

    def __init__(self, front):
        self._front = front
        self._is_over = False
        self.told = Counter()
        self.lost = []
        self._callers = [asyncio.create_task(self._call(number)) for number in range(CALLERS)]

    async def end(self):
        self._is_over = True
        await asyncio.gather(*self._callers)

    async def _call(self, number):
        keeps, request = number % 2, POST if number % 4 < 2 else GET
        tls = self._front.tls
        while not self._is_over:
            began_at = time.time()
            try:
                async with Caller(self._front.url, tls) as caller:
                    while not self._is_over:
                        began_at = time.time()
                        await caller.send(request)
                        if self._note(await caller.receive(), began_at) != "200":
                            await asyncio.sleep(REFUSED_PAUSE_SECONDS)
                        if not keeps:
                            break
            except BROKEN as error:
                self.lost.append((began_at, number, repr(error)))

    def _note(self, answer, began_at):
        told = verdict(answer)
        self.told[told] += 1
        if told not in {"200", "429 floor"}:
            self.lost.append((began_at, told, answer.body[:200]))
        return told


@pytest.fixture
async def topology(tmp_path):
    # The load may come down to the floor; the request rate would stop it at once.
    topology = Topology(tmp_path, {"tokens": 1400, "rate": 60}, rate_limit_per_minute=0)
    try:
        yield await topology.started()
    finally:
        topology.end_all()


def check_redis(redis):
    """The shipped configuration writes to disk, and never throws a key away for want of memory."""
    for name, value in (
        ("appendonly", b"yes"),
        ("appendfsync", b"everysec"),
        ("maxmemory-policy", b"noeviction"),
    ):
        assert value in redis.command("CONFIG", "GET", name)
    assert list(redis.folder.glob("appendonlydir/*.incr.aof"))


async def test_a_rolling_restart_under_load_loses_no_call(topology, figures):
    """Answered through the front, scraped by Prometheus, restarted one by one: no call is lost."""
    check_redis(topology.redis)
    answer = await topology.front.ask(f"/product?{FIELDS}", "X-Request-Id: first-call")
    assert (answer.status, answer.get("X-Request-Id")) == (200, "first-call")
    assert answer.json()["products"][0]["asin"] == "B0MIN00001"

    async def both_are_scraped():
        up = await topology.prometheus.query('up{job="keepa-gateway"} == 1')
        consumed = await topology.prometheus.query("sum(keepa_gateway_tokens_consumed_total) == 1")
        return len(up) == 2 and consumed

    await until(both_are_scraped, 20)

    load = Load(topology.front)
    first_lives = dict(topology.gateways)
    await until(lambda: all(gateway.logged("call") for gateway in first_lives.values()))
    began_at = time.monotonic()
    for name in first_lives:
        await topology.restart(name)
    seconds = time.monotonic() - began_at
    # The last one to come back is called again.
    await until(lambda: topology.gateways["gateway-2"].logged("call"))
    await load.end()
    figures(
        calls=sum(load.told.values()), lost=len(load.lost), seconds=round(seconds, 1),
        verdicts=dict(load.told),
        agree_seconds=await agree(list(topology.gateways.values()), topology.simulator),
    )  # fmt: skip
    assert load.lost == []
    assert load.told["200"] > 100
    truth = await topology.simulator.state()
    # None was made twice.
    assert truth["calls"]["product"] == truth["charged_total"] == load.told["200"] + 1
    assert await topology.simulator.lowest() >= FLOOR
    # Both lives of both gateways took part.
    for gateway in (*first_lives.values(), *topology.gateways.values()):
        assert gateway.logged("call")
        assert gateway.errors == ""
