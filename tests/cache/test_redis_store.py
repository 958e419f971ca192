"""A Redis that is away, slow, full, emptied or tampered with costs entries, never a call."""

import asyncio

import pytest
from cache.kept import NAMES, entry
from support.measure.stopwatch import Stopwatch
from support.waiting import until

from gateway.cache.entries import Packed
from gateway.cache.redis import RedisStore
from gateway.settings.redis_url import BadRedisUrl

KEY = "keepa-gateway-cache:{}:" + NAMES[0]


@pytest.fixture
async def open_store(account):
    """Return what opens stores of one account on a server; a busy machine may answer late."""
    stores = []

    async def open_store(server, look_seconds=5.0):
        store = RedisStore(server.url, account, look_seconds=look_seconds, left_alone_seconds=0.2)
        stores.append(store)
        await store.open()
        return store

    yield open_store
    for store in stores:
        await store.close()


async def test_gateways_share_it(redis_server, open_store, account):
    """What one keeps another finds, under keys that show no secret; leases hold between them."""
    one, other = await open_store(redis_server), await open_store(redis_server)
    await one.keep([entry()])
    assert (await other.look(NAMES))[0].head == entry().head
    assert await one.lease(NAMES[:1], "one-1", 5000) == {NAMES[0]}
    assert await other.lease(NAMES[:1], "other-1", 5000) == set()
    lease = redis_server.command("GET", f"keepa-gateway-cache:{account}:l:{NAMES[0]}")
    assert lease.endswith(b"one-1\r\n")
    pttl = int(redis_server.command("PTTL", KEY.format(account))[1:])
    assert 50_000 < pttl <= 60_000


@pytest.mark.parametrize(
    "url", ["redis+sentinel://h:1/mymaster/0", "redis+cluster://h:1", "http://h", ""]
)
async def test_it_is_one_server(url):
    """Sentinels and clusters are for what may not be lost."""
    with pytest.raises(BadRedisUrl):
        RedisStore(url, "account")


async def test_another_account_has_its_own(redis_server, open_store):
    """The same question of another account is another entry."""
    await (await open_store(redis_server)).keep([entry()])
    stranger = RedisStore(redis_server.url, "another", look_seconds=5)
    assert await stranger.look(NAMES) == [None, None]
    await stranger.close()


async def test_what_is_damaged_is_deleted(redis_server, open_store, account):
    """Cut, changed or foreign values are missing, and gone the next time; a prolonged one, too."""
    store, key = await open_store(redis_server), KEY.format(account)
    for tamper in (
        ("SETRANGE", key, "50", "x"), ("SETRANGE", key, "3", "x"), ("SET", key, "short"),
        ("APPEND", key, "x"),
    ):  # fmt: skip
        await store.keep([entry()])
        assert not redis_server.command(*tamper).startswith(b"-")
        redis_server.command("PEXPIRE", key, "50000")
        assert await store.read(NAMES[:1]) == [None]
        assert redis_server.command("EXISTS", key) == b":0\r\n"
        assert store.up
    await store.keep([entry()])
    for prolonged in (("PERSIST", key), ("PEXPIRE", key, "99999999")):
        redis_server.command(*prolonged)
        assert await store.look(NAMES[:1]) == await store.read(NAMES[:1]) == [None]


async def test_an_emptied_one_has_nothing(own_server, open_store):
    """Nothing is found, which is no fault; leases are given anew."""
    store = await open_store(own_server)
    await store.keep([entry()])
    await store.lease(NAMES[:1], "one", 5000)
    own_server.command("FLUSHALL")
    assert await store.look(NAMES) == [None, None]
    assert await store.renew(NAMES[:1], "one", 5000) == set()
    assert await store.lease(NAMES[:1], "two", 5000) == {NAMES[0]}
    assert store.up


async def test_one_that_is_away_is_left_alone(own_server, open_store):
    """At once as if nothing were there, and everything may be led; found again when it is back."""
    store = await open_store(own_server)
    await store.keep([entry()])
    own_server.kill()
    assert await store.look(NAMES) == [None, None]
    assert not store.up
    assert await store.lease(NAMES, "one", 5000) == set(NAMES)
    assert await store.read(NAMES) == [None, None]
    await store.keep([entry()])
    await store.drop(NAMES, "one")
    own_server.start()
    await until(lambda: store.up)
    await store.keep([entry()])
    assert (await store.look(NAMES))[0]


async def test_one_that_is_away_from_the_start(own_server, open_store):
    """It is no reason not to start, and is used as soon as it is there."""
    own_server.kill()
    store = await open_store(own_server)
    assert not store.up
    assert await store.look(NAMES) == [None, None]
    own_server.start()
    await until(lambda: store.up)


async def test_one_that_hangs_costs_a_moment_once(own_server, open_store):
    """However many look, each waits its time at most; no late reply is taken for another's."""
    store = await open_store(own_server, look_seconds=0.5)
    await store.keep([entry()])
    own_server.stop()
    watch = Stopwatch()
    looks = await asyncio.gather(*(store.look(NAMES) for _ in range(12)))
    assert looks == [[None, None]] * 12
    assert not store.up
    assert await store.look(NAMES) == [None, None]
    assert watch.seconds < 1.5
    own_server.proceed()
    await until(lambda: store.up)
    assert (await store.look(NAMES[::-1]))[1].head == entry().head
    assert await store.look(NAMES[1:]) == [None]


async def test_one_that_is_full_keeps_nothing(own_server, open_store):
    """A Redis that may not evict refuses, and is left alone."""
    store = await open_store(own_server)
    for number in range(3):
        large = Packed(bytes(2_000_000), 1, 1)
        await store.keep([entry(f"{NAMES[0]}{number}")._replace(body=large)])
    assert not store.up
