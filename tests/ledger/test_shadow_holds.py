"""Shadow mode and quotes: held whatever speaks against it, asked and nothing held."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.ledger.calls import (
    accounts,
    ask,
    ask_under,
    know,
    observed,
    record,
    release,
    reserve,
    reserve_under,
    run,
    settle,
    usage,
)

from gateway.ledger import Code, Ledger, Purpose, Rules, Terms, scripts

PassTime = Callable[[float], Awaitable[None]]
Flush = Callable[[], Awaitable[None]]
RULES = Rules(150, 60, 1, fresh_seconds=60, stale_seconds=300)
"""One request a second."""
PLAIN = Terms(10)

# What speaks against a call of a service that knows of 100 tokens, holds 30 and has used up its
# slot: its cost, its terms, the code, and the name that the refusal is counted under.
AGAINST = [
    (61, PLAIN, Code.FLOOR, "floor"),
    (31, Terms(40, is_own_floor=True), Code.SERVICE_FLOOR, "service_floor"),
    (1191, PLAIN, Code.CAPACITY, "exceeds_capacity"),
    (1191, Terms(10, overdraft=True), Code.CAPACITY, "exceeds_capacity"),
    (21, Terms(10, tokens_per_hour=50), Code.QUOTA, "service_quota"),
    (51, Terms(10, tokens_per_day=50), Code.QUOTA, "service_quota"),
    (1, Terms(10, max_concurrency=1), Code.CONCURRENCY, "service_concurrency"),
    (0, Terms(10, max_concurrency=1), Code.CONCURRENCY, "service_concurrency"),
    (1, PLAIN, Code.RATE, "rate_limited"),
    (0, PLAIN, Code.RATE, "rate_limited"),
]


@pytest.fixture
async def busy(open_ledger: Callable[..., Ledger]) -> Ledger:
    """A ledger of 100 tokens, where the service holds 30 and has taken its request slot."""
    ledger = open_ledger(RULES)
    await know(ledger, 100)
    await reserve(ledger, "first", 30)
    return ledger


async def books(ledger: Ledger) -> dict[str, Any]:
    """Return all that the store knows, apart from how long ago that was."""
    look = await ledger.overview()
    balance = look.balance._replace(lump_in_ms=0, observed_ms_ago=0)
    slots = await run(ledger, scripts.NEXT_IN_QUEUE, "quoting", *ledger._rate, "")
    return look._asdict() | {"balance": balance, "waits_for_slot": slots.extra[0] > 0}


@pytest.mark.parametrize(("cost", "terms", "against", "reason"), AGAINST)
async def test_shadow_admits_what_would_be_refused(
    busy: Ledger, cost: int, terms: Terms, against: Code, reason: str
) -> None:
    """It is held like any call, the code says what spoke against it, and that is counted."""
    admission = await ask_under(busy, "a", cost, terms, purpose=Purpose.SHADOW)
    assert (admission.code, admission.against) == (Code.DONE, against)
    assert admission.hold
    look = await busy.overview()
    assert (look.balance.held, look.requests, look.live_holds) == (30 + cost, 2, 2)
    its_own = look.services["shop"]
    assert (its_own.reserved, its_own.holds, its_own.refusals) == (30 + cost, 2, {reason: 1})
    await settle(busy, admission.hold, cost)
    assert await accounts(busy) == (100 - cost, 30, cost)
    assert (await usage(busy)).this_hour == 30 + cost


async def test_shadow_says_nothing_against_what_would_run(ledger: Ledger) -> None:
    """A call that is within all limits is held, and counted as no refusal."""
    await know(ledger, 100)
    admission = await ask_under(ledger, "a", 90, PLAIN, purpose=Purpose.SHADOW)
    assert (admission.code, admission.against) == (Code.DONE, Code.DONE)
    assert (await usage(ledger)).refusals == {}


async def test_shadow_admits_without_a_balance(ledger: Ledger) -> None:
    """Before anything was observed, too; that is no verdict on the call, and not counted as one."""
    admission = await ask_under(ledger, "a", 40, PLAIN, purpose=Purpose.SHADOW)
    assert (admission.code, admission.against) == (Code.DONE, Code.UNKNOWN)
    its_own = await usage(ledger)
    assert (its_own.reserved, its_own.refusals) == (40, {})
    await settle(ledger, admission.hold, 35)
    await know(ledger, 65)
    assert await accounts(ledger) == (65, 0, 35)


async def test_shadow_takes_no_request_slot_that_is_not_there(
    busy: Ledger, pass_time: PassTime
) -> None:
    """As a call that is refused takes none: the next one waits no longer for those let through."""
    for n in range(3):
        assert (await ask_under(busy, f"a{n}", 1, PLAIN, purpose=Purpose.SHADOW)).against == 4
    refused = await ask_under(busy, "b", 1, PLAIN)
    assert refused.code == Code.RATE
    assert 0 < refused.wait_ms <= 1000
    await pass_time(refused.wait_ms / 1000)
    assert await ask(busy, "b", 1) == Code.DONE


async def test_shadow_goes_below_the_floor_and_below_nothing(ledger: Ledger) -> None:
    """What is let through leaves the others what is true: nothing."""
    await know(ledger, 100)
    for name, available in (("a", 20), ("b", -60), ("c", -140)):
        admission = await ask_under(ledger, name, 80, PLAIN, purpose=Purpose.SHADOW)
        assert admission.balance.available == available
        await settle(ledger, admission.hold, 80)
    assert await accounts(ledger) == (-140, 0, 240)
    assert await ask(ledger, "d", 1) == Code.FLOOR


async def test_a_resent_shadow_reserve_is_one_call(busy: Ledger) -> None:
    """Held once, one slot, one refusal counted."""
    for _ in range(3):
        admission = await ask_under(busy, "a", 80, PLAIN, purpose=Purpose.SHADOW)
        assert admission.code == Code.DONE
    look = await busy.overview()
    assert (look.balance.held, look.requests, look.live_holds) == (110, 2, 2)
    assert look.services["shop"].refusals == {"floor": 1}


@pytest.mark.parametrize(("cost", "terms", "code", "reason"), AGAINST)
async def test_a_quote_says_what_a_reserve_would(
    busy: Ledger, cost: int, terms: Terms, code: Code, reason: str
) -> None:
    """Code, wait and room are those of the reserve right after it, and nothing changes by it."""
    before = await books(busy)
    quotes = [await ask_under(busy, "q", cost, terms, purpose=Purpose.QUOTE) for _ in range(3)]
    assert await books(busy) == before
    real = await ask_under(busy, "q", cost, terms)
    for quoted in quotes:
        assert (quoted.code, quoted.room, quoted.hold) == (real.code, real.room, None)
        assert quoted.code == code
        if real.wait_ms is None:
            assert quoted.wait_ms is None
        else:
            assert real.wait_ms <= quoted.wait_ms <= real.wait_ms + 1000
    assert (await usage(busy)).refusals == {reason: 1}


@pytest.mark.parametrize("cost", [0, 1, 60])
async def test_a_quote_of_what_would_run_takes_nothing(
    busy: Ledger, pass_time: PassTime, cost: int
) -> None:
    """No hold, no request slot: as many may ask as like, and the call itself still runs."""
    await pass_time(1)
    before = await books(busy)
    for _ in range(3):
        quoted = await ask_under(busy, "q", cost, PLAIN, purpose=Purpose.QUOTE)
        assert (quoted.code, quoted.hold, quoted.wait_ms) == (Code.DONE, None, 0)
    assert await books(busy) == before
    await reserve_under(busy, "q", cost, PLAIN)


async def test_a_quote_knows_no_more_than_the_ledger(ledger: Ledger) -> None:
    """Without a balance nothing can be said but of free calls, and nothing is counted."""
    assert (await ask_under(ledger, "q", 1, PLAIN, purpose=Purpose.QUOTE)).code == Code.UNKNOWN
    assert (await ask_under(ledger, "q", 0, PLAIN, purpose=Purpose.QUOTE)).code == Code.DONE
    look = await ledger.overview()
    assert (look.requests, look.live_holds, look.services) == (0, 0, {})


async def test_a_quote_is_not_brought_back(open_ledger, flush: Flush) -> None:
    """An emptied store is not told to hold what was only asked about."""
    ledger = open_ledger(RULES)
    await know(ledger, 100)
    await ask_under(ledger, "q", 30, PLAIN, purpose=Purpose.QUOTE)
    await flush()
    await ledger.keep()
    look = await ledger.overview()
    assert (look.balance.held, look.services) == (0, {})


async def test_a_blind_hold_reaches_the_store_by_keep(ledger: Ledger) -> None:
    """Until then nobody knows of it; from then on its tokens are not available."""
    await know(ledger, 100)
    ledger.hold_blindly("a", 30, "shop", "product")
    assert (await ledger.overview()).live_holds == 0
    for _ in range(3):
        await ledger.keep()
    its_own = await usage(ledger)
    assert (its_own.reserved, its_own.holds, its_own.this_hour) == (30, 1, 30)
    assert await accounts(ledger) == (100, 30, 0)
    assert await ask(ledger, "b", 61) == Code.FLOOR


async def test_a_blind_hold_that_the_store_has_is_settled_once(ledger: Ledger) -> None:
    """Its consumption is taken, and a copy of the settle or of the keep changes nothing."""
    await know(ledger, 100)
    hold = ledger.hold_blindly("a", 30, "shop", "product")
    await ledger.keep()
    for _ in range(3):
        await settle(ledger, hold, 25)
        kept = record("a", 30, 0, 150_000_000, 0, "shop", "product")
        await run(ledger, scripts.RESTORE_HOLDS, kept)
    await ledger.keep()
    assert await accounts(ledger) == (75, 0, 25)
    its_own = await usage(ledger)
    assert (its_own.used, its_own.holds, its_own.this_hour) == (25, 0, 25)


async def test_a_blind_hold_settled_before_any_keep_still_counts(ledger: Ledger) -> None:
    """What it consumed is subtracted once, and it is not held any more."""
    await know(ledger, 100)
    hold = ledger.hold_blindly("a", 30, "shop", "product")
    for _ in range(3):
        await settle(ledger, hold, 25)
    await ledger.keep()
    assert await accounts(ledger) == (75, 0, 25)
    its_own = await usage(ledger)
    assert (its_own.used, its_own.holds, its_own.this_day) == (25, 0, 25)


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_blind_hold_released_leaves_nothing(ledger: Ledger, is_kept: bool) -> None:
    """A call that never ran, known to the store by then or not."""
    await know(ledger, 100)
    hold = ledger.hold_blindly("a", 30, "shop", "product")
    if is_kept:
        await ledger.keep()
    for _ in range(2):
        await release(ledger, hold)
    await ledger.keep()
    assert await accounts(ledger) == (100, 0, 0)


async def test_a_blind_hold_in_doubt_is_spent_in_the_end(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Reaped like any other, once: a settle that comes after it charges nothing more."""
    await know(ledger, 100, 59_000, rate=1)
    hold = ledger.hold_blindly("a", 30, "shop", "product")
    ledger.doubt(hold)
    await ledger.keep()
    await pass_time(151)
    assert (await accounts(ledger))[1:] == (0, 30)
    await settle(ledger, hold, 30)
    assert (await accounts(ledger))[1:] == (0, 30)


async def test_a_blind_hold_does_not_weigh_an_answer(ledger: Ledger) -> None:
    """It knows no epoch, so that its observation is ignored: what others spent is not in doubt."""
    await know(ledger, 100)
    hold = ledger.hold_blindly("a", 30, "shop", "product")
    await settle(ledger, hold, 30, observed(999, rate=40))
    assert await accounts(ledger) == (70, 0, 30)
    assert ledger.latest.refill_rate == 20
