"""What every store of entries does: keep them for their life, tell their age, give out leases."""

import asyncio
import math

from cache.kept import LONG, NAMES, entry
from support.waiting import until

from gateway.cache.entries import Kind


async def test_what_is_kept_is_found(store):
    """Head and body as they were written, and the age they had then; what is not there is not."""
    kept = entry(hours=math.inf, data_age=None)
    await store.keep([kept, entry(LONG, b"\x89PNG", kind=Kind.PICTURE)])
    first, missing, whole = await store.look([NAMES[0], NAMES[1], LONG])
    assert missing is None
    assert first.head == kept.head
    assert 0.25 <= first.age < 10
    assert whole.head.kind is Kind.PICTURE
    again, nothing = await store.read(NAMES)
    assert nothing is None
    assert again[0].head == kept.head
    assert again[1] == kept.body
    assert again[0].age >= first.age


async def test_many_at_once(store):
    """A call of a hundred products is looked up and read in its order."""
    names = [f"p:0123456789abcdef:1:B{n:09d}" for n in range(100)]
    await store.keep([entry(name, name.encode()) for name in names[::2]])
    looked = await store.look(names)
    assert [kept is not None for kept in looked] == [n % 2 == 0 for n in range(100)]
    read = await store.read(names[::-2][::-1] + names[::2])
    assert read[:50] == [None] * 50
    assert [b"".join(found[1].unpack()).decode() for found in read[50:]] == names[::2]
    assert await store.look([]) == await store.read([]) == []


async def test_an_entry_ends_with_its_life(store):
    """Nothing is found of it then; one that has no life to begin with is never there."""
    await store.keep([entry(life_ms=80), entry(NAMES[1], life_ms=0)])
    assert (await store.look(NAMES))[1] is None

    async def is_gone():
        return await store.look(NAMES[:1]) == await store.read(NAMES[:1]) == [None]

    await until(is_gone)


async def test_age_goes_on(store):
    """Since it was written as much as the clock says, added to what it was then."""
    await store.keep([entry(age_ms=1000)])
    await asyncio.sleep(0.05)
    (kept,) = await store.look(NAMES[:1])
    assert 1.045 <= kept.age < 11


async def test_the_newest_counts(store):
    """What is kept again takes the place of what was there."""
    await store.keep([entry(text=b"old")])
    await store.keep([entry(text=b"new", age_ms=0)])
    ((kept, body),) = await store.read(NAMES[:1])
    assert b"".join(body.unpack()) == b"new"
    assert kept.head.age_ms == 0


async def test_a_lease_is_one_owners(store):
    """Of all who ask one gets it; the others when it has ended it, or never renewed it."""
    assert await store.lease(NAMES[:1], "a-1", 5000) == {NAMES[0]}
    assert await store.lease(NAMES, "b-1", 5000) == {NAMES[1]}
    assert await store.renew(NAMES, "a-1", 5000) == {NAMES[0]}
    await store.drop(NAMES, "a-1")
    assert await store.renew(NAMES, "b-1", 5000) == {NAMES[1]}
    assert await store.lease(NAMES, "c-1", 5000) == {NAMES[0]}
    # Both are safe to run twice.
    await store.drop(NAMES, "a-1")
    assert await store.renew(NAMES, "c-1", 5000) == {NAMES[0]}


async def test_a_lease_that_nobody_renews_ends(store):
    """A gateway that dies holds nobody up for longer than its lease."""
    assert await store.lease(NAMES[:1], "dead", 60) == {NAMES[0]}

    async def is_free():
        return await store.lease(NAMES[:1], "next", 5000)

    assert await until(is_free) == {NAMES[0]}
    assert await store.renew(NAMES[:1], "dead", 5000) == set()
    await store.drop(NAMES[:1], "dead")
    assert await store.renew(NAMES[:1], "next", 5000) == {NAMES[0]}


async def test_one_of_a_crowd_leads(store):
    """However many ask at once."""
    owners = [f"gateway-{n}" for n in range(20)]
    obtained = await asyncio.gather(*(store.lease(NAMES, owner, 5000) for owner in owners))
    assert sorted(name for names in obtained for name in names) == NAMES
