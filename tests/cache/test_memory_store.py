"""The memory store: within its bound, whatever is kept; what was wanted longest ago gives way."""

import tracemalloc

from cache.kept import NAMES, entry
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cache.entries import Head, Kind, Packed
from gateway.cache.memory import OVERHEAD_BYTES, MemoryStore
from gateway.cache.store import Entry


def filled(name, size, life_ms=60_000):
    """An entry of that many bytes, in objects of its own as a real one has."""
    head = Head(
        Kind.PRODUCT, 1, life_ms + 0, int(f"{size + 300}"), int(f"{size + 999}"), size + 70_000
    )
    return Entry(name, head, Packed(bytes(size), size + 500, size + 100_000))


async def test_within_five_percent_of_its_bound():
    """What a full store takes of memory is what it says, for small entries and for large ones."""
    for size in (1_000, 80_000):
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            limit = 3_000_000
            store = MemoryStore(limit)
            for number in range(limit // size + 9):
                name = f"p:0123456789abcdef:1:B{number:09d}"
                await store.keep([filled(name, size)])
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert store.evicted > 0
        assert limit - size - OVERHEAD_BYTES <= store.size <= limit
        assert 0.95 * store.size <= taken <= 1.05 * limit, (size, taken / store.size)


async def test_what_was_wanted_longest_ago_gives_way():
    """To be looked at counts as to be read."""
    store = MemoryStore(3 * (100 + OVERHEAD_BYTES))
    for name in "abc":
        await store.keep([filled(name, 100)])
    await store.look(["a"])
    await store.read(["b"])
    await store.keep([filled("d", 100)])
    assert [bool(kept) for kept in await store.look(list("abcd"))] == [True, True, False, True]
    assert (store.evicted, len(store)) == (1, 3)


async def test_what_is_over_is_no_loss():
    """An entry whose life had ended gives way uncounted, and takes no room once it was missed."""
    now = [0.0]
    store = MemoryStore(2 * (100 + OVERHEAD_BYTES), lambda: now[0])
    await store.keep([filled("a", 100, life_ms=1000), filled("b", 100)])
    now[0] = 1.0
    await store.keep([filled("c", 100)])
    assert store.evicted == 0
    assert [bool(kept) for kept in await store.look(list("abc"))] == [False, True, True]


async def test_what_is_larger_than_all_of_it():
    """It is not kept, what was there under its name neither, and all else stays."""
    store = MemoryStore(10_000)
    await store.keep([filled("a", 100), filled("b", 100)])
    await store.keep([filled("a", 20_000)])
    assert [bool(kept) for kept in await store.look(["a", "b"])] == [False, True]
    assert store.size == 100 + OVERHEAD_BYTES


async def test_ages_by_its_own_clock():
    """An entry is as old as it was when it was written, and what has passed."""
    now = [100.0]
    store = MemoryStore(100_000, lambda: now[0])
    await store.keep([entry(age_ms=1500)])
    now[0] += 20
    assert (await store.look(NAMES[:1]))[0].age == 21.5
    now[0] += 39.999
    assert (await store.read(NAMES[:1]))[0]
    now[0] += 0.001
    assert await store.look(NAMES[:1]) == [None]
    assert (len(store), store.size) == (0, 0)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(0, 3000), st.integers(0, 2000)),
        max_size=40,
    )
)
async def test_its_sum_is_right(moves):
    """Whatever is kept, kept again, evicted or over: the size is that of what is there."""
    now = [0.0]
    store = MemoryStore(8_000, lambda: now[0])
    for name, size, life_ms in moves:
        now[0] += 0.3
        await store.keep([filled(name, size, life_ms)])
        await store.look(["a", "b"])
        assert store.size == sum(place.size for place in store._places.values()) <= 8_000
    await store.close()
    assert (store.size, len(store)) == (0, 0)
