"""Redis' clock is set back: nobody waits for it to catch up, and nothing is overspent."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from support.ledger.calls import (
    accounts,
    ask,
    ask_under,
    know,
    reserve,
    reserve_under,
    run,
    settle,
    usage,
)
from support.ledger.raw_keys import do
from support.ledger.turned_store import TurnedStore

from gateway.ledger import (
    Alarms,
    Ask,
    Chronicle,
    Code,
    Ledger,
    Rules,
    Sighting,
    Store,
    Terms,
    scripts,
)
from gateway.ledger.scripts import name_alarm_keys, name_chronicle_keys

OpenLedger = Callable[..., Ledger]
RULES = Rules(150, 0, 1, fresh_seconds=60, stale_seconds=10**9)
HOUR = 3600
# Half past: an hour back is another window, whatever the time of day is.
BEGIN = datetime(2030, 5, 17, 21, 30, 0, tzinfo=UTC)


@pytest.fixture
async def clock(store: Store) -> TurnedStore:
    turned = TurnedStore(store)
    await turned.turn_to(BEGIN)
    return turned


@pytest.fixture
def open_ledger(clock: TurnedStore, account: str, ear) -> OpenLedger:
    return lambda rules=RULES: Ledger(clock, account, rules, ear)


async def epoch_of(ledger: Ledger) -> int:
    return (await run(ledger, scripts.OVERVIEW, 0, 0)).epoch


@pytest.mark.parametrize("seconds", [1.5, 90, HOUR, 40 * 86_400])
async def test_a_clock_set_back_begins_a_new_epoch(
    ledger: Ledger, clock: TurnedStore, ear, seconds: float
) -> None:
    """Calls are admitted as soon as the balance was observed again; holds stay held."""
    await know(ledger, 1000)
    hold = await reserve(ledger, "a", 20)
    before = await epoch_of(ledger)
    await clock.turn(-seconds)
    assert await ask(ledger, "b", 1) == Code.UNKNOWN
    assert await epoch_of(ledger) != before
    await know(ledger, 1000)
    assert await accounts(ledger) == (1000, 20, 0)
    assert await ask(ledger, "b", 971) == Code.FLOOR
    assert await ask(ledger, "b", 970) == Code.DONE
    await settle(ledger, hold, 20)
    assert await accounts(ledger) == (980, 970, 20)
    assert ear.inconsistent == {"clock_set_back"}


async def test_holds_that_nobody_resolves_end_in_their_time(
    ledger: Ledger, clock: TurnedStore, ear
) -> None:
    """Not an hour later, though their expiry was an hour ahead of the new clock."""
    await know(ledger, 1000, rate=30)
    await reserve(ledger, "a", 20)
    await clock.turn(-HOUR)
    await know(ledger, 1000, rate=30)
    await clock.turn(149)
    assert (await accounts(ledger))[1] == 20
    await clock.turn(2)
    assert (await accounts(ledger))[1] == 0
    assert (ear.total("reaped"), ear.total("reaped_tokens")) == (1, 20)


async def test_lumps_fall_by_the_clock_that_is(ledger: Ledger, clock: TurnedStore) -> None:
    """What was observed since the clock was set back has its own schedule."""
    await know(ledger, 100, 30_000)
    await clock.turn(-HOUR)
    await know(ledger, 100, 30_000)
    await clock.turn(31)
    assert (await accounts(ledger))[0] == 120


async def test_caps_go_on_counting(ledger: Ledger, clock: TurnedStore) -> None:
    """What was used in an hour that is in the future again counts in this one."""
    terms = Terms(10, tokens_per_hour=100, tokens_per_day=100)
    await know(ledger, 1000)
    await settle(ledger, await reserve_under(ledger, "a", 50, terms), 30)
    await reserve_under(ledger, "b", 30, terms)
    await clock.turn(-HOUR)
    await know(ledger, 1000)
    assert (await ask_under(ledger, "c", 41, terms)).code == Code.QUOTA
    await reserve_under(ledger, "c", 40, terms)
    assert (await ask_under(ledger, "d", 1, terms)).code == Code.QUOTA
    ledger.settle(ledger._live["b"], 10)
    assert await ledger.delivered(2)
    assert (await usage(ledger)).this_hour == 80


async def test_a_debt_of_request_slots_stays_what_it_was(
    open_ledger: OpenLedger, clock: TurnedStore
) -> None:
    """The next slot comes within a second, not within an hour."""
    ledger = open_ledger(Rules(150, 60, 2, 60, 10**9))
    await know(ledger, 1000)
    await reserve(ledger, "a", 1)
    await reserve(ledger, "b", 1)
    await clock.turn(-HOUR)
    await know(ledger, 1000)
    refused = await ask_under(ledger, "c", 1, Terms(10))
    assert refused.code == Code.RATE
    assert 0 < refused.wait_ms <= 1000
    await clock.turn(1)
    assert await ask(ledger, "c", 1) == Code.DONE


async def test_who_waits_at_a_gateway_that_is_gone_is_in_nobodys_way(
    open_ledger: OpenLedger, clock: TurnedStore
) -> None:
    """A dead gateway was last seen in the future: that makes it no living one."""
    dead, alive = open_ledger(), open_ledger()
    await know(dead, 60, rate=20)
    waiting = await dead.reserve(Ask("w", 70, Terms(10), "shop", "product", wait_seconds=60))
    assert waiting.place
    await clock.turn(-HOUR)
    await know(alive, 100)
    assert await ask(alive, "c", 90) == Code.DONE


@pytest.mark.parametrize("seconds", [0.02, 0.9])
async def test_a_small_step_back_is_waited_out(
    ledger: Ledger, clock: TurnedStore, ear, seconds: float
) -> None:
    """Time stands still until the clock has caught up: no new epoch, and no token too many."""
    await know(ledger, 100, 30_000)
    before = await epoch_of(ledger)
    for n in range(5):
        await clock.turn(-seconds)
        assert await ask(ledger, f"c{n}", 1) == Code.DONE
        lump_in_ms = (await ledger.overview()).balance.lump_in_ms
        await clock.turn(seconds)
        assert (await ledger.overview()).balance.lump_in_ms <= lump_in_ms
    assert await epoch_of(ledger) == before
    assert await accounts(ledger) == (100, 5, 0)
    assert ear.inconsistent == set()


async def test_epochs_that_begin_while_the_clock_is_behind_have_names_of_their_own(
    ledger: Ledger, clock: TurnedStore
) -> None:
    """A gateway tells an older epoch by its name: none comes again."""
    await know(ledger, 100)
    epochs = [await epoch_of(ledger)]
    await clock.turn(-0.5)
    for _ in range(4):
        clock.begin_life()
        epochs.append(await epoch_of(ledger))
    assert len(set(epochs)) == 5


async def test_a_fail_over_to_a_clock_behind_learns_no_longer(
    ledger: Ledger, clock: TurnedStore
) -> None:
    """A new epoch begins anyway, and goes by the new server's clock from its beginning."""
    await know(ledger, 100)
    await clock.turn(-0.9)
    clock.begin_life()
    clock.learning_us = clock._store.learning_us = 100_000
    began_at = time.monotonic()
    await know(ledger, 100)
    while await ask(ledger, "a", 1) == Code.UNKNOWN:
        await asyncio.sleep(0.01)
    # Standing still for the 0.9 s would be added to the tenth.
    assert time.monotonic() - began_at < 0.9
    clock._store.learning_us = 0


