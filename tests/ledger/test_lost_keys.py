"""Each key lost alone, by eviction or by hand, with calls in flight: the promises hold."""

from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs
from support.ledger.calls import ask, ask_under, know, reserve_under, run, settle, tokens
from support.ledger.raw_keys import do
from support.waiting import until

from gateway.ledger import Ask, Code, Hold, Ledger, Terms, scripts

PassTime = Callable[[float], Awaitable[None]]
OpenLedger = Callable[..., Ledger]
TERMS = Terms(10, max_concurrency=3, tokens_per_hour=500)
KEYS = (
    "ledger",
    "holds",
    "expiries",
    "starts",
    "services",
    "queue",
    "gateways",
    "markers",
    "usage",
)
TOLD = {
    "ledger": "ledger_lost", "holds": "holds_lost", "expiries": "expiries_lost",
    "services": "services_lost", "starts": "starts_lost",
}  # fmt: skip


async def lose(ledger: Ledger, name: str) -> None:
    await do(ledger.store, "DEL", ledger._keys[KEYS.index(name)])


async def fill(ledger: Ledger) -> list[Hold]:
    """Put something into every key; return three holds of 50 tokens each."""
    await know(ledger, 1000, rate=20)
    holds = [await reserve_under(ledger, f"c{n}", 50, TERMS) for n in range(3)]
    waiting = await ledger.reserve(Ask("w", 845, Terms(10), "other", "product", wait_seconds=60))
    assert waiting.place
    await run(ledger, scripts.RELEASE, "gone|0|")
    return holds


@pytest.mark.parametrize("name", KEYS)
async def test_a_lost_key_costs_neither_tokens_nor_callers(
    ledger: Ledger, ear, account: str, name: str
) -> None:
    """What is in flight stays held, all of it ends, and the service has its whole cap again."""
    holds = await fill(ledger)
    assert (await do(ledger.store, "EXISTS", ledger._keys[KEYS.index(name)])) == 1
    await lose(ledger, name)

    # What is there may still be charged: 1000 less 150, above a floor of 10.
    assert await ask(ledger, "too much", 841) in {Code.UNKNOWN, Code.FLOOR}
    await ledger.keep()
    await until(lambda: _is_held(ledger, 150))
    assert (await ask_under(ledger, "a fourth", 1, TERMS)).code in {Code.UNKNOWN, Code.CONCURRENCY}
    await know(ledger, 1000, rate=20)
    assert await ask(ledger, "too much", 841) == Code.FLOOR
    assert (await ask_under(ledger, "a fourth", 1, TERMS)).code == Code.CONCURRENCY

    for hold in holds:
        await settle(ledger, hold, 50)
    look = await ledger.overview()
    assert (look.balance.tokens, look.balance.held, look.live_holds) == (850, 0, 0)
    assert (await _reserve_at_once(ledger)) == [Code.DONE] * 3 + [Code.CONCURRENCY]
    assert ear.inconsistent == ({TOLD[name]} if name in TOLD else set())


async def _is_held(ledger: Ledger, held: int) -> bool:
    return (await ledger.overview()).balance.held == held


async def _reserve_at_once(ledger: Ledger) -> list[int]:
    return [(await ask_under(ledger, f"d{n}", 1, TERMS)).code for n in range(4)]


@pytest.mark.parametrize("name", KEYS)
async def test_holds_of_a_dead_gateway_end_whatever_key_is_lost(
    open_ledger: OpenLedger, pass_time: PassTime, ear, name: str
) -> None:
    """Reserved returns to 0, though nobody is left to resolve them."""
    await fill(open_ledger())
    ledger = open_ledger()
    await lose(ledger, name)
    await ledger.overview()
    await pass_time(151)
    await ledger.overview()
    assert (await ledger.overview()).balance.held == 0
    await know(ledger, 1000, rate=20)
    assert await _reserve_at_once(ledger) == [Code.DONE] * 3 + [Code.CONCURRENCY]


async def test_holds_lost_with_other_keys_come_back(ledger: Ledger, ear) -> None:
    """Whatever is lost together: all the same, what is in flight is held again."""
    await fill(ledger)
    for name in ("holds", "starts", "services"):
        await lose(ledger, name)
    await ledger.overview()
    await until(lambda: _is_held(ledger, 150))
    assert (await ledger.overview()).services["shop"].this_hour == 150


