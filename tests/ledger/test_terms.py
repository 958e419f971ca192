"""A service's own floor, and which reason is told of several."""

from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import (
    ask_under,
    know,
    reserve_under,
    settle,
    usage,
)

from gateway.ledger import Ask, Code, Ledger, Rules, Terms

PassTime = Callable[[float], Awaitable[None]]
ACCOUNT, BATCH = Terms(10), Terms(300, is_own_floor=True)


@pytest.mark.parametrize(("terms", "code"), [(BATCH, Code.SERVICE_FLOOR), (Terms(300), Code.FLOOR)])
async def test_whose_floor_it_is_tells_the_code(ledger: Ledger, terms: Terms, code: Code) -> None:
    """Down to the floor and not one token further; the reason names whose it is."""
    await know(ledger, 400)
    refused = await ask_under(ledger, "a", 101, terms)
    assert (refused.code, refused.room) == (code, None)
    assert max(101 + terms.floor, 1) - refused.balance.available == 1
    await reserve_under(ledger, "b", 100, terms)
    assert (await usage(ledger)).refusals == {code.name.lower(): 1}


async def test_others_go_on_where_a_service_stops(ledger: Ledger) -> None:
    """A service's floor leaves what is below it to those with a lower one, to the last token."""
    await know(ledger, 310)
    await reserve_under(ledger, "a", 10, BATCH, "batch")
    assert (await ask_under(ledger, "b", 1, BATCH, "batch")).code == Code.SERVICE_FLOOR
    await reserve_under(ledger, "c", 290, ACCOUNT, "shop")
    assert (await ask_under(ledger, "d", 1, ACCOUNT, "shop")).code == Code.FLOOR
    refused = await ask_under(ledger, "e", 5, BATCH, "batch")
    assert max(5 + 300, 1) - refused.balance.available == 295
    look = await ledger.overview()
    assert look.balance.available == 10
    assert {name: use.refusals for name, use in look.services.items()} == {
        "batch": {"service_floor": 2},
        "shop": {"floor": 1},
    }


async def test_a_service_waits_for_the_lump_that_covers_its_own_floor(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Waiting that long is enough, and until shortly before that lump is not."""
    await know(ledger, 290, 1000)
    refused = await ask_under(ledger, "a", 20, BATCH)
    assert refused.code == Code.SERVICE_FLOOR
    assert 60_100 <= refused.wait_ms <= 61_000
    await pass_time(refused.wait_ms / 1000 - 0.9)
    assert (await ask_under(ledger, "a", 20, BATCH)).code == Code.SERVICE_FLOOR
    await pass_time(0.9)
    await reserve_under(ledger, "a", 20, BATCH)


@pytest.mark.parametrize(("cost", "code"), [(900, Code.SERVICE_FLOOR), (901, Code.CAPACITY)])
async def test_what_never_fits_above_the_services_floor(
    ledger: Ledger, cost: int, code: Code
) -> None:
    """Cost and the service's floor above the capacity: never, though the account's would do."""
    await know(ledger, 1100)
    refused = await ask_under(ledger, "a", cost, BATCH)
    assert (refused.code, refused.wait_ms is None) == (code, code == Code.CAPACITY)
    await reserve_under(ledger, "b", cost, ACCOUNT)


async def test_a_free_call_has_no_floor(ledger: Ledger) -> None:
    """Cost 0 runs below its service's floor, and below 0."""
    await know(ledger, -5)
    await reserve_under(ledger, "a", 0, BATCH)


@pytest.mark.parametrize(
    ("balance", "cost", "code"),
    [
        (None, 2000, Code.UNKNOWN),
        (20, 2000, Code.CAPACITY),
        (20, 101, Code.QUOTA),
        (20, 51, Code.CONCURRENCY),
    ],
)
async def test_the_reason_that_lasts_longest_is_told(
    open_ledger, balance: int | None, cost: int, code: Code
) -> None:
    """Of all that speak against a call: unknown, capacity, quota, concurrency, floor, rate."""
    ledger = open_ledger(Rules(150, 1, 1, 60, 300))
    if balance is not None:
        await know(ledger, balance)
    await reserve_under(ledger, "slot", 0, ACCOUNT)
    terms = Terms(15, is_own_floor=True, tokens_per_hour=100, max_concurrency=1)
    refused = await ask_under(ledger, "a", cost, terms)
    assert refused.code == code
    its_own = await usage(ledger)
    assert its_own.denied == (0 if code == Code.UNKNOWN else 1)


@pytest.mark.parametrize(("cost", "code"), [(6, Code.SERVICE_FLOOR), (5, Code.RATE)])
async def test_the_floor_is_told_before_the_rate(open_ledger, cost: int, code: Code) -> None:
    """A call that lacks both is told of the tokens."""
    ledger = open_ledger(Rules(150, 1, 1, 60, 300))
    await know(ledger, 20)
    await settle(ledger, await reserve_under(ledger, "slot", 0, ACCOUNT), 0)
    terms = Terms(15, is_own_floor=True, tokens_per_hour=100, max_concurrency=1)
    assert (await ask_under(ledger, "a", cost, terms)).code == code


async def test_a_line_before_an_unknown_balance_stops_nobody(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Whoever waits on from an older epoch is in nobody's way, and the books stay right."""
    await know(ledger, 60)
    ledger.doubt(await reserve_under(ledger, "a", 40, ACCOUNT))
    waiting = await ledger.reserve(Ask("w", 50, ACCOUNT, "shop", "product", wait_seconds=250))
    assert waiting.place
    ledger.store._run_id += "'"
    await ledger.overview()
    await pass_time(151)
    assert (await ledger.next_in_queue()).places == []
    balance = (await ledger.overview()).balance
    assert (balance.held, balance.consumed) == (0, 40)
    await reserve_under(ledger, "free", 0, ACCOUNT)
