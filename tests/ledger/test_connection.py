"""Redis away, halted, slow or flushed: nothing is admitted on a guess, nothing is lost."""

import asyncio
import socket
import time
from asyncio import selector_events

import pytest
from support.ledger.calls import accounts, ask, know, reserve
from support.measure.stopwatch import Stopwatch
from support.measure.vitals import IS_THERE, own_descriptors
from support.measure.vitals import MISSING as NO_PROC
from support.network.slow_relay import SlowRelay
from support.redis.server import RedisServer
from support.waiting import until

from gateway.errors import LedgerUnavailable
from gateway.ledger import Admission, Ask, Code, Hold, Ledger, RedisStore, Rules, Store, Terms
from gateway.ledger.redis.command import Command
from gateway.ledger.scripts import RESERVE, name_keys
from gateway.ledger.store import ReplyLost

RULES = Rules(150, 0, 1, 60, 300)


@pytest.fixture
async def server_ledger(open_store, account: str, ear) -> Ledger:
    """A gateway's ledger on the test's own server."""
    return Ledger(await open_store(), account, RULES, ear)


async def first_answered(ledger: Ledger, name: str, tokens: int) -> Admission:
    """Reserve again and again until the ledger answers at all."""
    deadline = time.monotonic() + 5
    while True:
        try:
            return await ledger.reserve(Ask(name, tokens, Terms(10), "shop", "product"))
        except LedgerUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)


async def test_a_resolution_raised_while_redis_is_away_is_delivered_once(
    own_server: RedisServer, server_ledger: Ledger
) -> None:
    """It waits for the next connection, and charges the new life of the store once."""
    ledger = server_ledger
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 30)
    own_server.kill()
    ledger.settle(hold, 25)
    await until(lambda: not ledger.store.up)
    assert not await ledger.delivered(0.01)
    assert ledger.unconfirmed == 1
    ledger.deliver()
    own_server.start()
    assert await ledger.delivered(5)
    assert ledger.unconfirmed == 0
    ledger.deliver()
    assert await accounts(ledger) == (0, 0, 25)


async def test_resolutions_go_before_any_new_reserve(
    own_server: RedisServer, server_ledger: Ledger, ear
) -> None:
    """The first reserve that a new connection answers already sees what was settled meanwhile."""
    ledger = server_ledger
    await know(ledger, 100)
    holds = [await reserve(ledger, f"h{n}", 4) for n in range(20)]
    own_server.command("CLIENT", "KILL", "TYPE", "normal")
    await until(lambda: not ledger.store.up, every=0)
    for hold in holds[:10]:
        ledger.settle(hold, 4)
    for hold in holds[10:]:
        ledger.release(hold)
    ear.heard.clear()
    admission = await first_answered(ledger, "new", 50)
    assert (admission.code, admission.balance.tokens, admission.balance.held) == (Code.DONE, 60, 50)
    names = [name for name, _ in ear.heard]
    assert sorted(names[:20]) == ["release"] * 10 + ["settle"] * 10


async def test_without_redis_nothing_is_admitted(
    own_server: RedisServer, server_ledger: Ledger
) -> None:
    """Every call fails at once, and works again within a second of Redis' return."""
    ledger = server_ledger
    own_server.kill()
    await until(lambda: not ledger.store.up)
    began = Stopwatch()
    for call in (
        ledger.overview,
        ledger.claim,
        lambda: ledger.reserve(Ask("a", 0, Terms(0), "s", "e")),
    ):
        with pytest.raises(LedgerUnavailable):
            await call()
    assert began.seconds < 0.5
    own_server.start()
    returned = Stopwatch()
    await until(lambda: ledger.store.up)
    assert returned.seconds < 1
    assert await ask(ledger, "a", 0) == Code.DONE


