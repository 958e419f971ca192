"""Several replicas, one Redis, one budget."""

from collections import Counter

import pytest
from support.callers.crowd import agree, burst, verdict
from support.callers.refusals import read_refusal

pytestmark = pytest.mark.e2e


async def test_two_replicas_admit_exactly_what_is_above_the_floor(machines, redis, figures):
    """Of 200 one-token calls on 100 tokens 90 are answered and 110 refused with their deficit."""
    simulator = await machines.simulate(tokens=100, lump_in_ms=60_000, latency=0.2).started()
    replicas = [
        machines.serve(keepa_base_url=simulator.url, redis_url=redis.url, balance_max_age_seconds=1)
        for _ in range(2)
    ]
    for replica in replicas:
        await (await replica.started()).ready()
    answers = await burst(replicas, 200)
    told = Counter(map(verdict, answers))
    assert told == {"200": 90, "429 floor": 110}
    for answer in answers:
        if answer.status == 429:
            refusal = read_refusal(answer, 429, "floor", "insufficientTokens")
            assert refusal["deficit"] == 11 - refusal["current_balance"] >= 1
            assert (refusal["floor"], refusal["required_tokens"]) == (10, 1)
    truth = await simulator.state()
    assert (truth["lowest_balance"], truth["refused_total"]) == (10, 0)
    quiet_after = await agree(replicas, simulator)
    figures(told=dict(told), lowest=truth["lowest_balance"], agree_seconds=quiet_after)
