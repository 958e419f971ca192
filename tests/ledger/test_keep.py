"""`keep`: live holds come back to a new epoch, and only those."""

from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import (
    accounts,
    ask,
    ended,
    know,
    record,
    release,
    reserve,
    run,
    settle,
)
from support.waiting import until

from gateway.errors import LedgerUnavailable
from gateway.ledger import Code, Ledger, scripts

PassTime = Callable[[float], Awaitable[None]]
Flush = Callable[[], Awaitable[None]]


async def held(ledger: Ledger, tokens: int) -> bool:
    return (await accounts(ledger))[1] == tokens


async def test_live_holds_come_back_to_an_emptied_store(open_ledger, flush: Flush) -> None:
    """Each gateway names its own; afterwards all are held again, at their cost and age."""
    one, other = open_ledger(), open_ledger()
    await know(one, 100)
    await reserve(one, "a", 20)
    await reserve(other, "b", 30)
    await flush()
    await one.keep()
    assert (await accounts(one))[1] == 20
    await other.keep()
    look = await one.overview()
    assert (look.balance.held, look.live_holds) == (50, 2)
    assert look.services["shop"].reserved == 50
    await know(one, 100)
    assert await ask(one, "c", 41) == Code.FLOOR
    assert await ask(one, "c", 40) == Code.DONE


async def test_a_gateway_brings_its_holds_back_as_soon_as_it_hears_of_a_new_epoch(
    ledger: Ledger, flush: Flush
) -> None:
    """Any reply tells the epoch; nobody has to wait for the next second."""
    await know(ledger, 100)
    await reserve(ledger, "a", 20)
    await flush()
    assert await ask(ledger, "b", 1) == Code.UNKNOWN
    await until(lambda: held(ledger, 20))


async def test_keeping_twice_holds_once(ledger: Ledger, flush: Flush) -> None:
    """A hold that came back is not brought back again."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 20)
    await flush()
    kept = [record("a", 20, 0, 150_000_000, hold.epoch, "shop", "product")]
    assert [(await run(ledger, scripts.RESTORE_HOLDS, *kept)).extra[0] for _ in range(3)] == [
        1,
        0,
        0,
    ]
    assert (await accounts(ledger))[1] == 20


async def test_a_hold_missing_in_its_own_epoch_is_resolved_already(ledger: Ledger) -> None:
    """A keep that names it all the same brings nothing back."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 20)
    await settle(ledger, hold, 20)
    kept = [record("a", 20, 0, 150_000_000, hold.epoch, "shop", "product")]
    assert (await run(ledger, scripts.RESTORE_HOLDS, *kept)).extra[0] == 0
    assert await accounts(ledger) == (80, 0, 20)


async def test_keep_leaves_the_holds_of_this_epoch_alone(ledger: Ledger) -> None:
    """Each second, with calls in flight, and nothing changes by it."""
    await know(ledger, 100)
    await reserve(ledger, "a", 20)
    for _ in range(3):
        await ledger.keep()
    assert await accounts(ledger) == (100, 20, 0)


async def test_a_keep_with_a_bad_argument_holds_nothing(ledger: Ledger) -> None:
    """Refused before the first write: held stays the sum of the live holds."""
    await know(ledger, 100)
    good = record("a", 20, 0, 150_000_000, 1, "shop", "product")
    bad = record("b", "many", 0, 150_000_000, 1, "shop", "product")
    with pytest.raises(LedgerUnavailable):
        await run(ledger, scripts.RESTORE_HOLDS, good, bad)
    look = await ledger.overview()
    assert (look.balance.held, look.live_holds) == (0, 0)


