"""`settle`, `release`, `doubt`: each reservation ends, and ends once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import (
    accounts,
    ask,
    ended,
    know,
    observed,
    record,
    release,
    reserve,
    run,
    settle,
    tallies,
)

from gateway.errors import LedgerUnavailable
from gateway.ledger import Ask, Code, Ledger, Terms, scripts

PassTime = Callable[[float], Awaitable[None]]


@pytest.mark.parametrize("consumed", [0, 1, 44, 50])
async def test_settling_takes_what_was_consumed_and_frees_the_rest(
    ledger: Ledger, ear, consumed: int
) -> None:
    """The hold goes whole, the balance falls by the consumption, C rises by it."""
    await know(ledger, 100)
    await settle(ledger, await reserve(ledger, "a", 50), consumed)
    assert await accounts(ledger) == (100 - consumed, 0, consumed)
    look = await ledger.overview()
    assert (look.used, tallies(look) if consumed else None, ear.total("overrun")) == (
        consumed, (consumed, 0, 0) if consumed else None, 0,
    )  # fmt: skip


async def test_a_call_charged_above_its_reservation_is_settled_in_full(ledger: Ledger, ear) -> None:
    """Settling never fails: the excess lowers the balance, even below the floor, and is counted."""
    await know(ledger, 100)
    await settle(ledger, await reserve(ledger, "a", 50), 130)
    assert await accounts(ledger) == (-30, 0, 130)
    assert ear.total("overrun") == 80
    assert await ask(ledger, "b", 1) == Code.FLOOR


async def test_overrun_takes_nothing_from_other_holds(ledger: Ledger) -> None:
    """Only the excess is gone: what others hold stays held."""
    await know(ledger, 100)
    await reserve(ledger, "b", 20)
    await settle(ledger, await reserve(ledger, "a", 30), 40)
    assert await accounts(ledger) == (60, 20, 40)


async def test_settling_twice_charges_once(ledger: Ledger, ear) -> None:
    """A settle that is sent again is answered as resolved and charges nothing."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    first = await run(ledger, scripts.SETTLE, *ended(hold, 60))
    again = await run(ledger, scripts.SETTLE, *ended(hold, 60))
    assert (first.code, first.events.overrun) == (Code.DONE, 10)
    assert (again.code, again.events.overrun) == (Code.RESOLVED, 0)
    assert await accounts(ledger) == (40, 0, 60)


async def test_the_same_hold_may_be_settled_again_at_once(ledger: Ledger) -> None:
    """Two settles of one hold under way together still charge once and both are delivered."""
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    ledger.settle(hold, 50)
    ledger.settle(hold, 50)
    assert await ledger.delivered(2)
    assert await accounts(ledger) == (50, 0, 50)
    assert (ledger.unconfirmed, faults) == (0, [])


async def test_settling_again_still_takes_the_observation(ledger: Ledger, ear) -> None:
    """What a resent settle says of the bucket is weighed, although it charges nothing."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    await run(ledger, scripts.SETTLE, *ended(hold, 50))
    reply = await run(ledger, scripts.SETTLE, *ended(hold, 50, 20, 30_000, 20, 0, 0))
    # 30 less than expected; and C rose by 50 since the call began, which may be missing in it.
    assert (reply.code, reply.events.spent) == (Code.RESOLVED, 30)
    assert await accounts(ledger) == (-30, 0, 50)
    await know(ledger, 20)
    assert await accounts(ledger) == (20, 0, 50)
    assert ear.total("back") == 0


async def test_settling_a_reaped_call_charges_nothing_more(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Its reservation was counted as spent already; a later observation corrects the difference."""
    await know(ledger, 100, 59_000)
    hold = await reserve(ledger, "a", 50)
    await pass_time(150)
    assert await accounts(ledger) == (90, 0, 50)
    await settle(ledger, hold, 30, observed(110, 29_000))
    assert await accounts(ledger) == (90, 0, 50)
    await know(ledger, 110, 29_000)
    assert await accounts(ledger) == (110, 0, 50)