async def test_a_store_may_be_opened_before_redis_is_there(
    own_server: RedisServer, account: str, ear
) -> None:
    """Opening returns without it, and the connection comes when Redis does."""
    own_server.kill()
    store = RedisStore(own_server.url)
    await store.open()
    assert not store.up
    own_server.start()
    await until(lambda: store.up)
    assert (await Ledger(store, account, RULES, ear).overview()).balance.known is False
    await store.close()


async def test_something_cancelled_on_the_way_to_redis_is_tried_again(
    own_server: RedisServer, server_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation of something within is no end of the connecting; the store's own close is."""
    servers = server_ledger.store._servers
    find, cancelled = servers.find, []

    async def find_in_the_end() -> object:
        if not cancelled:
            cancelled.append(True)
            raise asyncio.CancelledError
        return await find()

    monkeypatch.setattr(servers, "find", find_in_the_end)
    own_server.restart()
    await until(lambda: cancelled)
    await until(lambda: server_ledger.store.up)
    await server_ledger.store.close()
    assert server_ledger.store._keeper.cancelled()


@pytest.mark.parametrize("halt", ["stop", "pause"])
async def test_a_halted_redis_fails_a_reserve_in_time_and_leaks_no_hold(
    own_server: RedisServer, server_ledger: Ledger, halt: str
) -> None:
    """Its caller hears within 1.2 s; what the server may still have run is released."""
    ledger = server_ledger
    await know(ledger, 100)
    if halt == "stop":
        own_server.stop()
    else:
        own_server.command("CLIENT", "PAUSE", "1400", "ALL")
    began = Stopwatch()
    with pytest.raises(ReplyLost):
        await ledger.reserve(Ask("a", 30, Terms(10), "shop", "product"))
    assert began.seconds < 1.2
    assert ledger.unconfirmed == 1
    with pytest.raises(LedgerUnavailable):
        await ledger.reserve(Ask("b", 30, Terms(10), "shop", "product"))
    assert began.seconds < 1.4
    own_server.proceed()
    assert await ledger.delivered(5)
    assert await accounts(ledger) == (100, 0, 0)
    assert await ask(ledger, "a", 30) == Code.RESOLVED
    assert await ask(ledger, "c", 90) == Code.DONE


async def test_a_settle_whose_reply_was_lost_is_sent_again_and_charges_once(
    own_server: RedisServer, server_ledger: Ledger
) -> None:
    """The halted server runs the first copy when it goes on, then the second one."""
    ledger = server_ledger
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 30)
    own_server.stop()
    ledger.settle(hold, 30)
    await until(lambda: not ledger.store.up)
    own_server.proceed()
    assert await ledger.delivered(5)
    assert await accounts(ledger) == (70, 0, 30)


async def test_a_merely_slow_redis_still_serves(
    own_server: RedisServer, server_ledger: Ledger
) -> None:
    """Half a second is late, not lost."""
    ledger = server_ledger
    await know(ledger, 100)
    own_server.command("CLIENT", "PAUSE", "500", "ALL")
    assert await ask(ledger, "a", 30) == Code.DONE
    assert await accounts(ledger) == (100, 30, 0)


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancelled_reserve_leaves_no_hold(ledger: Ledger, store: Store, turns: int) -> None:
    """Whenever its caller leaves: before it was sent, on its way, or with the reply at the door."""
    await know(ledger, 100)
    call = asyncio.create_task(ledger.reserve(Ask("a", 30, Terms(10), "shop", "product")))
    for _ in range(turns):
        await asyncio.sleep(0)
    call.cancel()
    admitted = await asyncio.gather(call, return_exceptions=True)
    assert await ledger.delivered(2)
    held = 30 if isinstance(admitted[0], Admission) else 0
    assert await accounts(ledger) == (100, held, 0)


async def test_cancelled_calls_leave_the_others_alone(ledger: Ledger) -> None:
    """Of 60 reserves under way every third is cancelled; the rest are admitted and held."""
    await know(ledger, 1000)
    calls = [asyncio.create_task(reserve(ledger, f"c{n}", 2)) for n in range(60)]
    await asyncio.sleep(0)
    for call in calls[::3]:
        call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert await ledger.delivered(2)
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 20
    assert await accounts(ledger) == (1000, 80, 0)


