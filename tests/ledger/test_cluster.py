"""The ledger in a cluster: on the node of its slot, wherever that is moved."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from redis.crc import key_slot
from support.ledger.calls import accounts, know, observed, reserve, settle
from support.redis.group import Cluster, say
from support.redis.server import RedisServer, lend
from support.waiting import until, within

from gateway.errors import LedgerUnavailable
from gateway.ledger import Alarms, Ask, Code, Ledger, RedisStore, Rules, Sighting, Terms
from gateway.ledger.scripts import name_keys

RULES = Rules(150, 0, 1, 60, 300)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    yield from lend(Cluster, tmp_path_factory.mktemp("cluster"))


@pytest.fixture
async def open_at(ear):
    """Return a maker of ledgers, each like one gateway's, on stores of their own."""
    stores = []

    async def make(url: str, account: str, *, told: bool = True) -> Ledger:
        store = RedisStore(url, account if told else "", learning_seconds=0)
        stores.append(store)
        await store.open()
        # On a busy machine a node may take too long to answer the first time.
        await until(lambda: store.up)
        return Ledger(store, account, RULES, ear)

    yield make
    for store in stores:
        await store.close()


def slot_of(account: str) -> int:
    return key_slot(name_keys(account)[0].encode())


@pytest.mark.parametrize("number", range(4))
async def test_each_ledger_is_on_the_node_of_its_slot(
    cluster: Cluster, open_at: Callable, number: int
) -> None:
    """Whichever node is asked, all keys are found where the cluster has them, at once."""
    account = f"slot{number}"
    ledger = await open_at(cluster.url, account)
    await know(ledger, 100)
    await settle(ledger, await reserve(ledger, "a", 30), 30)
    await reserve(ledger, "b", 20)
    assert await accounts(ledger) == (70, 20, 30)
    owner = cluster.owner(slot_of(account))
    assert say(owner, "EXISTS", *name_keys(account)) == 5
    one_seed = f"redis+cluster://127.0.0.1:{cluster.nodes[number % 3].port}"
    assert await accounts(await open_at(one_seed, account)) == (70, 20, 30)


async def test_a_node_is_learned_from_another_nodes_word(
    cluster: Cluster, open_at: Callable
) -> None:
    """A store that was not told the account follows MOVED, whatever slot that names."""
    for account in ("moved1", "moved2", "moved3", "moved4"):
        ledger = await open_at(cluster.url, account, told=False)
        await until(lambda ledger=ledger: answers(ledger), 2)
        await know(ledger, 100)


async def answers(ledger: Ledger) -> bool:
    try:
        await ledger.overview()
    except LedgerUnavailable:
        return False
    return True


async def test_a_slot_that_moves_under_calls_loses_nothing(
    cluster: Cluster, open_at: Callable
) -> None:
    """Whatever ran on either node counts once: every hold ends, every settled token is gone.

    A call that meets the move is sent again where the slot is.
    """
    account = "mover"
    first, second = [await open_at(cluster.url, account) for _ in range(2)]
    await know(first, 1000)
    slot = slot_of(account)
    source = cluster.owner(slot)
    target = next(node for node in cluster.nodes if node is not source)
    admitted = 0
    moved = asyncio.Event()

    async def call(ledger: Ledger, name: str) -> None:
        nonlocal admitted
        try:
            admission = await ledger.reserve(Ask(name, 1, Terms(10), "shop", "product"))
        except LedgerUnavailable:
            # A refusal takes no time: the connection has to get a turn.
            await asyncio.sleep(0.001)
            return
        if admission.code == Code.UNKNOWN:
            # As the observer does: once for each new epoch, whoever has the turn.
            turn = await ledger.claim()
            if turn.code == Code.DONE:
                await ledger.observe(turn, observed(1000 - admitted))
            return
        assert admission.hold
        admitted += 1
        await asyncio.sleep(0.01)
        ledger.settle(admission.hold, 1)

    async def keep_calling(ledger: Ledger, name: str) -> None:
        n = 0
        while not moved.is_set() or n < 20:
            n += 1
            await call(ledger, f"{name}{n}")

    async with within(30):
        callers = [
            asyncio.create_task(keep_calling(ledger, name))
            for ledger, name in ((first, "a"), (first, "b"), (second, "c"))
        ]
        await until(lambda: admitted > 20)
        await asyncio.to_thread(cluster.move, slot, source, target)
        before = admitted
        await until(lambda: admitted > before + 20)
        moved.set()
        await asyncio.gather(*callers)
    assert await first.delivered(2)
    assert await second.delivered(2)
    look = await second.overview()
    assert (look.balance.held, look.used) == (0, admitted)
    assert say(target, "EXISTS", name_keys(account)[0]) == 1
    assert first._epoch == second._epoch


