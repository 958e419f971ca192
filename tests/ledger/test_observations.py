"""The interval rule: when an observation corrects the balance, and when it is merely old."""

import time
from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import (
    accounts,
    know,
    observed,
    reserve,
    settle,
    tokens,
)

from gateway.ledger import Ledger, Observation

PassTime = Callable[[float], Awaitable[None]]


async def test_the_first_observation_is_taken_as_it_is(ledger: Ledger, ear) -> None:
    """Nothing was expected, so nothing has drifted."""
    await know(ledger, 137, 12_345, rate=5, flow=1.5)
    balance = (await ledger.overview()).balance
    assert (balance.known, balance.tokens, balance.refill_rate) == (True, 137, 5)
    assert (balance.capacity, balance.gain, balance.flow_micro) == (300, 3, 1_500_000)
    assert 12_000 <= balance.lump_in_ms <= 12_345
    assert (ear.total("spent"), ear.total("back")) == (0, 0)


async def test_the_first_observation_of_an_old_answer_counts_its_lumps(ledger: Ledger) -> None:
    """Lumps since its headers came are added by its own schedule, up to the capacity."""
    await know(ledger, 100, 10_000, age=130.5)
    balance = (await ledger.overview()).balance
    assert balance.tokens == 160
    assert 59_000 <= balance.lump_in_ms <= 59_500
    assert 130_500 <= balance.observed_ms_ago <= 131_500


async def test_lumps_since_the_headers_stop_at_the_capacity(ledger: Ledger) -> None:
    """Three lumps into a nearly full bucket bring what it takes, and never lower it."""
    await know(ledger, 1190, 10_000, age=131.0)
    assert await tokens(ledger) == 1200
    await know(ledger, 1250, 10_000, age=131.0)
    assert await tokens(ledger) == 1250


async def test_consumption_settled_meanwhile_is_taken_off_after_the_lumps(ledger: Ledger) -> None:
    """A lump may have overflowed before it was spent: lumps first, capped, then C - C0."""
    await know(ledger, 1190, 1_000)
    turn = await ledger.claim(at_once=True)
    await settle(ledger, await reserve(ledger, "a", 100), 100)
    # 20 of drift make it fall outside, so that the lower bound becomes the balance.
    await ledger.observe(turn, observed(1220, 1_000, age=2.0, rate=20))
    assert await tokens(ledger) == 1120
    await know(ledger, 900)
    turn = await ledger.claim(at_once=True)
    await settle(ledger, await reserve(ledger, "b", 100), 100)
    await ledger.observe(turn, observed(1195, 1_000, age=2.0, rate=20))
    assert await tokens(ledger) == 1100


async def test_what_others_settled_since_may_be_missing_in_an_answer(ledger: Ledger, ear) -> None:
    """The lower bound: an answer without 40 tokens settled since leaves our balance alone."""
    await know(ledger, 100)
    turn = await ledger.claim(at_once=True)
    await settle(ledger, await reserve(ledger, "a", 40), 40)
    await ledger.observe(turn, observed(100))
    assert await accounts(ledger) == (60, 0, 40)
    assert (ear.total("spent"), ear.total("back")) == (0, 0)


@pytest.mark.parametrize(
    ("tokens_left", "balance", "drift"),
    # Of 59, one token is surely gone by somebody else's doing; the 40 may only be missing in it.
    [(59, 19, (1, 0)), (60, 60, (0, 0)), (100, 60, (0, 0)), (101, 61, (0, 1))],
)
async def test_an_answer_outside_the_interval_is_drift(
    ledger: Ledger, ear, tokens_left: int, balance: int, drift: tuple[int, int]
) -> None:
    """One token beyond either bound: the lower bound becomes the balance, and drift is counted."""
    await know(ledger, 100)
    turn = await ledger.claim(at_once=True)
    await settle(ledger, await reserve(ledger, "a", 40), 40)
    await ledger.observe(turn, observed(tokens_left))
    assert await tokens(ledger) == balance
    assert (ear.total("spent"), ear.total("back")) == drift


async def test_what_is_in_flight_may_be_in_an_answer(ledger: Ledger, ear) -> None:
    """The upper bound: 30 tokens less, while 30 are held, may be that call's charge."""
    await know(ledger, 100)
    await reserve(ledger, "a", 30)
    await know(ledger, 70)
    assert await accounts(ledger) == (100, 30, 0)
    assert ear.total("spent") == 0
    await know(ledger, 69)
    assert await accounts(ledger) == (69, 30, 0)
    # One is surely gone by somebody else's doing; of the other thirty nobody knows yet.
    assert ear.total("spent") == 1