async def test_a_call_reaped_by_its_own_settle_is_charged_once(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """The reap is the second step of the very settle that comes too late."""
    await know(ledger, 100, 59_000)
    hold = await reserve(ledger, "a", 50)
    await pass_time(150)
    reply = await run(ledger, scripts.SETTLE, *ended(hold, 50))
    assert (reply.code, reply.events.reaped) == (Code.RESOLVED, 1)
    assert await accounts(ledger) == (90, 0, 50)


async def test_a_released_call_consumed_nothing(ledger: Ledger) -> None:
    """Its hold goes, the balance and C stay, and releasing again changes nothing."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    await release(ledger, hold)
    assert await accounts(ledger) == (100, 0, 0)
    again = await run(ledger, scripts.RELEASE, record("a", hold.epoch, ""))
    assert again.code == Code.RESOLVED
    assert await accounts(ledger) == (100, 0, 0)


async def test_releasing_twice_frees_no_other_hold(ledger: Ledger) -> None:
    """The held total falls once only."""
    await know(ledger, 100)
    await reserve(ledger, "b", 20)
    hold = await reserve(ledger, "a", 50)
    for _ in range(3):
        await run(ledger, scripts.RELEASE, record("a", hold.epoch, ""))
    assert await accounts(ledger) == (100, 20, 0)


async def test_a_release_after_the_settle_gives_nothing_back(ledger: Ledger) -> None:
    """Resolved is resolved, whichever transition did it."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    await settle(ledger, hold, 50)
    assert (await run(ledger, scripts.RELEASE, record("a", hold.epoch, ""))).code == Code.RESOLVED
    assert await accounts(ledger) == (50, 0, 50)


async def test_a_settle_after_the_release_takes_nothing(ledger: Ledger) -> None:
    """The other way round it is the same."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    await release(ledger, hold)
    assert (await run(ledger, scripts.SETTLE, *ended(hold, 50))).code == Code.RESOLVED
    assert await accounts(ledger) == (100, 0, 0)


async def test_a_doubtful_call_keeps_its_hold_until_it_expires(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Nobody may spend what it may have consumed, and no longer than that."""
    await know(ledger, 100, 59_000)
    ledger.doubt(await reserve(ledger, "a", 50))
    assert await accounts(ledger) == (100, 50, 0)
    await pass_time(149)
    assert await accounts(ledger) == (140, 50, 0)
    await pass_time(1)
    assert await accounts(ledger) == (90, 0, 50)


async def test_a_doubtful_call_may_still_be_settled(ledger: Ledger) -> None:
    """An answer that comes after all resolves the hold as ever."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    ledger.doubt(hold)
    await settle(ledger, hold, 20)
    assert await accounts(ledger) == (80, 0, 20)


async def test_when_traffic_stops_nothing_stays_held(ledger: Ledger, pass_time: PassTime) -> None:
    """Settled, released, doubted or forgotten: after the longest hold's life held is 0."""
    await know(ledger, 1000)
    holds = [await reserve(ledger, f"c{n}", n + 1) for n in range(12)]
    for n, hold in enumerate(holds):
        if n % 4 == 0:
            ledger.settle(hold, 1)
        elif n % 4 == 1:
            ledger.release(hold)
        elif n % 4 == 2:
            ledger.doubt(hold)
    assert await ledger.delivered(2)
    assert (await ledger.overview()).live_holds == 6
    await pass_time(150)
    look = await ledger.overview()
    assert (look.live_holds, look.balance.held) == (0, 0)
    assert look.services["shop"].reserved == 0


async def test_a_settle_refused_for_its_arguments_changes_nothing(ledger: Ledger) -> None:
    """Everything is checked before the first write, so the hold is still there."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    for bad in ("1.5", "many", ""):
        with pytest.raises(LedgerUnavailable):
            await run(ledger, scripts.SETTLE, *ended(hold, bad))
    assert await accounts(ledger) == (100, 50, 0)


async def test_tallies_tell_each_service_apart(ledger: Ledger) -> None:
    """Used, denied and reserved are kept by service; a name may contain a colon."""
    await know(ledger, 100)
    first = await ledger.reserve(Ask("a", 30, Terms(10), "shop:eu", "product"))
    await ledger.reserve(Ask("b", 20, Terms(10), "crawler", "deal"))
    await ledger.reserve(Ask("c", 90, Terms(10), "crawler", "deal"))
    await settle(ledger, first.hold, 25)
    look = await ledger.overview()
    assert {name: tallies(look, name) for name in look.services} == {
        "shop:eu": (25, 0, 0), "crawler": (0, 1, 20),
    }  # fmt: skip