async def test_a_script_flush_goes_unnoticed(
    own_server: RedisServer, server_ledger: Ledger
) -> None:
    """A server that forgot the scripts gets their text; each call runs once."""
    ledger = server_ledger
    await know(ledger, 100)
    for _ in range(3):
        assert own_server.command("SCRIPT", "FLUSH").startswith(b"+OK")
        holds = await asyncio.gather(*(reserve(ledger, f"{_}{n}", 2) for n in range(10)))
        assert own_server.command("SCRIPT", "FLUSH").startswith(b"+OK")
        for hold in holds:
            ledger.settle(hold, 1)
        assert await ledger.delivered(2)
    assert await accounts(ledger) == (70, 0, 30)


async def test_a_redis_that_takes_no_writes_admits_nothing_and_loses_nothing(
    own_server: RedisServer, server_ledger: Ledger
) -> None:
    """A replica after a fail-over refuses; resolutions are delivered once it is master again."""
    ledger = server_ledger
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 30)
    assert own_server.command("REPLICAOF", "127.0.0.1", "1").startswith(b"+OK")
    with pytest.raises(LedgerUnavailable):
        await ledger.reserve(Ask("b", 30, Terms(10), "shop", "product"))
    ledger.settle(hold, 30)
    assert not await ledger.delivered(0.05)
    assert own_server.command("REPLICAOF", "NO", "ONE").startswith(b"+OK")
    ledger.deliver()
    assert await ledger.delivered(5)
    assert await accounts(ledger) == (70, 0, 30)


async def test_a_full_redis_admits_nothing_but_still_settles(
    own_server: RedisServer, server_ledger: Ledger
) -> None:
    """Out of memory it refuses new holds before any write; resolutions free what they held."""
    ledger = server_ledger
    await know(ledger, 100)
    holds = [await reserve(ledger, name, 30) for name in "ab"]
    own_server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(LedgerUnavailable):
        await ledger.reserve(Ask("c", 1, Terms(10), "shop", "product"))
    ledger.settle(holds[0], 30)
    ledger.release(holds[1])
    assert await ledger.delivered(5)
    own_server.command("CONFIG", "SET", "maxmemory", "0")
    assert await accounts(ledger) == (70, 0, 30)


async def test_a_server_that_became_a_replica_is_left_by_an_idle_gateway(
    own_server: RedisServer, server_ledger: Ledger, capsys
) -> None:
    """Without a call to be refused it is noticed within a second, and not served from again."""
    ledger = server_ledger
    own_server.command("REPLICAOF", "127.0.0.1", "1")
    demoted_at = Stopwatch()
    await until(lambda: not ledger.store.up)
    assert demoted_at.seconds < 1
    with pytest.raises(AssertionError):
        # Two attempts and more in this time.
        await until(lambda: ledger.store.up, 0.6)
    own_server.command("REPLICAOF", "NO", "ONE")
    await until(lambda: ledger.store.up)
    told = capsys.readouterr().out
    assert told.count("store_down") == 1
    assert "READONLY" in told


async def test_what_ran_before_a_server_was_left_is_heard(
    own_server: RedisServer, server_ledger: Ledger, account: str, ear
) -> None:
    """Of calls in one write the admitted is told so; the refused surely did not run.

    What was written after them, before the refusal came, is waited for.
    """
    await know(server_ledger, 100)
    loop = asyncio.get_running_loop()
    async with SlowRelay(own_server.port, 0.3) as relay:
        store = RedisStore(relay.url, learning_seconds=0)
        await store.open()
        ledger = Ledger(store, account, RULES, ear)
        admitted = asyncio.create_task(reserve(ledger, "a", 30))
        await asyncio.sleep(0)
        demotion, later = loop.create_future(), loop.create_future()
        store._link.send(Command("REPLICAOF", "127.0.0.1", "1", reply=demotion))
        refused = asyncio.create_task(reserve(ledger, "b", 30))
        # Into a write, and so a reply, of its own.
        await until(lambda: own_server.command("ROLE").startswith(b"*5"), every=0.01)
        store._link.send(Command("PING", reply=later))
        ends = await asyncio.gather(admitted, refused, return_exceptions=True)
        assert isinstance(ends[0], Hold)
        assert type(ends[1]) is LedgerUnavailable
        assert (await demotion, await later, ledger.unconfirmed) == (b"OK", b"PONG", 0)
        await until(lambda: not store.up)
        await store.close()