async def test_a_call_that_began_after_the_headers_is_not_in_the_answer(
    ledger: Ledger, pass_time: PassTime, ear
) -> None:
    """A hold younger than the headers explains nothing: what is missing was spent by others."""
    await know(ledger, 100)
    turn = await ledger.claim(at_once=True)
    headers = time.monotonic()
    await pass_time(1)
    await reserve(ledger, "a", 30)
    await ledger.observe(turn, Observation(70, 30_000, 20, 0, headers - 1))
    assert await accounts(ledger) == (70, 30, 0)
    assert ear.total("spent") == 30


async def test_a_settled_call_is_no_longer_in_flight_in_its_own_answer(ledger: Ledger, ear) -> None:
    """Its own consumption is known: an answer that misses it means that others spent or gave."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    await settle(ledger, hold, 30, observed(70))
    assert await accounts(ledger) == (70, 0, 30)
    assert (ear.total("spent"), ear.total("back")) == (0, 0)
    hold = await reserve(ledger, "b", 50)
    await settle(ledger, hold, 30, observed(38))
    assert await accounts(ledger) == (38, 0, 60)
    assert (ear.total("spent"), ear.total("back")) == (2, 0)


async def test_drift_is_counted_in_both_directions(ledger: Ledger, ear) -> None:
    """Spent by others and given back are two counts, each in tokens."""
    await know(ledger, 100)
    for tokens_left, spent, back in [(85, 15, 0), (95, 15, 10), (95, 15, 10), (-31, 141, 10)]:
        await know(ledger, tokens_left)
        assert await tokens(ledger) == tokens_left
        assert (ear.total("spent"), ear.total("back")) == (spent, back)


async def test_drift_takes_the_schedule_of_the_observation_too(ledger: Ledger) -> None:
    """Balance and next lump go together, earlier or later."""
    await know(ledger, 100, 30_000)
    for tokens_left, refill_in in [(90, 5_000), (80, 55_000), (95, 10_000)]:
        await know(ledger, tokens_left, refill_in)
        assert refill_in - 900 <= ledger.latest.lump_in_ms <= refill_in


async def test_a_later_phase_moves_our_next_lump_to_it(ledger: Ledger) -> None:
    """Inside the interval the same lump comes when the observation says, if that is later."""
    await know(ledger, 100, 30_000)
    await know(ledger, 100, 37_000)
    assert 36_100 <= ledger.latest.lump_in_ms <= 37_000
    assert await tokens(ledger) == 100


async def test_an_earlier_phase_is_not_believed(ledger: Ledger) -> None:
    """Inside the interval our lump never comes earlier than it was expected."""
    await know(ledger, 100, 30_000)
    await know(ledger, 100, 23_000)
    assert 29_100 <= ledger.latest.lump_in_ms <= 30_000


async def test_a_later_phase_costs_and_brings_no_lump(ledger: Ledger, pass_time: PassTime) -> None:
    """A phase just past ours, seen after our lump fell, moves the next one, not the balance."""
    await know(ledger, 100, 1_000)
    await reserve(ledger, "a", 30)
    await pass_time(2)
    assert await tokens(ledger) == 120
    # Read before the lump, with a call of 30 in flight: 100 now, a lump 3 s from now.
    await know(ledger, 100, 3_000)
    balance = (await ledger.overview()).balance
    assert balance.tokens == 120
    assert 62_000 <= balance.lump_in_ms <= 63_000
    await pass_time(60)
    assert await tokens(ledger) == 120
    await pass_time(3)
    assert await tokens(ledger) == 140


async def test_an_answer_read_before_the_lump_and_weighed_after_it_agrees(
    ledger: Ledger, pass_time: PassTime, ear
) -> None:
    """Its own schedule adds the lump that fell since its headers came."""
    await know(ledger, 100, 2_000)
    await pass_time(5)
    await know(ledger, 100, 1_500, age=4.5)
    assert await tokens(ledger) == 120
    assert (ear.total("spent"), ear.total("back")) == (0, 0)


async def test_an_observation_of_a_settled_call_says_how_old_it_is(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Freshness counts from the headers, not from the end of a long body."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 30)
    await pass_time(20)
    await settle(ledger, hold, 30, observed(70, 15_000, age=5.0))
    assert 5_000 <= ledger.latest.observed_ms_ago <= 6_000
    assert await accounts(ledger) == (70, 0, 30)


async def test_after_quiet_time_one_observation_is_the_balance(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Nothing in flight and nothing settled since: whatever we believed, this is it."""
    await know(ledger, 700, 59_000)
    for n in range(5):
        ledger.doubt(await reserve(ledger, f"c{n}", 20 * n))
    await pass_time(150)
    for tokens_left in (-200, 0, 333, 1200, 1500):
        await know(ledger, tokens_left)
        assert await accounts(ledger) == (tokens_left, 0, 200)
