"""Tokens of each hour and day: what counts in which window, and when it is over."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from support.ledger.calls import (
    ask_under,
    know,
    record,
    release,
    reserve_under,
    run,
    settle,
    tokens,
    usage,
)
from support.ledger.turned_store import TurnedStore

from gateway.ledger import Code, Hold, Ledger, Rules, Store, Terms, scripts

PassTime = Callable[[float], Awaitable[None]]
Flush = Callable[[], Awaitable[None]]
# No observation is too old: hours pass here.
RULES = Rules(150, 0, 1, fresh_seconds=60, stale_seconds=10**9)
BEGIN = datetime(2030, 5, 17, 21, 57, 0, tzinfo=UTC)
HOURLY, DAILY = Terms(10, tokens_per_hour=100), Terms(10, tokens_per_day=100)
MINUTE, HOUR, DAY = 60, 3600, 86_400


@pytest.fixture
async def clock(store: Store) -> TurnedStore:
    """Each test begins at 21:57: an hour ends in three minutes, the day two hours later."""
    turned = TurnedStore(store)
    await turned.turn_to(BEGIN)
    return turned


@pytest.fixture
def open_ledger(clock: TurnedStore, account: str, ear) -> Callable[..., Ledger]:
    return lambda: Ledger(clock, account, RULES, ear)


@pytest.fixture
def pass_time(clock: TurnedStore) -> PassTime:
    return clock.turn


async def windows(ledger: Ledger, service: str = "shop") -> tuple[int, int]:
    """Return what stands in the service's hour and day."""
    its_own = await usage(ledger, service)
    return its_own.this_hour, its_own.this_day


@pytest.mark.parametrize("terms", [HOURLY, DAILY])
async def test_what_is_reserved_counts_at_once(ledger: Ledger, terms: Terms) -> None:
    """Up to the cap and not one token further; `room` is what the cap leaves."""
    await know(ledger, 1000)
    await reserve_under(ledger, "a", 60, terms)
    refused = await ask_under(ledger, "b", 41, terms)
    assert (refused.code, refused.room) == (Code.QUOTA, 40)
    await reserve_under(ledger, "c", 40, terms)
    refused = await ask_under(ledger, "d", 1, terms)
    assert (refused.code, refused.room) == (Code.QUOTA, 0)
    its_own = await usage(ledger)
    assert (its_own.reserved, its_own.holds, its_own.refusals) == (100, 2, {"service_quota": 2})


@pytest.mark.parametrize("terms", [HOURLY, DAILY])
@pytest.mark.parametrize(
    ("consumed", "room"), [(25, 75), (0, 100), (60, 40), (90, 10), (100, 0), (130, 0)]
)
async def test_what_was_consumed_counts_in_the_end(
    ledger: Ledger, terms: Terms, consumed: int, room: int
) -> None:
    """A settle lowers the window to what Keepa charged, or raises it, above the cap too."""
    await know(ledger, 1000)
    await settle(ledger, await reserve_under(ledger, "a", 60, terms), consumed)
    assert await windows(ledger) == (consumed, consumed)
    refused = await ask_under(ledger, "b", room + 1, terms)
    assert (refused.code, refused.room) == (Code.QUOTA, room)
    if room:
        await reserve_under(ledger, "c", room, terms)


async def test_a_release_gives_all_back(ledger: Ledger) -> None:
    """A call that never ran used nothing of its service's hour, or day."""
    await know(ledger, 1000)
    await release(ledger, await reserve_under(ledger, "a", 100, HOURLY))
    assert await windows(ledger) == (0, 0)
    await reserve_under(ledger, "b", 100, HOURLY)


async def test_a_call_in_doubt_counts_with_its_cost(ledger: Ledger, pass_time: PassTime) -> None:
    """It may have consumed that much: while its hold lives, and when it is reaped."""
    await know(ledger, 1000)
    ledger.doubt(await reserve_under(ledger, "a", 70, HOURLY))
    assert await windows(ledger) == (70, 70)
    await pass_time(151)
    its_own = await usage(ledger)
    assert (its_own.used, its_own.reserved, its_own.holds) == (70, 0, 0)
    assert await windows(ledger) == (70, 70)
    assert (await ask_under(ledger, "b", 31, HOURLY)).code == Code.QUOTA


@pytest.mark.parametrize(
    ("terms", "seconds"), [(HOURLY, 3 * MINUTE), (DAILY, 2 * HOUR + 3 * MINUTE)]
)
async def test_a_denial_names_the_end_of_the_window(
    ledger: Ledger, pass_time: PassTime, terms: Terms, seconds: int
) -> None:
    """Waiting that long is enough, and a fraction less is not."""
    await know(ledger, 1000)
    await settle(ledger, await reserve_under(ledger, "a", 50, terms), 50)
    refused = await ask_under(ledger, "b", 51, terms)
    assert refused.code == Code.QUOTA
    assert seconds * 1000 - 2000 <= refused.wait_ms <= seconds * 1000
    await pass_time(refused.wait_ms / 1000 - 1.5)
    assert (await ask_under(ledger, "b", 51, terms)).code == Code.QUOTA
    await pass_time(1.5)
    await reserve_under(ledger, "b", 100, terms)
    assert (await windows(ledger))[terms is DAILY] == 100


