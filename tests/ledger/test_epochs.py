"""A new life of the store: emptied, restarted, set back, and nothing believed of it."""

import asyncio
from collections.abc import Awaitable, Callable

from support.ledger.calls import (
    accounts,
    ask,
    ended,
    know,
    observed,
    reserve,
    run,
    settle,
)
from support.measure.stopwatch import Stopwatch
from support.redis.server import RedisServer
from support.waiting import until

from gateway.ledger import (
    Ask,
    Code,
    EmbeddedStore,
    Ledger,
    RedisStore,
    Rules,
    Store,
    Terms,
    scripts,
)

PassTime = Callable[[float], Awaitable[None]]
Flush = Callable[[], Awaitable[None]]
RULES = Rules(150, 0, 1, 60, 300)


async def restarted(server: RedisServer, *stores: Store) -> None:
    """Kill the server, start it again, and wait until every store talks to it."""
    server.kill()
    await until(lambda: not any(store.up for store in stores))
    server.start()
    await until(lambda: all(store.up for store in stores))


async def test_an_emptied_store_admits_nothing_until_it_has_observed(
    ledger: Ledger, flush: Flush
) -> None:
    """The balance is unknown again, C starts anew, and the epoch is another."""
    await know(ledger, 100)
    await settle(ledger, await reserve(ledger, "a", 20), 20)
    before = (await run(ledger, scripts.OVERVIEW, 0, 0)).epoch
    await flush()
    assert await ask(ledger, "b", 1) == Code.UNKNOWN
    after = await run(ledger, scripts.OVERVIEW, 0, 0)
    assert after.epoch > before
    assert (after.balance.known, after.balance.consumed, after.balance.held) == (False, 0, 0)
    await know(ledger, 80)
    assert await ask(ledger, "b", 1) == Code.DONE


async def test_a_call_of_an_older_epoch_is_charged_once_without_its_hold(
    open_ledger, flush: Flush
) -> None:
    """What it consumed is gone, sent once or twice; what its answer says is not believed."""
    ledger, its_own = open_ledger(), open_ledger()
    await know(ledger, 100)
    hold = await reserve(its_own, "a", 20)
    await flush()
    await know(ledger, 100)
    assert await accounts(ledger) == (100, 0, 0)
    late = ended(hold, 15, 999, 1_000, 40, 0, 0)
    codes = [(await run(ledger, scripts.SETTLE, *late)).code for _ in range(3)]
    assert codes == [Code.DONE, Code.RESOLVED, Code.RESOLVED]
    assert await accounts(ledger) == (85, 0, 15)
    assert ledger.latest.refill_rate == 20


async def test_an_observation_claimed_in_an_older_epoch_is_ignored(
    ledger: Ledger, flush: Flush
) -> None:
    """A `/token` answer from before the store was emptied says nothing of what was lost."""
    turn = await ledger.claim()
    await flush()
    await ledger.observe(turn, observed(100))
    assert not (await ledger.overview()).balance.known


async def test_another_run_id_is_a_new_epoch_that_keeps_the_holds(ledger: Ledger, store) -> None:
    """A server that restarted with its data may have lost the last writes: it is not believed."""
    await know(ledger, 100)
    await reserve(ledger, "a", 20)
    await settle(ledger, await reserve(ledger, "b", 30), 30)
    own = store._run_id
    store._run_id = "another life"
    assert await ask(ledger, "c", 1) == Code.UNKNOWN
    look = await ledger.overview()
    assert (look.balance.known, look.balance.held, look.balance.consumed) == (False, 20, 0)
    assert look.live_holds == 1
    await know(ledger, 70)
    assert await ask(ledger, "c", 41) == Code.FLOOR
    store._run_id = own


async def test_a_young_epoch_learns_before_it_admits(open_store, account: str, ear) -> None:
    """A known balance is not enough: every gateway first gets the time to bring its holds back."""
    store = await open_store(learning_seconds=0.3)
    ledger = Ledger(store, account, RULES, ear)
    began = Stopwatch()
    turn = await ledger.claim()
    assert 0 < turn.outlook.admits_in_ms <= 300
    assert 0 < (await ledger.observe(turn, observed(100))).admits_in_ms <= 300
    refused = await ledger.reserve(Ask("a", 1, Terms(10), "shop", "product"))
    assert (refused.code, refused.hold) == (Code.UNKNOWN, None)
    assert 0 < refused.wait_ms <= 300
    assert refused.balance.known
    assert await ask(ledger, "free", 0) == Code.DONE
    while await ask(ledger, "a", 1) == Code.UNKNOWN:
        await asyncio.sleep(0.005)
        assert began.seconds < 5
    assert began.wall_seconds >= 0.3


async def test_the_embedded_store_needs_no_learning() -> None:
    """No other gateway's holds can be missing in it."""
    assert EmbeddedStore().learning_us == 0


async def test_a_restart_that_lost_everything_is_a_new_epoch(
    own_server: RedisServer, open_store, account: str, ear
) -> None:
    """The store comes back empty: unknown, and the live hold is named again."""
    store = await open_store()
    ledger = Ledger(store, account, RULES, ear)
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 20)
    await restarted(own_server, store)
    assert await ask(ledger, "b", 1) == Code.UNKNOWN
    await ledger.keep()
    assert (await accounts(ledger))[1] == 20
    await settle(ledger, hold, 20)
    await know(ledger, 80)
    assert await accounts(ledger) == (80, 0, 20)


async def test_a_restart_from_an_old_snapshot_is_not_believed(
    own_server: RedisServer, open_store, account: str, ear
) -> None:
    """Holds since the snapshot come back, those settled since stay until their answer or expiry."""
    stores: list[RedisStore] = [await open_store(), await open_store()]
    one, other = (Ledger(store, account, RULES, ear) for store in stores)
    await know(one, 500)
    settled = await reserve(one, "settled since", 50)
    await reserve(one, "kept", 20)
    assert own_server.command("SAVE").startswith(b"+OK")
    await settle(one, settled, 50)
    await reserve(other, "held since", 30)
    before = (await run(one, scripts.OVERVIEW, 0, 0)).epoch
    await restarted(own_server, *stores)
    assert await ask(one, "b", 1) == Code.UNKNOWN
    after = await run(one, scripts.OVERVIEW, 0, 0)
    assert after.epoch > before
    assert (after.balance.known, after.balance.consumed) == (False, 0)
    await one.keep()
    await other.keep()
    look = await one.overview()
    assert (look.balance.held, look.live_holds) == (100, 3)
    await know(one, 450)
    assert await ask(one, "b", 341) == Code.FLOOR
    assert await ask(one, "b", 340) == Code.DONE
