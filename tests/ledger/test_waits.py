"""How long a refused call is told to wait, and that waiting so long is enough."""

from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import (
    ask,
    know,
    release,
    reserve,
    settle,
)

from gateway.ledger import Ask, Code, Ledger, Rules, Terms

PassTime = Callable[[float], Awaitable[None]]
RULES = Rules(150, 0, 1, 60, 300)


@pytest.mark.parametrize(
    ("cost", "held", "seconds"),
    [(20, 0, 1), (30, 0, 1), (31, 0, 61), (60, 0, 121), (60, 20, 181), (1, 13, 1), (1170, 0, 3421)],
)
async def test_a_denial_names_the_lump_that_covers_it(
    ledger: Ledger, pass_time: PassTime, cost: int, held: int, seconds: int
) -> None:
    """Waiting that long is enough, and waiting until shortly before that lump is not."""
    await know(ledger, 20, 1000)
    if held:
        await reserve(ledger, "held", held, floor=0)
    denied = await ledger.reserve(Ask("a", cost, Terms(10), "shop", "product"))
    assert denied.code == Code.FLOOR
    assert seconds * 1000 - 900 <= denied.wait_ms <= seconds * 1000
    if seconds < RULES.stale_seconds:
        await pass_time(denied.wait_ms / 1000 - 0.9)
        assert await ask(ledger, "a", cost) == Code.FLOOR
        await pass_time(0.9)
        assert await ask(ledger, "a", cost) == Code.DONE


async def test_a_denial_tells_what_is_missing(ledger: Ledger) -> None:
    """A refusal carries balance and held, from which the deficit follows."""
    await know(ledger, 100)
    await reserve(ledger, "a", 80)
    denied = await ledger.reserve(Ask("d", 20, Terms(10), "shop", "product"))
    balance = denied.balance
    assert (balance.tokens, balance.held, balance.capacity) == (100, 80, 1200)
    assert max(20 + 10, 1) - balance.available == 10


async def test_with_a_negative_floor_one_available_token_is_waited_for(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """The lump that brings the available above 0 covers it, whatever the floor allows."""
    await know(ledger, -20, 1000)
    denied = await ledger.reserve(Ask("a", 5, Terms(-50), "shop", "product"))
    assert 60_100 <= denied.wait_ms <= 61_000
    await pass_time(denied.wait_ms / 1000)
    assert await ask(ledger, "a", 5, -50) == Code.DONE


async def test_near_the_capacity_the_lump_after_the_next_covers_it(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Where the next lump is held back by what was settled, the wait is a minute longer."""
    await know(ledger, 1200, 1000)
    await settle(ledger, await reserve(ledger, "a", 30), 30)
    denied = await ledger.reserve(Ask("b", 1180, Terms(10), "shop", "product"))
    assert denied.code == Code.FLOOR
    assert 60_100 <= denied.wait_ms <= 61_000
    await pass_time(denied.wait_ms / 1000)
    assert await ask(ledger, "b", 1180) == Code.DONE


async def test_where_holds_keep_a_full_bucket_too_small_their_expiry_is_waited_for(
    open_ledger, pass_time: PassTime
) -> None:
    """The wait lasts until enough holds have ended, the earliest first."""
    brief = open_ledger(Rules(50, 0, 1, 60, 300))
    long = open_ledger(RULES)
    await know(brief, 1200, 30_000)
    await reserve(long, "long", 60)
    await reserve(brief, "brief", 40)
    for cost, seconds in [(1090, 30), (1091, 50), (1130, 50), (1131, 150), (1190, 150)]:
        denied = await brief.reserve(Ask("a", cost, Terms(10), "shop", "product"))
        if cost == 1090:
            assert denied.code == Code.DONE
            await release(brief, denied.hold)
        else:
            assert denied.code == Code.FLOOR
            assert seconds * 1000 - 900 <= denied.wait_ms <= seconds * 1000


async def test_the_lump_is_waited_for_where_it_comes_after_the_holds_end(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Of lump and expiry the later one counts."""
    await know(ledger, 1100, 59_000)
    await reserve(ledger, "a", 40)
    await pass_time(50)
    denied = await ledger.reserve(Ask("b", 1170, Terms(10), "shop", "product"))
    # Six lumps of 20 fill the bucket: the first in 9 s, the sixth five minutes later.
    assert 249_000 - 900 <= denied.wait_ms <= 249_000


@pytest.mark.parametrize(("cost", "code"), [(1190, Code.FLOOR), (1191, Code.CAPACITY)])
async def test_more_than_the_bucket_holds_never_fits(ledger: Ledger, cost: int, code: Code) -> None:
    """Cost and floor together above the capacity: never, whatever the balance."""
    await know(ledger, 20)
    denied = await ledger.reserve(Ask("a", cost, Terms(10), "shop", "product"))
    assert denied.code == code
    assert (denied.wait_ms is None) == (code == Code.CAPACITY)


@pytest.mark.parametrize("flow", [20, 19.5, 40])
async def test_a_bucket_that_gains_nothing_never_covers_it(ledger: Ledger, flow: float) -> None:
    """Where trackings take the whole refill no lump will help."""
    await know(ledger, 20, flow=flow)
    denied = await ledger.reserve(Ask("a", 20, Terms(10), "shop", "product"))
    assert (denied.code, denied.wait_ms) == (Code.FLOOR, None)


async def test_a_call_that_lacks_both_waits_for_both(open_ledger) -> None:
    """The wait covers the lump and the slot, whichever is later."""
    ledger = open_ledger(Rules(150, 1, 1, 60, 300))
    await know(ledger, 20, 1000)
    await reserve(ledger, "a", 1)
    denied = await ledger.reserve(Ask("b", 20, Terms(10), "shop", "product"))
    assert denied.code == Code.FLOOR
    assert 59_000 <= denied.wait_ms <= 60_000
