"""A Redis that answers and refuses writes is away, for whoever calls and for whoever is idle."""

import re
import time
from collections.abc import Callable

import pytest
from support import ROOT
from support.ledger.calls import accounts, ask, know, reserve
from support.redis.group import say, wait
from support.redis.server import RedisServer, free_port
from support.waiting import until

from gateway.errors import LedgerUnavailable
from gateway.ledger import Ask, Code, Ledger, Purpose, RedisStore, Rules, Terms

RULES = Rules(150, 0, 1, 60, 300)
QUOTED = (1, Terms(10), "shop", "product")


def _fill(server: RedisServer) -> None:
    say(server, "CONFIG", "SET", "maxmemory", 1)


def _empty(server: RedisServer) -> None:
    say(server, "CONFIG", "SET", "maxmemory", 0)


def _want_replicas(server: RedisServer) -> None:
    say(server, "CONFIG", "SET", "min-replicas-to-write", 1)


def _want_none(server: RedisServer) -> None:
    say(server, "CONFIG", "SET", "min-replicas-to-write", 0)


def _fail_to_save(server: RedisServer) -> None:
    # A folder in the place of its file.
    (server.folder / "dump.rdb").mkdir()
    say(server, "CONFIG", "SET", "save", "3600 1000000")
    say(server, "BGSAVE")
    wait(lambda: b"rdb_last_bgsave_status:err" in say(server, "INFO", "persistence"))


def _save(server: RedisServer) -> None:
    (server.folder / "dump.rdb").rmdir()
    say(server, "BGSAVE")


def _demote(server: RedisServer) -> None:
    say(server, "REPLICAOF", "127.0.0.1", free_port())


def _promote(server: RedisServer) -> None:
    say(server, "REPLICAOF", "NO", "ONE")


REFUSALS = {
    "OOM": (_fill, _empty),
    "NOREPLICAS": (_want_replicas, _want_none),
    "MISCONF": (_fail_to_save, _save),
    "READONLY": (_demote, _promote),
}


@pytest.fixture
async def ledger(open_store: Callable, account: str, ear: object) -> Ledger:
    ledger = Ledger(await open_store(), account, RULES, ear)
    await know(ledger, 100)
    return ledger


@pytest.mark.parametrize("code", REFUSALS)
async def test_who_is_idle_notices_within_a_second(
    own_server: RedisServer, ledger: Ledger, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a call it goes away, for scripts that would only read too, and it comes back."""
    begin, end = REFUSALS[code]
    begin(own_server)
    began_at = time.monotonic()
    await until(lambda: not ledger.store.up)
    assert time.monotonic() - began_at < 1
    await until(lambda: ledger.store.trouble == code)
    quoted = ledger.reserve(Ask("q", *QUOTED, purpose=Purpose.QUOTE))
    for read in (ledger.overview(), ledger.is_fresh(), quoted):
        with pytest.raises(LedgerUnavailable):
            await read
    end(own_server)
    ended_at = time.monotonic()
    await until(lambda: ledger.store.up)
    assert time.monotonic() - ended_at < 1.2
    assert await ask(ledger, "a", 30) == Code.DONE
    assert await accounts(ledger) == (100, 30, 0)
    told = capsys.readouterr().out
    assert (told.count("store_down"), told.count(f"error={code}")) == (1, 1)


@pytest.mark.parametrize("code", ["OOM", "NOREPLICAS", "MISCONF"])
async def test_who_calls_notices_at_once(
    own_server: RedisServer, ledger: Ledger, code: str
) -> None:
    """The first call that is refused is the beginning of it, the first that runs is the end."""
    begin, end = REFUSALS[code]
    connected = []
    heard, ledger.store.on_connect = ledger.store.on_connect, lambda: connected.append(heard())
    begin(own_server)
    with pytest.raises(LedgerUnavailable):
        await reserve(ledger, "a", 30)
    with pytest.raises(LedgerUnavailable):
        await ledger.is_fresh()
    end(own_server)
    if code == "MISCONF":
        wait(lambda: b"rdb_last_bgsave_status:ok" in say(own_server, "INFO", "persistence"))
    await reserve(ledger, "b", 30)
    assert (await ledger.overview()).balance.held == 30
    # As after a new connection: what waits is delivered, and the balance is asked for.
    assert len(connected) == 1


async def test_the_documented_user_is_enough(
    own_server: RedisServer, account: str, ear: object
) -> None:
    """It may do all that the ledger needs; without one of its rights the store is away, at once."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    rights = re.search(r"ACL SETUSER gateway on >SECRET ([^`]+)```", page)[1].split()
    say(own_server, "ACL", "SETUSER", "gateway", "on", ">s3cret", *rights)
    store = RedisStore(
        own_server.url.replace("://", "://gateway:s3cret@"), account, learning_seconds=0
    )
    await store.open()
    try:
        ledger = Ledger(store, account, RULES, ear)
        await know(ledger, 100)
        await reserve(ledger, "a", 30)
        say(own_server, "ACL", "SETUSER", "gateway", "-@sortedset")
        await until(lambda: not store.up)
        assert (store.refuses_writes, store.trouble) == (True, "NOPERM")
        with pytest.raises(LedgerUnavailable):
            await reserve(ledger, "b", 30)
    finally:
        await store.close()


async def test_what_a_full_redis_still_runs_does_not_make_it_well(
    own_server: RedisServer, ledger: Ledger
) -> None:
    """Resolutions free memory, and so they run; new holds do not."""
    holds = [await reserve(ledger, name, 30) for name in "ab"]
    _fill(own_server)
    await until(lambda: not ledger.store.up)
    for hold in holds:
        ledger.settle(hold, 30)
        assert await ledger.delivered(5)
        with pytest.raises(LedgerUnavailable):
            await ledger.overview()
    _empty(own_server)
    await until(lambda: ledger.store.up)
    assert await accounts(ledger) == (40, 0, 60)


async def test_a_full_redis_is_told_to_who_comes_then(own_server: RedisServer) -> None:
    """A store that is opened on it knows at once, keeps its connection, and waits there."""
    _fill(own_server)
    store = RedisStore(own_server.url, learning_seconds=0)
    await store.open()
    try:
        assert (store.up, store.refuses_writes, store.trouble) == (False, True, "OOM")
        connections = b"total_connections_received:"
        before = say(own_server, "INFO", "stats").partition(connections)[2].split()[0]
        _empty(own_server)
        await until(lambda: store.up)
        # Our own questions are two more.
        after = say(own_server, "INFO", "stats").partition(connections)[2].split()[0]
        assert int(after) == int(before) + 2
    finally:
        await store.close()
