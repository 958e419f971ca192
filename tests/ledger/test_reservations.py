"""`reserve`: who is admitted, who is refused, and that one budget is shared."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import (
    accounts,
    ask,
    know,
    reserve,
    run,
    settle,
    tallies,
)

from gateway.ledger import Ask, Code, Ledger, RedisStore, Rules, Terms, scripts

PassTime = Callable[[float], Awaitable[None]]
RULES = Rules(150, 0, 1, 60, 300)


async def test_a_reservation_leaves_the_balance_and_is_held(ledger: Ledger) -> None:
    """A hold is an object of its own: T stays, held rises, and the service is named."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 30)
    look = await ledger.overview()
    assert (look.balance.tokens, look.balance.held, look.balance.available) == (100, 30, 70)
    assert (look.live_holds, look.requests, tallies(look)) == (1, 1, (0, 0, 30))
    assert (hold.id, hold.tokens, hold.consumed_then) == ("a", 30, 0)


@pytest.mark.parametrize(("cost", "code"), [(90, Code.DONE), (91, Code.FLOOR)])
async def test_the_floor_is_never_crossed_by_one_token(
    ledger: Ledger, cost: int, code: Code
) -> None:
    """Down to the floor and not one further."""
    await know(ledger, 100)
    assert await ask(ledger, "a", cost) == code


async def test_what_is_held_is_not_available(ledger: Ledger) -> None:
    """Two calls cannot count on the same tokens; a refused one changes nothing but its tally."""
    await know(ledger, 100)
    await reserve(ledger, "a", 60)
    assert await ask(ledger, "b", 31) == Code.FLOOR
    look = await ledger.overview()
    assert (look.balance.held, look.requests, tallies(look)) == (60, 1, (0, 1, 60))
    assert await ask(ledger, "c", 30) == Code.DONE


@pytest.mark.parametrize(
    ("balance", "cost", "floor", "code"),
    [
        (100, 150, -50, Code.DONE),
        (100, 151, -50, Code.FLOOR),
        (1, 51, -50, Code.DONE),
        (0, 1, -50, Code.FLOOR),
        (-20, 1, -50, Code.FLOOR),
        (1, 1, 0, Code.DONE),
        (0, 0, 10, Code.DONE),
    ],
)
async def test_a_negative_floor_still_needs_something_available(
    ledger: Ledger, balance: int, cost: int, floor: int, code: Code
) -> None:
    """Keepa runs nothing from 0 down, so with nothing available nothing is admitted."""
    await know(ledger, balance)
    assert await ask(ledger, "a", cost, floor) == code


async def test_a_free_call_is_refused_by_no_budget(ledger: Ledger) -> None:
    """Cost 0 needs no balance: not a known one, not a fresh one, and it holds nothing."""
    assert await ask(ledger, "before any observation", 0) == Code.DONE
    await know(ledger, -40)
    assert await ask(ledger, "below the floor", 0) == Code.DONE
    assert (await ledger.overview()).balance.held == 0


async def test_a_free_call_that_cost_something_is_overrun(ledger: Ledger, ear) -> None:
    """What Keepa charged above a reservation of 0 is settled in full."""
    await know(ledger, 100)
    await settle(ledger, await reserve(ledger, "a", 0), 7)
    assert await accounts(ledger) == (93, 0, 7)
    assert ear.total("overrun") == 7


async def test_nothing_is_admitted_before_the_first_observation(ledger: Ledger) -> None:
    """A balance that nobody has read is no ground to spend on."""
    admission = await ledger.reserve(Ask("a", 1, Terms(10), "shop", "product"))
    assert (admission.code, admission.hold) == (Code.UNKNOWN, None)
    assert not admission.balance.known
    await know(ledger, 100)
    assert await ask(ledger, "a", 1) == Code.DONE


async def test_nothing_is_admitted_on_a_stale_observation(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """An observation older than the rules allow is as good as none, for all but free calls."""
    await know(ledger, 100, age=295.0)
    assert await ask(ledger, "a", 1) == Code.DONE
    await pass_time(6)
    assert await ask(ledger, "b", 1) == Code.UNKNOWN
    assert await ask(ledger, "c", 0) == Code.DONE
    await know(ledger, 100)
    assert await ask(ledger, "b", 1) == Code.DONE


async def test_hundreds_of_reserves_at_once_share_one_budget(
    redis_server, account: str, ear
) -> None:
    """100 tokens and a floor of 10 admit exactly 90 of 200 calls from two gateways."""
    stores = [RedisStore(redis_server.url, learning_seconds=0) for _ in range(2)]
    for store in stores:
        await store.open()
    first, second = (Ledger(store, account, RULES, ear) for store in stores)
    await know(first, 100)
    codes = await asyncio.gather(
        *(ask(ledger, f"{n}{ledger is first}", 1) for n in range(100) for ledger in (first, second))
    )
    assert (codes.count(Code.DONE), codes.count(Code.FLOOR)) == (90, 110)
    assert await accounts(second) == (100, 90, 0)
    for store in stores:
        await store.close()


async def test_ledgers_at_once_on_one_store_share_one_budget(open_ledger) -> None:
    """Concurrent calls inside one process are no exception."""
    ledgers = [open_ledger(), open_ledger()]
    await know(ledgers[0], 100)
    codes = await asyncio.gather(*(ask(ledgers[n % 2], f"c{n}", 1) for n in range(200)))
    assert (codes.count(Code.DONE), codes.count(Code.FLOOR)) == (90, 110)


async def test_accounts_do_not_touch_each_other(open_ledger, store, ear) -> None:
    """Another key's budget is another ledger under its own keys."""
    one, other = open_ledger(), Ledger(store, "someone else", RULES, ear)
    await know(one, 100)
    await know(other, 50)
    await reserve(one, "same id", 60)
    assert await ask(other, "same id", 41) == Code.FLOOR
    assert await accounts(other) == (50, 0, 0)


async def test_a_reserve_after_its_release_holds_nothing(ledger: Ledger) -> None:
    """A late copy of a reserve that was given up finds the marker, however late it comes."""
    await know(ledger, 100)
    await run(ledger, scripts.RELEASE, "a|0|")
    assert await ask(ledger, "a", 30) == Code.RESOLVED
    assert await accounts(ledger) == (100, 0, 0)


async def test_markers_end(ledger: Ledger, pass_time: PassTime) -> None:
    """A marker outlives every late copy, not the day."""
    await know(ledger, 100)
    await run(ledger, scripts.RELEASE, "a|0|")
    await pass_time(599)
    assert await ask(ledger, "a", 0) == Code.RESOLVED
    await pass_time(2)
    await ledger.overview()
    assert await ask(ledger, "a", 0) == Code.DONE
