"""Slots to Keepa: so many calls at once, so many waiting, in the order they came."""

import asyncio

import pytest

from gateway.errors import Overloaded
from gateway.keepa.upstream import Slots


async def hold(slots, order, name, over):
    async with slots:
        order.append(name)
        await over.wait()


async def test_first_come_first_served_and_bounded():
    """Calls get their turn in the order they came; beyond the queue they are refused at once."""
    slots, order, over = Slots(1, 3), [], asyncio.Event()
    calls = [asyncio.create_task(hold(slots, order, name, over)) for name in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded), slots.on_the_way:
        pass
    with pytest.raises(Overloaded):
        async with slots:
            pass
    over.set()
    await asyncio.gather(*calls)
    assert order == [0, 1, 2, 3]
    with slots.on_the_way:
        pass


async def test_call_that_stops_waiting_leaves_its_place():
    """A cancelled call gives its place in the queue to another, and no slot is lost."""
    slots, order, over = Slots(1, 1), [], asyncio.Event()
    first = asyncio.create_task(hold(slots, order, "first", over))
    await asyncio.sleep(0)
    for _ in range(5):
        waiting = asyncio.create_task(hold(slots, order, "waiting", over))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded), slots.on_the_way:
            pass
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        with slots.on_the_way:
            pass
    over.set()
    await first
    await hold(slots, order, "last", over)
    assert order == ["first", "last"]


async def test_place_is_kept_for_a_call_on_its_way():
    """A call that is not admitted yet has its place; one that is refused gives it back."""
    slots = Slots(2, 0)
    with slots.on_the_way, slots.on_the_way, pytest.raises(Overloaded), slots.on_the_way:
        pass
    with pytest.raises(ZeroDivisionError), slots.on_the_way:
        _ = 1 / 0
    with slots.on_the_way, slots.on_the_way:
        pass
    async with slots, slots:
        with pytest.raises(Overloaded), slots.on_the_way:
            pass
    with slots.on_the_way:
        pass
