"""What dashboards are shown beside the ledger is one for all gateways, and bounded."""

import hashlib
import time

import pytest
from support.ledger.calls import know

from gateway.errors import LedgerUnavailable
from gateway.ledger import Chronicle, EmbeddedStore, RedisStore
from gateway.ledger.scripts import Script, name_chronicle_keys

_TEXT = "redis.call(ARGV[3], KEYS[tonumber(ARGV[4])], unpack(ARGV, 5)) return {}"
COMMAND = Script("command", _TEXT, hashlib.sha1(_TEXT.encode()).hexdigest())
SAMPLES, PRESENT = 1, 3


@pytest.fixture
def chronicle(store, account):
    return Chronicle(store, account)


async def do(store, account, command, key, *arguments):
    """Run one command on a key of the chronicle's, as an earlier time may have left it."""
    if isinstance(store, EmbeddedStore):
        await store._client.script_load(COMMAND.text)
    await store.run(COMMAND, name_chronicle_keys(account), lambda: (command, key, *arguments))


async def test_first_of_all_gateways_brings_the_sample(store, account, ledger, chronicle):
    """Of several samples in the same ten seconds one is kept, whoever brings it."""
    await know(ledger, 500)
    balance = (await ledger.overview()).balance
    other = Chronicle(store, account)
    began_at = time.time()
    for visitor in (chronicle, other, chronicle):
        await visitor.visit(sample=(balance, 7))
    samples = (await other.visit(samples=True)).samples
    # The ten seconds may have ended meanwhile.
    assert 1 <= len(samples) <= 1 + (time.time() - began_at) // 10 + 1
    assert samples[0][1:] == (500, 0, 7)
    assert samples[0].at % 10 == 0
    assert abs(samples[0].at - time.time()) < 15


async def test_unknown_balance_is_kept_as_unknown(ledger, chronicle):
    """Before any observation a sample has no balance, which is not 0."""
    look = await ledger.overview()
    told = await chronicle.visit(sample=(look.balance, look.used), samples=True)
    assert told.samples[0][1:] == (None, 0, 0)


async def test_samples_are_bounded(store, account, ledger, chronicle):
    """However long gateways run, four hundred samples are kept: the newest."""
    old = [f"{at}|1|0|0" for at in range(1000, 1450)]
    await do(store, account, "LPUSH", SAMPLES, *old)
    look = await ledger.overview()
    samples = (await chronicle.visit(sample=(look.balance, 0), samples=True)).samples
    assert len(samples) == 400
    assert samples[0].at > 1_000_000
    assert samples[1].at == 1449


async def test_samples_are_told_only_where_asked_for(ledger, chronicle):
    """A visit that does not ask for the last hour is spared it."""
    look = await ledger.overview()
    assert not (await chronicle.visit(sample=(look.balance, 0))).samples


async def test_refusals_of_all_gateways_newest_first(store, account, chronicle):
    """Each gateway is told what was refused anywhere, with the time of the store's clock."""
    other = Chronicle(store, account)
    await chronicle.visit(refusals=[(900, "one"), (300, "two")])
    told = await other.visit(refusals=[(0, "three | with a bar")])
    assert [text for _, text in told.refusals] == ["three | with a bar", "two", "one"]
    now_ms = time.time() * 1000
    ages = [now_ms - at for at, _ in told.refusals]
    assert 0 <= ages[0] < 5000
    assert 300 <= ages[1] < 5300


async def test_refusal_brought_twice_is_kept_once(chronicle):
    """A visit whose reply was lost is repeated without doubling what it brought."""
    for _ in range(2):
        told = await chronicle.visit(refusals=[(5, "same"), (0, "other")])
    assert [text for _, text in told.refusals] == ["other", "same"]


async def test_refusals_are_bounded(chronicle):
    """However many calls are refused, the newest fifty are kept."""
    for first in range(0, 120, 40):
        batch = [(0, f"refusal {number}") for number in range(first, first + 40)]
        told = await chronicle.visit(refusals=batch)
    assert [text for _, text in told.refusals] == [f"refusal {n}" for n in range(119, 69, -1)]


async def test_gateways_present_are_counted(store, account, chronicle):
    """A gateway that comes by is present; one that stayed away for half a minute is not."""
    assert (await chronicle.visit()).gateways == 1
    assert (await Chronicle(store, account).visit()).gateways == 2
    assert (await chronicle.visit()).gateways == 2
    half_a_minute_ago = int((time.time() - 30) * 1_000_000)
    await do(store, account, "ZADD", PRESENT, half_a_minute_ago, "gone")
    assert (await chronicle.visit()).gateways == 2


async def test_each_account_has_its_own(store, account, chronicle):
    """Two accounts on one store do not see each other's."""
    await chronicle.visit(refusals=[(0, "mine")])
    assert not (await Chronicle(store, f"{account}-other").visit()).refusals


async def test_a_store_away_is_told(own_server):
    """Without the store nothing is kept, and the caller hears of it."""
    store = RedisStore(own_server.url, learning_seconds=0)
    await store.open()
    chronicle = Chronicle(store, "gone")
    await chronicle.visit()
    own_server.kill()
    with pytest.raises(LedgerUnavailable):
        await chronicle.visit(refusals=[(0, "lost")])
    await store.close()
