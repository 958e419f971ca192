"""A call dearer than the bucket: alone, from a full one, and what its debt means to others."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import (
    accounts,
    ask_under,
    know,
    observed,
    release,
    reserve_under,
    settle,
    tokens,
    usage,
)

from gateway.ledger import Ask, Code, Ledger, Purpose, Rules, Terms

PassTime = Callable[[float], Awaitable[None]]
RULES = Rules(150, 0, 1, fresh_seconds=60, stale_seconds=10**9)
RATE, FULL = 5, 300
"""All lightning deals cost 500 tokens, and a bucket of five a minute holds 300."""
NEVER, WHEN_FULL = Terms(10), Terms(10, overdraft=True)


@pytest.fixture
async def full(open_ledger: Callable[..., Ledger]) -> Ledger:
    """A ledger that knows of a full bucket, and takes no observation for too old."""
    ledger = open_ledger(RULES)
    await know(ledger, FULL, rate=RATE)
    return ledger


async def test_never_means_never(full: Ledger) -> None:
    """Without the rule a call that the bucket cannot hold is refused, from a full one too."""
    refused = await ask_under(full, "a", 500, NEVER)
    assert (refused.code, refused.wait_ms) == (Code.CAPACITY, None)
    assert (await usage(full)).refusals == {"exceeds_capacity": 1}


async def test_a_full_bucket_lets_it_run(full: Ledger) -> None:
    """It is held with all it may cost, which leaves less than nothing."""
    await reserve_under(full, "a", 500, WHEN_FULL)
    balance = (await full.overview()).balance
    assert (balance.tokens, balance.held, balance.available) == (300, 500, -200)


@pytest.mark.parametrize(("balance", "code"), [(300, Code.DONE), (299, Code.CAPACITY)])
async def test_one_token_less_than_full_is_not_full(
    ledger: Ledger, balance: int, code: int
) -> None:
    """Only from a full bucket; else it is told what it is told without the rule."""
    await know(ledger, balance, rate=RATE)
    admission = await ask_under(ledger, "a", 500, WHEN_FULL)
    assert (admission.code, admission.wait_ms is None) == (code, code == Code.CAPACITY)


async def test_it_runs_as_soon_as_the_bucket_is_full(ledger: Ledger, pass_time: PassTime) -> None:
    """The lump that fills the bucket is enough; there is nothing to observe."""
    await know(ledger, 299, 1000, rate=RATE)
    assert (await ask_under(ledger, "a", 500, WHEN_FULL)).code == Code.CAPACITY
    await pass_time(1)
    await reserve_under(ledger, "a", 500, WHEN_FULL)


async def test_it_runs_alone(full: Ledger) -> None:
    """Any token held by another is in its way; a free call is not."""
    other = await reserve_under(full, "other", 1, NEVER, "batch")
    await reserve_under(full, "free", 0, NEVER, "batch")
    refused = await ask_under(full, "a", 500, WHEN_FULL)
    assert (refused.code, refused.wait_ms) == (Code.CAPACITY, None)
    await release(full, other)
    await reserve_under(full, "a", 500, WHEN_FULL)


async def test_of_many_at_once_one_runs(open_ledger) -> None:
    """Over all gateways: the first is admitted, all others find the bucket taken."""
    ledgers = [open_ledger(RULES) for _ in range(3)]
    await know(ledgers[0], FULL, rate=RATE)
    admissions = await asyncio.gather(
        *(ask_under(ledgers[n % 3], f"c{n}", 500, WHEN_FULL) for n in range(12))
    )
    codes = [admission.code for admission in admissions]
    assert (codes.count(Code.DONE), codes.count(Code.CAPACITY)) == (1, 11)


@pytest.mark.parametrize(("cost", "code"), [(290, Code.FLOOR), (291, Code.CAPACITY)])
async def test_the_rule_is_for_calls_that_the_bucket_cannot_hold(
    ledger: Ledger, cost: int, code: Code
) -> None:
    """A call that fits above its floor waits for tokens like any other."""
    await know(ledger, 299, rate=RATE)
    refused = await ask_under(ledger, "a", cost, WHEN_FULL)
    assert (refused.code, refused.wait_ms is None) == (code, code == Code.CAPACITY)
    await know(ledger, 300, rate=RATE)
    await reserve_under(ledger, "b", cost, WHEN_FULL)


async def test_a_services_own_floor_makes_a_call_too_dear(full: Ledger) -> None:
    """What can never fit above the floor of its service runs from a full bucket only."""
    terms = Terms(200, is_own_floor=True, overdraft=True)
    await reserve_under(full, "a", 101, terms)
    assert (await ask_under(full, "b", 101, terms)).code == Code.CAPACITY


async def test_nobody_else_runs_meanwhile(full: Ledger) -> None:
    """Others are told of their floors, and to wait for its hold's end at least; free calls run."""
    await reserve_under(full, "a", 500, WHEN_FULL)
    refused = await ask_under(full, "b", 1, NEVER, "batch")
    assert refused.code == Code.FLOOR
    # The hold's end: then its tokens count as spent, and are waited for in turn.
    assert 149_000 <= refused.wait_ms <= 150_000
    own = Terms(50, is_own_floor=True)
    assert (await ask_under(full, "c", 1, own, "batch")).code == Code.SERVICE_FLOOR
    assert (await ask_under(full, "d", 1, Terms(-1000), "batch")).code == Code.FLOOR
    again = await ask_under(full, "e", 500, WHEN_FULL)
    assert (again.code, again.wait_ms) == (Code.CAPACITY, None)
    await reserve_under(full, "f", 0, NEVER, "batch")


