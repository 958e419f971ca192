"""Calls of a service in flight at once, over all gateways: what counts, and what ends it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import (
    ask_under,
    know,
    release,
    reserve_under,
    settle,
    usage,
)

from gateway.ledger import Code, Ledger, Terms

PassTime = Callable[[float], Awaitable[None]]
Flush = Callable[[], Awaitable[None]]
ACCOUNT, TWO = Terms(10), Terms(10, max_concurrency=2)


async def test_calls_in_flight_count_over_all_gateways(open_ledger) -> None:
    """Holds of several ledgers are one service's; the refusal is for a second, and has no room."""
    one, other, third = (open_ledger() for _ in range(3))
    await know(one, 1000)
    await reserve_under(one, "a", 5, TWO)
    await reserve_under(other, "b", 5, TWO)
    refused = await ask_under(third, "c", 5, TWO)
    assert (refused.code, refused.wait_ms, refused.room) == (Code.CONCURRENCY, 1000, 0)
    its_own = await usage(third)
    assert (its_own.holds, its_own.reserved) == (2, 10)
    assert its_own.refusals == {"service_concurrency": 1}


@pytest.mark.parametrize("how", ["settled", "released", "reaped"])
async def test_a_call_that_ends_makes_room(ledger: Ledger, pass_time: PassTime, how: str) -> None:
    """Settled, released or given up: one more may run, and one only."""
    await know(ledger, 1000)
    first = await reserve_under(ledger, "a", 5, TWO)
    if how == "reaped":
        ledger.doubt(first)
        await pass_time(100)
    await reserve_under(ledger, "b", 5, TWO)
    assert (await ask_under(ledger, "c", 5, TWO)).code == Code.CONCURRENCY
    if how == "settled":
        await settle(ledger, first, 5)
    elif how == "released":
        await release(ledger, first)
    else:
        await pass_time(51)
    await reserve_under(ledger, "c", 5, TWO)
    assert (await ask_under(ledger, "d", 5, TWO)).code == Code.CONCURRENCY


async def test_a_call_in_doubt_is_in_flight(ledger: Ledger, pass_time: PassTime) -> None:
    """Keepa may still be at work on it, as long as its hold lives."""
    await know(ledger, 1000)
    for name in "ab":
        ledger.doubt(await reserve_under(ledger, name, 5, TWO))
    await pass_time(149)
    assert (await ask_under(ledger, "c", 5, TWO)).code == Code.CONCURRENCY


async def test_free_calls_are_in_flight_too(ledger: Ledger) -> None:
    """A call of cost 0 takes its part of the concurrency, and is refused without one."""
    await know(ledger, 1000)
    free = await reserve_under(ledger, "a", 0, TWO)
    await reserve_under(ledger, "b", 5, TWO)
    assert (await ask_under(ledger, "c", 0, TWO)).code == Code.CONCURRENCY
    await settle(ledger, free, 0)
    await reserve_under(ledger, "c", 0, TWO)


async def test_services_do_not_count_each_others_calls(ledger: Ledger) -> None:
    """Each service has its own calls in flight; one without a limit has any number."""
    await know(ledger, 1000)
    for service in ("batch", "shop"):
        for n in range(2):
            await reserve_under(ledger, f"{service}{n}", 5, TWO, service)
        refused = await ask_under(ledger, f"{service}2", 5, TWO, service)
        assert refused.code == Code.CONCURRENCY
    for n in range(10):
        await reserve_under(ledger, f"free{n}", 5, ACCOUNT, "free")


async def test_many_at_once_never_exceed_it(open_ledger) -> None:
    """Of 60 calls at once from three gateways, and 60 more after two ended, seven were admitted."""
    ledgers = [open_ledger() for _ in range(3)]
    five = Terms(10, max_concurrency=5)
    await know(ledgers[0], 1000)
    admissions = await asyncio.gather(
        *(ask_under(ledgers[n % 3], f"a{n}", 1, five) for n in range(60))
    )
    holds = [admission.hold for admission in admissions if admission.hold]
    assert len(holds) == 5
    for hold in holds[:2]:
        await settle(ledgers[0], hold, 1)
    admissions = await asyncio.gather(
        *(ask_under(ledgers[n % 3], f"b{n}", 1, five) for n in range(60))
    )
    assert [admission.code for admission in admissions].count(Code.DONE) == 2


async def test_a_resent_reserve_is_one_call(ledger: Ledger) -> None:
    """The same id is admitted again where there is no room for another, and ends once."""
    await know(ledger, 1000)
    for _ in range(3):
        hold = await reserve_under(ledger, "a", 5, TWO)
    await reserve_under(ledger, "b", 5, TWO)
    await reserve_under(ledger, "a", 5, TWO)
    assert (await usage(ledger)).holds == 2
    for _ in range(3):
        await settle(ledger, hold, 5)
    await reserve_under(ledger, "c", 5, TWO)
    assert (await ask_under(ledger, "d", 5, TWO)).code == Code.CONCURRENCY


async def test_calls_in_flight_outlive_a_restart(ledger: Ledger) -> None:
    """A new epoch of a store that kept its data knows whose calls are still on their way."""
    await know(ledger, 1000)
    hold = await reserve_under(ledger, "a", 5, TWO)
    await reserve_under(ledger, "b", 7, TWO)
    await reserve_under(ledger, "c", 9, TWO, "batch")
    ledger.store._run_id += "'"
    assert not (await ledger.overview()).balance.known
    await know(ledger, 1000)
    look = await ledger.overview()
    assert {name: (use.reserved, use.holds) for name, use in look.services.items()} == {
        "shop": (12, 2),
        "batch": (9, 1),
    }
    assert (await ask_under(ledger, "d", 5, TWO)).code == Code.CONCURRENCY
    await settle(ledger, hold, 5)
    await reserve_under(ledger, "d", 5, TWO)


async def test_calls_that_come_back_to_an_emptied_store_are_in_flight(
    open_ledger, flush: Flush
) -> None:
    """A gateway's keep brings its calls back under their service's name."""
    one, other = open_ledger(), open_ledger()
    await know(one, 1000)
    await reserve_under(one, "a", 5, TWO)
    hold = await reserve_under(other, "b", 7, TWO)
    await flush()
    for _ in range(2):
        await one.keep()
        await other.keep()
    await know(one, 1000)
    assert (await usage(one)).holds == 2
    assert (await ask_under(one, "c", 5, TWO)).code == Code.CONCURRENCY
    await settle(other, hold, 7)
    await reserve_under(one, "c", 5, TWO)


async def test_a_call_whose_hold_did_not_come_back_frees_nobody_elses(
    open_ledger, flush: Flush
) -> None:
    """Its settle ends no hold, so that as many as before are in flight."""
    one, other = open_ledger(), open_ledger()
    await know(one, 1000)
    lost = await reserve_under(other, "a", 5, TWO)
    await flush()
    await know(one, 1000)
    for name in "bc":
        await reserve_under(one, name, 5, TWO)
    other.settle(lost, 5)
    assert await other.delivered(2)
    its_own = await usage(one)
    assert (its_own.used, its_own.reserved, its_own.holds) == (5, 10, 2)
    assert (await ask_under(one, "d", 5, TWO)).code == Code.CONCURRENCY
