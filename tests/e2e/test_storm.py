"""Everything at once: mixed calls, every fault, callers who leave, three replicas."""

import asyncio
import itertools
import random
import time
from collections import Counter
from contextlib import suppress

import pytest
from support.callers.crowd import BROKEN, Trickle, agree, all_spent, verdict
from support.callers.mixed_calls import mixed_request
from support.callers.wire import Caller, write_request
from support.gateways.processes import KEY

from gateway.simulator.steering import Fault

pytestmark = pytest.mark.e2e

FLOOR = 10
SECRETS = {"pricing": "pricing-secret-1234567890", "research": "research-secret-0987654321"}
CALLERS = 48


async def call(url, request, leaves_after):
    """Make one call; return what was told, `left` where the caller did not wait for it."""
    async with Caller(url) as caller:
        await caller.send(
            write_request(request.target, request.headers, method=request.method, body=request.body)
        )
        if leaves_after is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(caller.reader.read(1), leaves_after)
            return "left"
        return verdict(await caller.receive(to=request.method))


async def keep_calling(urls, chance, deadline, told):
    """Make one call after the other, to the replicas in turn."""
    for url in itertools.cycle(urls):
        if time.monotonic() > deadline:
            return
        request = mixed_request(chance, chance.choice(list(SECRETS.values())))
        leaves_after = chance.random() * 0.5 if chance.random() < 0.15 else None
        try:
            end = await call(url, request, leaves_after)
        except BROKEN:
            end = "cut"
        told[end] += 1
        # A refusal costs no time, and a storm of nothing else would prove little.
        await asyncio.sleep(chance.random() * (0.3 if end.startswith("429") else 0.05))


@pytest.mark.timeout(180)
async def test_a_storm_of_mixed_calls_and_faults(machines, redis, figures, storm_seconds):
    """Whatever fails, the floor is kept, every hold ends, and the balance is Keepa's again."""
    rate = 1800
    simulator = await machines.simulate(
        tokens=int(500 * storm_seconds), rate=rate, latency=0.02, fault_rate=0.3, seed=7,
        # A lump falls in the middle of even the shortest storm.
        lump_in_ms=int(1000 * (7 + storm_seconds / 2)) % 60_000 or 1,
    ).started()  # fmt: skip
    settings = {
        "keepa_base_url": simulator.url,
        "redis_url": redis.url,
        "min_balance_threshold": FLOOR,
        "balance_max_age_seconds": 1,
        "upstream_timeout_seconds": 2,
        "reservation_ttl_seconds": 3,
        "service_keys": ",".join(f"{name}:{secret}" for name, secret in SECRETS.items()),
    }
    replicas = [machines.serve(**settings) for _ in range(3)]
    for replica in replicas:
        await (await replica.started()).ready()
    urls = [replica.url for replica in replicas]
    deadline = time.monotonic() + storm_seconds + 2.5
    told = Counter()
    await asyncio.gather(
        *(
            keep_calling(urls[n % 3 :] + urls[: n % 3], random.Random(n), deadline, told)
            for n in range(CALLERS)
        )
    )
    lowest_in_storm = await simulator.lowest()
    # What is held for calls in doubt comes back when they expire, and can be spent to the last.
    headers = (f"X-Api-Key: {SECRETS['pricing']}", "X-Sim-Fault: none", "X-Sim-Latency-Ms: 0")
    async with Trickle(replicas, 0.005, headers) as trickle:
        await all_spent(simulator, FLOOR, 20)
    quiet_after = await agree(replicas, simulator)
    truth = await simulator.state()
    metrics = sum([await replica.metrics() for replica in replicas], Counter())
    figures(
        calls=told.total() + trickle.count, told=dict(told), at_keepa=truth["calls_total"],
        charged=truth["charged_total"], faults=sum(truth["faults"].values()),
        lumps=truth["gained_total"] / rate, lowest_in_storm=lowest_in_storm,
        lowest=truth["lowest_balance_by_charge"], agree_seconds=quiet_after,
        expired=int(metrics["reservations_expired_total"]),
    )  # fmt: skip
    # A circuit that the storm's last faults opened closes by itself.
    assert trickle.told.keys() <= {"200", "429 floor", "503 circuit_open"}
    assert truth["lowest_balance_by_charge"] == FLOOR
    assert truth["refused_total"] == 0
    assert metrics["overrun_tokens_total"] == 0
    assert truth["spent_total"] == 0
    # The storm was one: every fault, every endpoint, refusals as well as answers.
    assert truth["faults"].keys() == set(Fault)
    assert set(truth["calls"]) >= {"product", "seller", "query", "deal", "graphimage", "category"}
    assert {"200", "429 floor", "504 upstream_timeout", "left", "cut"} <= told.keys()
    for replica in replicas:
        check_output(replica)


def check_output(replica):
    """No traceback, no key, no fault of the gateway's own; each line is JSON."""
    replica.terminate()
    output = replica.output + replica.errors
    assert "Traceback" not in output
    for secret in (KEY, *SECRETS.values()):
        assert secret not in output
    assert replica.errors == ""
    events = {line["event"] for line in replica.lines()}
    assert "call" in events
    assert not events & {"unhandled", "script_refused", "store_down", "new_epoch"}