async def test_caps_count_what_is_in_flight_after_the_services_were_lost(ledger: Ledger) -> None:
    """What they had used is forgotten, not what they hold."""
    holds = await fill(ledger)
    await lose(ledger, "services")
    shop = (await ledger.overview()).services["shop"]
    assert (shop.reserved, shop.holds, shop.this_hour, shop.this_day) == (150, 3, 150, 150)
    await settle(ledger, holds[0], 30)
    assert (await ledger.overview()).services["shop"].this_hour == 130


async def test_a_hold_deleted_by_hand_is_missed(ledger: Ledger, ear) -> None:
    """Not the key is gone, but one hold of it: its gateway brings it back."""
    holds = await fill(ledger)
    await do(ledger.store, "HDEL", ledger._keys[1], holds[0].id)
    await ledger.overview()
    await until(lambda: _is_held(ledger, 150))
    assert ear.inconsistent == {"holds_lost"}


async def test_an_expiry_without_its_hold_begins_a_new_epoch(
    ledger: Ledger, ear, pass_time: PassTime
) -> None:
    """Also where as many holds as expiries are there."""
    await know(ledger, 1000, rate=20)
    await settle(ledger, await reserve_under(ledger, "a", 5, TERMS), 5)
    await do(ledger.store, "ZADD", ledger._keys[2], 1, "nobody's")
    await do(ledger.store, "HSET", ledger._keys[1], "without end", "5|1|2|3|shop|product")
    look = await ledger.overview()
    assert ear.inconsistent == {"holds_lost"}
    assert (look.balance.known, look.balance.held) == (False, 5)
    # Its expiry was long ago.
    assert (await ledger.overview()).balance.held == 0


async def test_sums_below_zero_are_told_and_counted_anew(ledger: Ledger, ear) -> None:
    """They are never only clamped: after the script that found them they are the holds' again."""
    holds = await fill(ledger)
    await do(ledger.store, "HSET", ledger._keys[0], "held", 20)
    with capture_logs() as logs:
        await settle(ledger, holds[0], 50)
        look = await ledger.overview()
    assert ear.inconsistent == {"sum_below_zero"}
    assert (look.balance.held, look.live_holds, look.balance.tokens) == (100, 2, 950)
    (line,) = [entry for entry in logs if entry["event"] == "ledger_inconsistent"]
    assert (line["log_level"], line["what"], line["script"]) == (
        "error",
        "sum_below_zero",
        "settle",
    )


async def test_a_service_whose_tally_fell_below_zero_keeps_its_cap(ledger: Ledger, ear) -> None:
    """No more calls than its max_concurrency, and no fewer."""
    holds = await fill(ledger)
    record = (await do(ledger.store, "HGET", ledger._keys[4], "shop")).decode().split("|")
    await do(
        ledger.store, "HSET", ledger._keys[4], "shop", "|".join((record[0], "150|0", *record[3:]))
    )
    await settle(ledger, holds[0], 50)
    assert (await ask_under(ledger, "d0", 1, TERMS)).code == Code.DONE
    assert (await ask_under(ledger, "d1", 1, TERMS)).code == Code.CONCURRENCY
    assert ear.inconsistent == {"sum_below_zero"}


async def test_nothing_is_admitted_on_sums_that_were_found_wrong(ledger: Ledger) -> None:
    """Neither by the scripts that run in the same go."""
    holds = await fill(ledger)
    await do(ledger.store, "HSET", ledger._keys[0], "held", 20)
    ledger.settle(holds[0], 50)
    admission = await ledger.reserve(Ask("d", 841, Terms(10), "other", "product"))
    assert admission.code in {Code.UNKNOWN, Code.FLOOR}
    assert await tokens(ledger) == 950


async def test_the_same_is_logged_once_in_a_while(ledger: Ledger, ear) -> None:
    """All are counted."""
    await fill(ledger)
    with capture_logs() as logs:
        for _ in range(5):
            await lose(ledger, "expiries")
            await ledger.overview()
    assert sum(entry["event"] == "ledger_inconsistent" for entry in logs) == 1
    assert sum(events.inconsistent == "expiries_lost" for _, events in ear.heard) == 5


async def test_an_emptied_store_is_not_inconsistent(ledger: Ledger, flush, ear) -> None:
    """Nothing in it contradicts anything else."""
    await fill(ledger)
    await flush()
    await ledger.overview()
    assert ear.inconsistent == set()
