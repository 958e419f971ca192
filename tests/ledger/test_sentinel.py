"""A master that fails over under Sentinel: followed at once, and never believed."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.exceptions import AuthenticationError
from support.ledger.calls import accounts, ask, know, release, reserve, settle
from support.measure.stopwatch import Stopwatch
from support.redis.group import MASTER, Watched, say, wait
from support.redis.server import RedisServer, free_port, lend
from support.waiting import until

from gateway.errors import LedgerUnavailable
from gateway.ledger import Ask, Code, Ledger, RedisStore, Rules, Terms
from gateway.ledger.scripts import name_keys

RULES = Rules(150, 0, 1, 60, 300)
LEARNING_SECONDS = 2.5


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    yield from lend(Watched, tmp_path)


@pytest.fixture
def loosely_watched(tmp_path: Path) -> Iterator[Watched]:
    """One sentinel, which does what it is told."""
    yield from lend(Watched, tmp_path, sentinels=1)


@pytest.fixture
async def open_at(account: str, ear):
    """Return a maker of ledgers, each like one gateway's, on stores of their own."""
    stores = []

    async def make(url: str, learning_seconds: float = 0) -> Ledger:
        store = RedisStore(url, account, learning_seconds=learning_seconds)
        stores.append(store)
        await store.open()
        return Ledger(store, account, RULES, ear)

    yield make
    for store in stores:
        await store.close()


async def is_up(ledger: Ledger) -> bool:
    try:
        await ledger.overview()
    except LedgerUnavailable:
        return False
    return True


def has_hold(server: RedisServer, account: str, name: str) -> bool:
    return bool(say(server, "HEXISTS", name_keys(account)[1], name))


async def test_holds_that_a_replica_missed_are_back_before_it_admits(
    watched: Watched, open_at: Callable, account: str
) -> None:
    """A fail-over loses the last writes: the new epoch first hears of every gateway's holds."""
    busy = await open_at(watched.url, LEARNING_SECONDS)
    idle = await open_at(watched.url, LEARNING_SECONDS)
    await know(busy, 200)
    await until(lambda: admits(busy))
    ended = await reserve(busy, "ended", 20)
    await until(lambda: has_hold(watched.replica, account, "ended"))
    watched.cut_off_replica()
    lost = await reserve(busy, "lost", 70)
    await settle(busy, ended, 20)
    assert not has_hold(watched.replica, account, "lost")
    watched.master.kill()
    await until(lambda: is_up(idle), 15)
    new_epoch_at = Stopwatch()
    await know(idle, 180)
    assert await ask(idle, "greedy", 120) == Code.UNKNOWN
    await until(lambda: is_up(busy))
    await until(lambda: has_hold(watched.replica, account, "lost"))
    assert new_epoch_at.seconds < LEARNING_SECONDS
    await until(lambda: admits(idle), LEARNING_SECONDS + 1)
    # What was settled in the lost writes is held still: for all the store knows it is under way.
    assert (await accounts(idle))[:2] == (180, 90)
    assert await ask(idle, "greedy", 90) == Code.FLOOR
    await settle(busy, lost, 70)
    assert (await accounts(idle))[:2] == (110, 20)


async def test_the_sentinels_word_counts_though_the_old_master_serves_on(
    loosely_watched: Watched, open_at: Callable
) -> None:
    """A master that was replaced behind its back is left in a second, by an idle gateway too."""
    group = loosely_watched
    ledger = await open_at(group.url)
    await know(ledger, 100)
    say(group.replica, "REPLICAOF", "NO", "ONE")
    sentinel = group.sentinels[0]
    say(sentinel, "SENTINEL", "REMOVE", MASTER)
    say(sentinel, "SENTINEL", "MONITOR", MASTER, "127.0.0.1", group.replica.port, 1)
    told_at = Stopwatch()
    epoch = ledger._epoch

    async def is_elsewhere() -> bool:
        return await is_up(ledger) and ledger._epoch != epoch

    await until(is_elsewhere)
    assert told_at.seconds < 1.2
    assert b"role:master" in say(group.master, "INFO", "replication")


async def test_a_master_that_comes_back_into_office_is_another(
    loosely_watched: Watched, open_at: Callable
) -> None:
    """One server, one run id, two terms: writes of the first may be gone, so the epoch is new."""
    group = loosely_watched
    ledger = await open_at(group.url)
    await know(ledger, 100)
    first_term = ledger.store._run_id
    run_id = first_term.partition(".")[0]
    group.fail_over()
    group.swap()
    await until(lambda: not ledger.store._run_id.startswith(run_id) and ledger.store.up)
    await asyncio.to_thread(
        wait, lambda: b"master_link_status:up" in say(group.replica, "INFO", "replication"), 20
    )
    group.fail_over()
    await until(lambda: ledger.store._run_id.startswith(run_id) and ledger.store.up)
    assert ledger.store._run_id != first_term


async def test_sentinels_that_are_away_stop_nothing(
    loosely_watched: Watched, open_at: Callable
) -> None:
    """A master that serves is served from, whoever is left to ask; nobody is: it is not found."""
    group = loosely_watched
    dead = f"127.0.0.1:{free_port()}"
    ledger = await open_at(group.url.replace("redis+sentinel://", f"redis+sentinel://{dead},"))
    await know(ledger, 100)
    group.sentinels[0].kill()
    with pytest.raises(AssertionError):
        # Twice in this time they are asked in vain.
        await until(lambda: not ledger.store.up, 1.2)
    assert await is_up(ledger)
    say(group.master, "CLIENT", "KILL", "TYPE", "normal")
    await until(lambda: not ledger.store.up)
    group.sentinels[0].start()
    await until(lambda: is_up(ledger))


async def test_a_name_that_no_sentinel_knows_is_told(
    loosely_watched: Watched, open_at: Callable, capsys
) -> None:
    """It is not ready, and the log says why in one word."""
    ledger = await open_at(loosely_watched.url.replace(MASTER, "another"))
    assert not ledger.store.up
    assert "master_unknown_to_sentinels" in capsys.readouterr().out


async def test_a_password_is_for_sentinels_that_ask_for_one(
    loosely_watched: Watched, open_at: Callable
) -> None:
    """The URL's password opens the master, and a sentinel too where it wants one."""
    group = loosely_watched
    sentinel = group.sentinels[0]
    url = group.url.replace("redis+sentinel://", "redis+sentinel://:s3cret@")
    say(sentinel, "SENTINEL", "SET", MASTER, "auth-pass", "s3cret")
    say(group.master, "CONFIG", "SET", "requirepass", "s3cret")
    ledger = await open_at(url)
    assert ledger.store.up
    say(sentinel, "ACL", "SETUSER", "default", "resetpass", ">s3cret")
    with pytest.raises(AuthenticationError):
        say(sentinel, "PING")
    other = await open_at(url)
    assert other.store.up
    assert not (await open_at(url.replace("s3cret", "wrong"))).store.up


async def admits(ledger: Ledger) -> bool:
    """Whether calls are admitted: one is, and ends."""
    admission = await ledger.reserve(Ask("try", 1, Terms(10), "shop", "product"))
    if admission.hold:
        await release(ledger, admission.hold)
    return admission.code == Code.DONE
