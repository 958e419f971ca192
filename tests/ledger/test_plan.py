"""Refill rate, trackings and capacity: which answer decides them, and from which lump on."""

from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import know, observed, reserve, settle, tokens

from gateway.ledger import Ledger

PassTime = Callable[[float], Awaitable[None]]


async def test_the_newest_headers_decide_the_rate(ledger: Ledger) -> None:
    """An answer that overtook another does not bring the older plan back."""
    await know(ledger, 100, 30_000, rate=20)
    await know(ledger, 100, 30_000, rate=30, flow=1.5)
    await know(ledger, 100, 35_000, rate=20, age=5.0)
    assert (ledger.latest.refill_rate, ledger.latest.flow_micro) == (30, 1_500_000)
    assert ledger.latest.observed_ms_ago < 4_000
    await know(ledger, 50, 35_000, rate=20, age=5.0)
    assert (ledger.latest.tokens, ledger.latest.refill_rate) == (50, 30)
    await know(ledger, 50, 30_000, rate=5)
    assert (ledger.latest.refill_rate, ledger.latest.capacity) == (5, 300)


async def test_the_rate_is_taken_inside_and_outside_the_interval(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """The next lump brings what the newest plan says, whether or not the balance agreed."""
    await know(ledger, 100, 10_000, rate=20)
    await know(ledger, 100, 10_000, rate=30)
    await pass_time(10)
    assert await tokens(ledger) == 130
    await know(ledger, 110, 60_000, rate=5)
    await pass_time(60)
    assert await tokens(ledger) == 115


async def test_a_lump_lost_to_the_smaller_bucket_is_not_found_in_the_larger(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Our lump, due a little after Keepa's, brings nothing that overflowed before the plan grew."""
    await know(ledger, 1200, 2_000, rate=20)
    # Keepa's lump has just come, into a full bucket of 1200; then the plan grew, then this call.
    hold = await reserve(ledger, "a", 1190)
    await settle(ledger, hold, 1190, observed(10, 59_000, rate=29))
    await pass_time(3)
    assert await tokens(ledger) == 10


@pytest.mark.parametrize(("rate", "flow"), [(29, 0.75), (20, 0)])
async def test_a_lump_that_is_late_brings_no_more_than_it_brought_keepa(
    ledger: Ledger, pass_time: PassTime, rate: int, flow: float
) -> None:
    """It came before the plan grew, or before trackings ended: by the plan of then."""
    await know(ledger, 100, 2_000, rate=20, flow=0.75)
    turn = await ledger.claim(at_once=True)
    await settle(ledger, await reserve(ledger, "a", 40), 40)
    # At Keepa: 100, the lump of 19, then the plan changed, then the 40 of that call.
    await ledger.observe(turn, observed(79, 59_000, rate=rate, flow=flow))
    await pass_time(3)
    assert await tokens(ledger) <= 79