async def test_a_hold_comes_back_with_what_is_left_of_its_life(
    ledger: Ledger, flush: Flush, pass_time: PassTime
) -> None:
    """It expires when it would have, and one that has expired does not come back."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 20)
    await flush()
    young = record("a", 20, 140_000_000, 10_000_000, hold.epoch, "shop", "product")
    old = record("b", 30, 150_000_000, 0, hold.epoch, "shop", "product")
    await run(ledger, scripts.RESTORE_HOLDS, young, old)
    assert await accounts(ledger) == (0, 20, 0)
    await pass_time(10)
    assert await accounts(ledger) == (0, 0, 20)


async def test_a_hold_that_came_back_is_in_flight_for_headers_after_its_start(
    open_ledger, flush: Flush
) -> None:
    """It keeps the time it began, so an answer of the new epoch may contain its charge."""
    ledger = open_ledger()
    await know(ledger, 100)
    hold = await reserve(open_ledger(), "a", 20)
    await flush()
    await know(ledger, 100)
    kept = record("a", 20, 10_000_000, 140_000_000, hold.epoch, "shop", "product")
    await run(ledger, scripts.RESTORE_HOLDS, kept)
    await know(ledger, 80, 35_000, age=5.0)
    assert await accounts(ledger) == (100, 20, 0)


async def test_a_call_of_an_older_epoch_is_charged_once_with_its_hold(
    ledger: Ledger, flush: Flush
) -> None:
    """Its hold came back: it ends, the consumption is taken, the observation is not."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 20)
    await flush()
    await ledger.keep()
    await know(ledger, 100)
    late = ended(hold, 15, 999, 1_000, 40, 0, 0)
    codes = [(await run(ledger, scripts.SETTLE, *late)).code for _ in range(2)]
    assert codes == [Code.DONE, Code.RESOLVED]
    assert await accounts(ledger) == (85, 0, 15)


async def test_a_call_settled_before_its_keep_arrives_is_not_held_again(
    ledger: Ledger, flush: Flush
) -> None:
    """A keep that was written before the settle and runs after it finds the marker."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 20)
    kept = [record("a", 20, 0, 150_000_000, hold.epoch, "shop", "product")]
    await flush()
    await settle(ledger, hold, 20)
    assert (await run(ledger, scripts.RESTORE_HOLDS, *kept)).extra[0] == 0
    assert (await accounts(ledger))[1] == 0


async def test_a_hold_that_came_back_and_was_released_does_not_come_back_again(
    ledger: Ledger, flush: Flush
) -> None:
    """A second copy of the keep, from another connection perhaps, finds the marker."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 20)
    kept = [record("a", 20, 0, 150_000_000, hold.epoch, "shop", "product")]
    await flush()
    await run(ledger, scripts.RESTORE_HOLDS, *kept)
    await release(ledger, hold)
    assert (await run(ledger, scripts.RESTORE_HOLDS, *kept)).extra[0] == 0
    assert (await accounts(ledger))[1:] == (0, 0)


async def test_a_call_released_before_its_keep_arrives_is_not_held_again(
    ledger: Ledger, flush: Flush
) -> None:
    """The same for a call that consumed nothing."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 20)
    kept = [record("a", 20, 0, 150_000_000, hold.epoch, "shop", "product")]
    await flush()
    await release(ledger, hold)
    assert (await run(ledger, scripts.RESTORE_HOLDS, *kept)).extra[0] == 0
    assert (await accounts(ledger))[1:] == (0, 0)


async def test_a_hold_that_came_back_and_was_reaped_is_charged_once(
    ledger: Ledger, flush: Flush, pass_time: PassTime
) -> None:
    """A settle of the older epoch that comes after the reap charges nothing more."""
    await know(ledger, 100, 59_000, rate=1)
    hold = await reserve(ledger, "a", 20)
    await flush()
    await ledger.keep()
    await know(ledger, 60, 59_000, rate=1)
    await pass_time(151)
    assert await accounts(ledger) == (40, 0, 20)
    late = await run(ledger, scripts.SETTLE, *ended(hold, 15))
    assert late.code == Code.RESOLVED
    assert (await accounts(ledger))[1:] == (0, 20)