async def test_a_clock_that_was_ahead_for_a_while_leaves_nothing_behind(
    ledger: Ledger, clock: TurnedStore
) -> None:
    """Set forward, then right again: an hour of lumps is forgotten with the epoch."""
    await know(ledger, 100, rate=20)
    await clock.turn(HOUR)
    assert (await accounts(ledger))[0] == 1200
    await clock.turn(-HOUR)
    assert await ask(ledger, "a", 1) == Code.UNKNOWN
    await know(ledger, 120)
    assert await ask(ledger, "a", 111) == Code.FLOOR
    assert await ask(ledger, "a", 110) == Code.DONE


async def test_alarms_are_told_of_at_once(store: Store, account: str) -> None:
    """Neither a claim nor a pause noted by a clock that was ahead keeps everybody from posting."""
    ahead = int((time.time() + HOUR) * 1e6)
    (key,) = name_alarm_keys(account)
    await do(store, "HSET", key, "drift", f"0|{ahead}|{ahead}|5|{ahead}|somebody")
    agreement = await Alarms(store, account).agree(
        "drift", Sighting(0.0), quiet_seconds=10, believed=False
    )
    assert agreement.to_post is None
    assert 0 < agreement.ask_again_seconds <= 60
    assert agreement.since <= agreement.now


async def test_the_dashboard_shows_nothing_of_the_future(
    store: Store, account: str, ledger
) -> None:
    """Samples of a clock that was ahead go, and gateways; refusals happened by now."""
    samples, refusals, present = name_chronicle_keys(account)
    ahead = int(time.time()) + HOUR
    for second in (ahead - ahead % 10 - 10, ahead - ahead % 10):
        await do(store, "LPUSH", samples, f"{second}|500|0|7")
    await do(store, "LPUSH", refusals, f"{ahead * 1000}|refused")
    await do(store, "ZADD", present, ahead * 1_000_000, "gone")
    balance = (await ledger.overview()).balance
    told = await Chronicle(store, account).visit(sample=(balance, 7), samples=True)
    assert told.gateways == 1
    assert [sample.at <= time.time() for sample in told.samples] == [True]
    ((at, text),) = told.refusals
    assert text == "refused"
    assert at <= (time.time() + 1) * 1000