async def test_a_fault_of_one_command_is_its_own(server_ledger: Ledger, account: str) -> None:
    """Whether it fails as it is written or as its reply is read, all others are answered."""
    await know(server_ledger, 100)
    store = server_ledger.store

    class Unreadable(Command):
        def answer(self, reply: object) -> None:
            raise KeyError(reply)

    link, lost = store._link, asyncio.get_running_loop().create_future()
    link.send(Unreadable("PING", reply=lost))
    before, unwritable, after = await asyncio.gather(
        reserve(server_ledger, "a", 30),
        store.run(RESERVE, name_keys(account), lambda: (1 // 0,)),
        reserve(server_ledger, "b", 20),
        return_exceptions=True,
    )
    assert (before.tokens, type(unwritable), after.tokens) == (30, ZeroDivisionError, 20)
    with pytest.raises(ReplyLost):
        await lost
    assert await accounts(server_ledger) == (100, 50, 0)
    assert store._link is link


async def test_a_slow_redis_is_connected_to_as_well(own_server: RedisServer, account, ear) -> None:
    """Half a second late with each reply, from the first on, with password and database."""
    own_server.command("CONFIG", "SET", "requirepass", "s3cret")
    async with SlowRelay(own_server.port, 0.5) as relay:
        store = RedisStore(
            relay.url.replace("://", "://:s3cret@").replace("/0", "/1"), learning_seconds=0
        )
        await store.open()
        assert store.up
        ledger = Ledger(store, account, RULES, ear)
        await know(ledger, 100)
        assert await ask(ledger, "a", 30) == Code.DONE
        await store.close()


async def test_a_socket_leads_to_the_same_ledger(
    own_server: RedisServer, server_ledger: Ledger, account: str, ear
) -> None:
    """unix:// is another way to the same server."""
    await know(server_ledger, 100)
    own_server.options = ("--unixsocket", str(own_server.folder / "s"))
    own_server.restart()
    store = RedisStore(f"unix://{own_server.folder}/s", learning_seconds=0)
    await store.open()
    await until(lambda: server_ledger.store.up)
    other = Ledger(store, account, RULES, ear)
    await know(other, 80)
    assert (await accounts(server_ledger))[0] == 80
    await store.close()


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections whose kernel takes less than a greeting has."""
    transport = selector_events._SelectorSocketTransport
    make = transport.__init__

    def make_small(self, loop, sock, *arguments, **how) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        make(self, loop, sock, *arguments, **how)

    monkeypatch.setattr(transport, "__init__", make_small)


@pytest.mark.skipif(not IS_THERE, reason=NO_PROC)
@pytest.mark.usefixtures("small_buffers")
@pytest.mark.long
async def test_a_greeting_that_is_never_taken_leaves_no_connection_behind(account: str) -> None:
    """A Redis that hangs from the first byte on: each attempt ends with its descriptor."""
    with socket.socket() as hung:
        hung.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        hung.bind(("127.0.0.1", 0))
        hung.listen()
        before = own_descriptors()
        store = RedisStore(f"redis://127.0.0.1:{hung.getsockname()[1]}/0", account)
        await store.open()
        assert store.trouble == "TimeoutError"
        await asyncio.sleep(1.2)
        assert own_descriptors() <= before + 1
        await store.close()
        assert own_descriptors() == before