async def test_the_debt_is_paid_by_lumps(full: Ledger, pass_time: PassTime) -> None:
    """T is negative after it; the next call waits for the lump that covers it, and no longer."""
    await settle(full, await reserve_under(full, "a", 500, WHEN_FULL), 500)
    assert await accounts(full) == (-200, 0, 500)
    refused = await ask_under(full, "b", 5, NEVER)
    # 43 lumps of 5, after the next one, which Keepa may have given to the full bucket.
    assert 43 * 60_000 + 28_000 <= refused.wait_ms <= 43 * 60_000 + 30_000
    await pass_time(refused.wait_ms / 1000 - 2)
    assert (await ask_under(full, "b", 5, NEVER)).code == Code.FLOOR
    assert await tokens(full) == 10
    await pass_time(2)
    await reserve_under(full, "b", 5, NEVER)
    assert await tokens(full) == 15


async def test_it_does_not_run_again_before_the_bucket_is_full(
    full: Ledger, pass_time: PassTime
) -> None:
    """A second one has to wait until all of the first is paid back."""
    await settle(full, await reserve_under(full, "a", 500, WHEN_FULL), 500)
    await pass_time(100 * 60)
    assert (await ask_under(full, "b", 500, WHEN_FULL)).code == Code.CAPACITY
    await pass_time(60)
    await reserve_under(full, "b", 500, WHEN_FULL)


async def test_only_what_it_consumed_is_owed(full: Ledger) -> None:
    """A dear call that turns out cheap leaves the rest where it was."""
    await settle(full, await reserve_under(full, "a", 500, WHEN_FULL), 120)
    assert await accounts(full) == (180, 0, 120)
    await reserve_under(full, "b", 170, NEVER)


async def test_a_release_leaves_the_bucket_full(full: Ledger) -> None:
    """One that never ran owes nothing, and the next one may."""
    await release(full, await reserve_under(full, "a", 500, WHEN_FULL))
    assert await accounts(full) == (300, 0, 0)
    await reserve_under(full, "b", 500, WHEN_FULL)


async def test_one_in_doubt_is_owed_in_the_end(full: Ledger, pass_time: PassTime) -> None:
    """Its hold keeps all others out until it expires, and is a debt then."""
    full.doubt(await reserve_under(full, "a", 500, WHEN_FULL))
    await pass_time(145)
    assert (await ask_under(full, "b", 1, NEVER)).code == Code.FLOOR
    await pass_time(6)
    # Three lumps came to a full bucket.
    assert await accounts(full) == (-200, 0, 500)


