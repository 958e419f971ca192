"""One cell of the table: a fault strikes while calls are under way, is lifted, and all is well.

What is asserted is collected, not raised, so that one cell tells all that is broken in it.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

from support.callers.mixed_calls import Request
from support.waiting import until

from chaos.callers import ONE, Callers
from chaos.calls import End, call
from chaos.faults import Fault
from chaos.fleet import FLOOR, FREE, HOLD_SECONDS, REPLICAS, UPSTREAM_SECONDS, Fleet, products
from chaos.operations import Operation
from chaos.promises import Crossing, expect_clean_books, expect_clean_output, expect_vitals

# Redis gets 0.8 s.
REFUSED_SECONDS = 1.0
# The patience for an unknown balance, then the call's own time, and slack.
ANSWERED_SECONDS = 3 + UPSTREAM_SECONDS + 1.0
RECOVERED_SECONDS = 8.0
FREE_TOKENS = 20
# What half a second of a late Redis leaves of the time that it gets, and a little.
_BORNE_SECONDS = 0.25
_FREE = Request(FREE)
_FINE = frozenset({"200", "429 floor"})


async def cross(fleet: Fleet, fault: Fault, operation: Operation) -> Crossing:
    """Run one cell on a fleet at peace, and leave it at peace."""
    crossing = Crossing(f"{fault.title} x {operation.name}")
    began_at = time.monotonic()
    await fleet.set_balance(FLOOR + 2 * operation.tokens + FREE_TOKENS + REPLICAS)
    await fleet.at_peace(5)
    await fleet.close_circuits()
    await fleet.at_peace(5)
    expired_before = await _count_expired(fleet)
    survivors = [gateway.process.pid for gateway in fleet.gateways]
    callers = Callers(fleet)

    earlier = await _count_calls(fleet)
    first = asyncio.create_task(callers.wave(operation))
    await until(lambda: _is_under_way(fleet, operation, earlier), 5)
    refused_before = (await fleet.simulator.state())["refused_total"]
    async with AsyncExitStack() as stack:
        async with fault.strike(fleet):
            struck_at = time.monotonic()
            callers.headers = fault.headers
            second = asyncio.create_task(callers.wave(operation))
            # The wave's calls reserve before those that would take the tokens.
            await asyncio.sleep(0)
            await stack.enter_async_context(callers.trickle())
            delays = await stack.enter_async_context(callers.delays())
            await asyncio.sleep(fault.seconds)
            lowest = (await fleet.simulator.state())["lowest_balance_by_charge"]
            callers.headers = ()
            lifted_at = time.monotonic()
        await _expect_recovery(fleet, crossing, lifted_at)
        spared, _ = await first, await second
    _expect_answers(crossing, fault, operation, callers.ends, spared)
    meanwhile = [end for end in callers.ends if struck_at <= end.began_at <= lifted_at]
    _expect_service(crossing, fault, meanwhile, max(delays, default=0.0))
    await _expect_peace(fleet, crossing)

    truth = await fleet.simulator.state()
    crossing.lowest = min(lowest, truth["lowest_balance_by_charge"])
    crossing.expect(crossing.lowest >= FLOOR, f"the balance fell to {crossing.lowest}")
    if "429 keepa" not in fault.told:
        refused = truth["refused_total"] - refused_before
        crossing.expect(refused == 0, f"Keepa itself refused {refused} calls")
    if fault.of == "redis":
        # Whatever became of Redis: what is known of a call reaches it in the end.
        expired = await _count_expired(fleet) - expired_before
        crossing.expect(expired == 0, f"{expired} holds had to expire")
    await expect_clean_books(fleet, crossing)
    expect_clean_output(fleet, crossing, may_refuse_scripts=fault.name == "full")
    for place in range(REPLICAS):
        if fleet.gateways[place].process.pid == survivors[place]:
            await expect_vitals(fleet, crossing, place)
        else:
            await fleet.warm(place)
    crossing.seconds = time.monotonic() - began_at
    return crossing


async def _count_expired(fleet: Fleet) -> int:
    seen = [await gateway.metrics() for gateway in fleet.gateways]
    return int(sum(one["reservations_expired_total"] for one in seen))


async def _count_calls(fleet: Fleet) -> int:
    """Return how many calls have reached Keepa, without the gateways' own for the balance."""
    state = await fleet.simulator.state()
    return int(state["calls_total"] - state["calls"].get("token", 0))


