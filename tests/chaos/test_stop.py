"""A gateway that is stopped in the middle of a crowd."""

import asyncio
import time
from collections import Counter

import pytest
from support.callers.mixed_calls import Request
from support.gateways.processes import Machines
from support.waiting import until

from chaos.calls import call

CALLERS = 16
DRAIN_SECONDS = 0.2
ROUNDS = 4
HEALTH = Request("/healthz")


async def keep_asking(url, ends):
    """Make one call after the other, each on a connection of its own, until none is answered."""
    while (end := await call(url, HEALTH)).verdict == "200":
        ends.append(end)
    ends.append(end)


@pytest.mark.e2e
async def test_a_stop_leaves_no_caller_hanging(tmp_path):
    """SIGTERM while connections keep coming: each is answered or ended at once, and it stops.

    A connection that is being made just as the listener closes is nobody's: it must not be waited
    for until a time-out, neither by its caller nor by the stop.
    """
    machines = Machines(tmp_path)
    try:
        for _ in range(ROUNDS):
            gateway = machines.serve(keepa_base_url="simulator", drain_seconds=DRAIN_SECONDS)
            await gateway.started()
            ends = []
            callers = [asyncio.create_task(keep_asking(gateway.url, ends)) for _ in range(CALLERS)]
            await until(lambda ends=ends: len(ends) > 5 * CALLERS)
            stopped_at = gateway.terminate()
            assert await gateway.ended(5) == 0
            took = time.monotonic() - stopped_at
            await asyncio.gather(*callers)
            told = Counter(end.verdict for end in ends)
            print(f"figures: stopped_after={took:.2f}, told={dict(told)}")
            assert took < DRAIN_SECONDS + 1
            assert max(end.seconds for end in ends) < 1
            assert told.keys() <= {"200", "gone", "cut"}
    finally:
        machines.end_all()