async def test_its_answer_agrees_with_the_debt(full: Ledger, ear) -> None:
    """Keepa's own balance below 0 is what was expected: no drift."""
    hold = await reserve_under(full, "a", 500, WHEN_FULL)
    await settle(full, hold, 500, observed(-200, rate=RATE))
    assert await accounts(full) == (-200, 0, 500)
    assert (ear.total("spent"), ear.total("back"), ear.total("overrun")) == (0, 0, 0)


async def test_resent_copies_run_it_once(full: Ledger) -> None:
    """A reserve of the same id is admitted again, and settled once."""
    for _ in range(3):
        hold = await reserve_under(full, "a", 500, WHEN_FULL)
    assert (await usage(full)).reserved == 500
    for _ in range(3):
        await settle(full, hold, 500)
    assert await accounts(full) == (-200, 0, 500)


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (Terms(10, tokens_per_hour=499, overdraft=True), Code.QUOTA),
        (Terms(10, tokens_per_day=500, overdraft=True), Code.DONE),
        (Terms(10, max_concurrency=1, overdraft=True), Code.CONCURRENCY),
    ],
)
async def test_it_is_held_to_the_services_caps(full: Ledger, terms: Terms, code: Code) -> None:
    """A full bucket is no reason to exceed what the service may."""
    await reserve_under(full, "free", 0, NEVER)
    assert (await ask_under(full, "a", 500, terms)).code == code


async def test_it_takes_its_request_slot(open_ledger, pass_time: PassTime) -> None:
    """Without one it waits for the rate like any other, and that is what it is told."""
    ledger = open_ledger(Rules(150, 1, 1, fresh_seconds=60, stale_seconds=10**9))
    await know(ledger, FULL, rate=RATE)
    await reserve_under(ledger, "free", 0, NEVER)
    refused = await ask_under(ledger, "a", 500, WHEN_FULL)
    assert refused.code == Code.RATE
    assert 59_000 <= refused.wait_ms <= 60_000
    await pass_time(refused.wait_ms / 1000)
    await reserve_under(ledger, "a", 500, WHEN_FULL)
    assert (await ask_under(ledger, "b", 0, NEVER)).code == Code.RATE


async def test_it_waits_in_no_line(open_ledger, pass_time: PassTime) -> None:
    """Where it stood it would be the first for ever, and those behind it would wait for nothing."""
    ledger = open_ledger(Rules(150, 60, 1, fresh_seconds=60, stale_seconds=10**9))
    await know(ledger, FULL, rate=RATE)
    await reserve_under(ledger, "free", 0, NEVER)
    refused = await ledger.reserve(Ask("a", 500, WHEN_FULL, "shop", "product", wait_seconds=60))
    assert (refused.code, refused.place) == (Code.RATE, "")
    await pass_time(1)
    await reserve_under(ledger, "b", 290, Terms(10), "batch")


async def test_it_takes_nothing_from_those_who_wait(open_ledger, pass_time: PassTime) -> None:
    """A call whose turn has come goes first; the one that overdraws is told that it cannot now."""
    ledger = open_ledger(Rules(150, 60, 1, fresh_seconds=60, stale_seconds=10**9))
    await know(ledger, FULL, rate=RATE)
    await reserve_under(ledger, "free", 0, NEVER)
    waiting = await ledger.reserve(Ask("w", 5, NEVER, "batch", "product", wait_seconds=60))
    assert waiting.place
    await pass_time(1)
    refused = await ask_under(ledger, "a", 500, WHEN_FULL)
    assert (refused.code, refused.wait_ms) == (Code.CAPACITY, None)


async def test_a_quote_tells_whether_it_would_run(full: Ledger) -> None:
    """From a full bucket yes, and from one in debt no; a quote owes nothing."""
    for code in (Code.DONE, Code.CAPACITY):
        quoted = await ask_under(full, "q", 500, WHEN_FULL, purpose=Purpose.QUOTE)
        assert (quoted.code, quoted.hold) == (code, None)
        await ask_under(full, "a", 500, WHEN_FULL)