async def _is_under_way(fleet: Fleet, operation: Operation, earlier: int) -> bool:
    # Not how many are there at one moment: on a slow machine the first are answered before the last
    # has come.
    return await _count_calls(fleet) - earlier >= operation.at_keepa


async def _expect_recovery(fleet: Fleet, crossing: Crossing, lifted_at: float) -> None:
    """Wait until every gateway admits calls and reaches Keepa."""

    async def is_well(place: int) -> bool:
        url = fleet.gateways[place].url
        free, one = await asyncio.gather(call(url, _FREE), call(url, ONE))
        return free.verdict == "200" and one.verdict in _FINE

    async def are_well() -> bool:
        return all(await asyncio.gather(*(is_well(place) for place in range(REPLICAS))))

    try:
        await until(are_well, RECOVERED_SECONDS, every=0.05)
    except AssertionError:
        crossing.broken.append(f"no recovery in {RECOVERED_SECONDS} s")
    crossing.recovery = time.monotonic() - lifted_at


def _expect_answers(
    crossing: Crossing,
    fault: Fault,
    operation: Operation,
    ends: Sequence[End],
    spared: Sequence[End],
) -> None:
    crossing.told = Counter(end.verdict for end in ends)
    strange = crossing.told.keys() - _FINE - fault.told - fault.must - {"left"}
    crossing.expect(not strange, f"callers were told {sorted(strange)}")
    missing = fault.must - crossing.told.keys()
    crossing.expect(not missing, f"nobody was told {sorted(missing)}: did it strike?")
    problems = [end.problem for end in ends if end.problem]
    crossing.expect(not problems, f"answers with a fault: {problems[:3]}")
    slow = [(end.verdict, round(end.seconds, 2)) for end in ends if end.seconds > ANSWERED_SECONDS]
    crossing.expect(not slow, f"answered late: {slow[:5]}")
    if fault.spares_calls and operation.at_keepa:
        lost = Counter(end.verdict for end in spared) - Counter({"200": 1000, "left": 1000})
        crossing.expect(not lost, f"calls under way at Keepa were told {dict(lost)}")


def _expect_service(
    crossing: Crossing, fault: Fault, meanwhile: Sequence[End], delay: float
) -> None:
    """Look at the calls that were made while the fault stood.

    Args:
        delay: What a call took, at most, that waits for nothing. A refused one is run twice: when
            it comes, and when Redis' time is up.
    """
    refusals = [end.seconds for end in meanwhile if end.verdict == "503 ledger_unavailable"]
    crossing.slowest_refusal = max(refusals, default=0.0)
    crossing.expect(
        crossing.slowest_refusal <= REFUSED_SECONDS + 2 * delay,
        f"a refusal took {crossing.slowest_refusal:.2f} s, one that waits for nothing {delay:.2f}",
    )
    served = sum(end.verdict in _FINE for end in meanwhile)
    # A fault that is borne on an idle machine may be one too many on a busy one.
    is_promised = fault.serves and delay < _BORNE_SECONDS
    crossing.expect(served or not is_promised, "no call was served while the fault stood")


async def _expect_peace(fleet: Fleet, crossing: Crossing) -> None:
    """Every token above the floor can be spent again, and the balance is Keepa's."""
    turns = itertools.cycle(range(REPLICAS))

    async def is_spent() -> bool:
        truth = await fleet.simulator.state()
        left = truth["tokens_left"] - FLOOR
        if left > 0:
            request = Request(products(min(left, 100)))
            await call(fleet.gateways[next(turns)].url, request)
        return truth["in_flight"] == 0 and left <= 0

    try:
        await until(is_spent, HOLD_SECONDS + UPSTREAM_SECONDS + 3, every=0.05)
        await fleet.at_peace(5)
    except AssertionError:
        truth = await fleet.simulator.state()
        told = [await gateway.tokens() for gateway in fleet.gateways]
        crossing.broken.append(
            f"no peace: {truth['tokens_left']} left, {truth['in_flight']} in flight, told {told}"
        )
    crossing.holds_left = (await fleet.books()).live_holds