async def test_a_new_hour_is_not_a_new_day(ledger: Ledger, pass_time: PassTime) -> None:
    """Each window ends at its own time, and both caps hold; the later end is told."""
    terms = Terms(10, tokens_per_hour=100, tokens_per_day=150)
    await know(ledger, 1000)
    await reserve_under(ledger, "a", 100, terms)
    refused = await ask_under(ledger, "b", 20, terms)
    assert (refused.code, refused.room) == (Code.QUOTA, 0)
    assert refused.wait_ms <= 3 * MINUTE * 1000
    refused = await ask_under(ledger, "b", 60, terms)
    assert (refused.code, refused.room) == (Code.QUOTA, 0)
    assert refused.wait_ms > 2 * HOUR * 1000
    await pass_time(3 * MINUTE)
    assert await windows(ledger) == (0, 100)
    await reserve_under(ledger, "b", 40, terms)
    refused = await ask_under(ledger, "c", 11, terms)
    assert (refused.code, refused.room) == (Code.QUOTA, 10)
    assert await windows(ledger) == (40, 140)
    await pass_time(2 * HOUR)
    assert await windows(ledger) == (0, 0)


async def test_hours_and_days_without_calls_leave_nothing(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Weeks later the window is as empty as the next one, and the same hour another day too."""
    await know(ledger, 1000)
    await settle(ledger, await reserve_under(ledger, "a", 100, HOURLY), 100)
    for seconds in (DAY, 20 * DAY):
        await pass_time(seconds)
        assert await windows(ledger) == (0, 0)
    await reserve_under(ledger, "b", 100, HOURLY)
    assert (await usage(ledger)).used == 100


@pytest.mark.parametrize(("terms", "at"), [(HOURLY, 3 * MINUTE), (DAILY, 2 * HOUR + 3 * MINUTE)])
@pytest.mark.parametrize("consumed", [0, 30, 60, 500])
@pytest.mark.parametrize("has_begun", [True, False])
async def test_a_hold_of_the_last_window_leaves_the_new_one_alone(
    ledger: Ledger, pass_time: PassTime, terms: Terms, at: int, consumed: int, has_begun: bool
) -> None:
    """It counted when it began; what it consumed, more or less, is the last window's."""
    await know(ledger, 1000)
    await pass_time(at - 60)
    old = await reserve_under(ledger, "a", 60, terms)
    await pass_time(61)
    if has_begun:
        await reserve_under(ledger, "b", 70, terms)
    await settle(ledger, old, consumed)
    now = await windows(ledger)
    assert now[terms is DAILY] == (70 if has_begun else 0)
    await reserve_under(ledger, "c", 30 if has_begun else 100, terms)
    assert (await ask_under(ledger, "d", 1, terms)).code == Code.QUOTA


async def test_a_hold_reaped_after_its_window_leaves_the_new_one_alone(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """The reap is the end of a call of the hour that it began in."""
    await know(ledger, 1000)
    await pass_time(2 * MINUTE)
    ledger.doubt(await reserve_under(ledger, "a", 60, HOURLY))
    await pass_time(2 * MINUTE)
    await reserve_under(ledger, "b", 50, HOURLY)
    await pass_time(MINUTE)
    assert await windows(ledger) == (50, 110)
    assert (await usage(ledger)).used == 60


@pytest.mark.parametrize("terms", [HOURLY, DAILY])
async def test_more_than_the_cap_never_fits(ledger: Ledger, terms: Terms) -> None:
    """A call dearer than its service's window is told to wait for nothing."""
    await know(ledger, 1000)
    refused = await ask_under(ledger, "a", 101, terms)
    assert (refused.code, refused.wait_ms, refused.room) == (Code.QUOTA, None, 100)
    await reserve_under(ledger, "b", 100, terms)


async def test_more_than_the_hour_never_fits_however_full_the_day(ledger: Ledger) -> None:
    """Never is later than any end of a window."""
    await know(ledger, 1000)
    terms = Terms(10, tokens_per_hour=50, tokens_per_day=100)
    await reserve_under(ledger, "a", 45, terms)
    refused = await ask_under(ledger, "b", 60, terms)
    assert (refused.code, refused.wait_ms, refused.room) == (Code.QUOTA, None, 5)


async def test_a_call_that_waits_for_cap_and_floor_is_told_when_both_are_met(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """The wait covers the window's end and the lump, whichever is later."""
    await know(ledger, 80, 1000)
    await settle(ledger, await reserve_under(ledger, "a", 60, HOURLY), 60)
    refused = await ask_under(ledger, "b", 100, HOURLY)
    assert refused.code == Code.QUOTA
    await pass_time(refused.wait_ms / 1000)
    await reserve_under(ledger, "b", 100, HOURLY)


async def test_a_free_call_is_refused_by_no_cap(ledger: Ledger) -> None:
    """Neither a full window nor one that overran is in the way of a call of cost 0."""
    await know(ledger, 1000)
    await settle(ledger, await reserve_under(ledger, "a", 100, HOURLY), 250)
    free = await reserve_under(ledger, "b", 0, HOURLY)
    await settle(ledger, free, 0)
    assert await windows(ledger) == (250, 250)


async def test_services_share_no_caps(ledger: Ledger) -> None:
    """What one used up, another has to itself."""
    await know(ledger, 1000)
    await reserve_under(ledger, "a", 100, HOURLY, "batch")
    await reserve_under(ledger, "b", 100, HOURLY, "shop")
    for service in ("batch", "shop"):
        assert (await ask_under(ledger, service, 1, HOURLY, service)).code == Code.QUOTA
        assert await windows(ledger, service) == (100, 100)


async def test_a_cap_holds_over_all_gateways(open_ledger) -> None:
    """Of 60 calls at once, from three gateways, exactly the cap is admitted."""
    ledgers = [open_ledger() for _ in range(3)]
    await know(ledgers[0], 1000)
    admissions = await asyncio.gather(
        *(ask_under(ledgers[n % 3], f"c{n}", 3, HOURLY) for n in range(60))
    )
    codes = [admission.code for admission in admissions]
    assert (codes.count(Code.DONE), codes.count(Code.QUOTA)) == (33, 27)
    assert await windows(ledgers[1]) == (99, 99)


async def test_resent_copies_count_once(ledger: Ledger) -> None:
    """A reserve at the cap, its settle and a release after it: each may run twice."""
    await know(ledger, 1000)
    for _ in range(3):
        hold = await reserve_under(ledger, "a", 100, HOURLY)
    assert await windows(ledger) == (100, 100)
    for _ in range(3):
        await settle(ledger, hold, 30)
    await release(ledger, hold)
    assert await windows(ledger) == (30, 30)
    assert (await usage(ledger)).used == 30


async def test_windows_outlive_a_restart(
    ledger: Ledger, clock: TurnedStore, pass_time: PassTime
) -> None:
    """A server that kept its data still knows what was used; holds of before end as ever."""
    await know(ledger, 1000)
    await settle(ledger, await reserve_under(ledger, "a", 40, HOURLY), 40)
    hold = await reserve_under(ledger, "b", 50, HOURLY)
    clock.begin_life()
    assert await windows(ledger) == (90, 90)
    await know(ledger, 1000)
    assert (await ask_under(ledger, "c", 11, HOURLY)).code == Code.QUOTA
    for _ in range(2):
        await settle(ledger, hold, 20)
    assert await windows(ledger) == (60, 60)


async def test_what_comes_back_to_an_emptied_store_counts_where_it_began(
    ledger: Ledger, flush: Flush, pass_time: PassTime
) -> None:
    """A hold of this hour counts in it, one of the last hour in the day only; each once."""
    epoch = (await run(ledger, scripts.OVERVIEW, 0, 0)).epoch
    await flush()
    await pass_time(3 * MINUTE + 10)
    new = record("new", 20, 5_000_000, 145_000_000, epoch, "shop", "product")
    old = record("old", 30, 60_000_000, 90_000_000, epoch, "shop", "product")
    for _ in range(2):
        await run(ledger, scripts.RESTORE_HOLDS, new, old)
        assert await windows(ledger) == (20, 50)
    await settle(ledger, Hold("old", 30, "shop", "product", epoch, 0, 0.0), 0)
    assert await windows(ledger) == (20, 20)
    await settle(ledger, Hold("new", 20, "shop", "product", epoch, 0, 0.0), 25)
    assert await windows(ledger) == (25, 25)


async def test_a_call_whose_hold_did_not_come_back_still_counts(
    ledger: Ledger, flush: Flush
) -> None:
    """Its consumption is in the windows of its settle, once."""
    await know(ledger, 1000)
    hold = await reserve_under(ledger, "a", 60, HOURLY)
    await flush()
    await know(ledger, 1000)
    for _ in range(3):
        await settle(ledger, hold, 45)
    assert await windows(ledger) == (45, 45)
    assert await tokens(ledger) == 955
    assert (await ask_under(ledger, "b", 56, HOURLY)).code == Code.QUOTA