def ends_of(cluster: Cluster, account: str) -> tuple[RedisServer, RedisServer]:
    """The node that has the account's slot, and another one."""
    source = cluster.owner(slot_of(account))
    return source, next(node for node in cluster.nodes if node is not source)


async def test_calls_wait_while_their_slot_migrates(cluster: Cluster, open_at: Callable) -> None:
    """Before the first key has gone, between two keys, before the slot is named: none is refused.

    Half of a script's keys on each node run nothing on either; each call runs once.
    """
    account = "migrant"
    ledger = await open_at(cluster.url, account)
    await know(ledger, 1000)
    await settle(ledger, await reserve(ledger, "first", 1), 1)
    slot, (source, target) = slot_of(account), ends_of(cluster, account)
    steps = (
        lambda: cluster.begin_move(slot, source, target),
        lambda: cluster.move_keys(slot, source, target, 2),
        lambda: cluster.move_keys(slot, source, target),
        lambda: cluster.end_move(slot, source, target),
    )
    calls = []
    for number, step in enumerate(steps):
        step()
        calls += [
            asyncio.create_task(
                ledger.reserve(Ask(f"{number}-{n}", 1, Terms(10), "shop", "product"))
            )
            for n in range(3)
        ]
        await asyncio.sleep(0.06)
    answers = await asyncio.gather(*calls)
    # Those that ran after the move met a server of another life, where nothing is known yet.
    held = sum(answer.code == Code.DONE for answer in answers)
    assert {answer.code for answer in answers} <= {Code.DONE, Code.UNKNOWN}
    look = await ledger.overview()
    assert (look.balance.held, look.used) == (held, 1)
    await know(ledger, 1000)
    assert (await reserve(ledger, "last", 1)).tokens == 1


async def test_what_has_gone_is_asked_for_where_it_went(
    cluster: Cluster, open_at: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    """A migration that stops before its end: what is whole on the other node runs there."""
    account = "stuck"
    ledger = await open_at(cluster.url, account)
    slot, (source, target) = slot_of(account), ends_of(cluster, account)
    alarms = Alarms(ledger.store, account)
    cluster.begin_move(slot, source, target)
    began = await alarms.agree("a", Sighting(0.0), quiet_seconds=9, believed=False)
    assert began.to_post is True
    assert say(source, "CLUSTER", "COUNTKEYSINSLOT", slot) == 0
    assert say(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == 1
    # Its connection ends when it is idle, and another one is made.
    await asyncio.sleep(1.2)
    await asyncio.gather(
        *(alarms.agree("a", Sighting(0.0), quiet_seconds=9, believed=False) for _ in range(50))
    )
    cluster.end_move(slot, source, target)
    await alarms.note_post("a", is_on=True, pause_seconds=0)
    agreed = await alarms.agree("a", Sighting(0.0), quiet_seconds=9, believed=True)
    assert agreed.told is True
    assert "script_refused" not in capsys.readouterr().out


async def test_a_node_that_dies_is_waited_for(cluster: Cluster, open_at: Callable) -> None:
    """Without a replica the ledger is away with its node, and is found when it is back."""
    account = "waiter"
    ledger = await open_at(cluster.url, account)
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 30)
    owner = cluster.owner(slot_of(account))
    owner.kill()
    await until(lambda: not ledger.store.up)
    ledger.settle(hold, 30)
    assert not await ledger.delivered(1)
    owner.start()
    assert await ledger.delivered(15)
    assert (await ledger.overview()).used == 30
    assert (await ledger.overview()).balance.held == 0
