"""A coroutine that runs from where its data comes, and becomes a task where it awaits else."""

import asyncio

import pytest

from gateway.lane import Lane, Pause, current, in_task


class Ended:
    """What a lane told of its coroutine's end."""

    def __init__(self):
        self.ends = []
        self.lane = Lane(lambda value, failure: self.ends.append((value, failure)))


@pytest.fixture
def ended():
    return Ended()


async def test_runs_at_once_and_is_resumed_by_who_sets_the_pause(ended):
    """Without any turn of the event loop."""
    pause = Pause()

    async def work():
        return await pause + 1

    ended.lane.begin(work())
    assert ended.lane.is_busy
    pause.set_result(1)
    assert ended.ends == [(2, None)]
    assert not ended.lane.is_busy


async def test_a_pause_that_is_over_is_passed(ended):
    """What was set before it is awaited is there, a failure too."""
    there, failed = Pause(), Pause()
    there.set_result(1)
    failed.set_exception(OSError("gone"))

    async def work():
        with pytest.raises(OSError, match="gone"):
            await failed
        return await there

    ended.lane.begin(work())
    assert ended.ends == [(1, None)]


async def test_a_failure_ends_it(ended):
    """What the coroutine raises is told, as it is."""
    pause = Pause()

    async def work():
        await pause

    ended.lane.begin(work())
    pause.set_exception(ValueError("x"))
    [(value, failure)] = ended.ends
    assert value is None
    assert isinstance(failure, ValueError)


async def test_becomes_a_task_where_it_awaits_else(ended):
    """A time-out needs one; behind it, a pause waits in a task as well."""
    pause = Pause()

    async def work():
        await in_task()
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
            return await pause

    ended.lane.begin(work())
    assert not ended.ends
    asyncio.get_running_loop().call_later(0.01, pause.set_result, 7)
    while ended.lane.is_busy:
        await asyncio.sleep(0)
    assert ended.ends == [(7, None)]


async def test_cancelled_at_its_pause(ended):
    """It hears a CancelledError at once; what is set after that is nobody's."""
    pause, seen = Pause(), []

    async def work():
        try:
            await pause
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    ended.lane.begin(work())
    ended.lane.cancel()
    assert seen == ["cancelled"]
    assert isinstance(ended.ends[0][1], asyncio.CancelledError)
    pause.set_result(1)
    assert len(ended.ends) == 1


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_cancelled_as_a_task(ended, turns):
    """Also before the task has taken its first step: no work is left half done."""
    seen = []

    async def work():
        try:
            await asyncio.sleep(10)
        finally:
            # What ends it may wait itself.
            await asyncio.sleep(0)
            seen.append("ended")

    ended.lane.begin(work())
    for _ in range(turns):
        await asyncio.sleep(0)
    ended.lane.cancel()
    while ended.lane.is_busy:
        await asyncio.sleep(0)
    assert seen == ["ended"]
    assert isinstance(ended.ends[0][1], asyncio.CancelledError)


async def test_a_cancel_that_is_taken_back(ended):
    """Who cancels to bring an end of its own can go on."""

    async def work():
        run = current()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            run.uncancel()
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return "late"

    ended.lane.begin(work())
    await asyncio.sleep(0)
    ended.lane.cancel()
    while ended.lane.is_busy:
        await asyncio.sleep(0)
    assert ended.ends == [("late", None)]


async def test_one_after_the_other(ended):
    """A lane takes the next coroutine when the one before has ended, also from where it ends."""

    async def work(value):
        return value

    for value in range(3):
        ended.lane.begin(work(value))
    ended.lane.begin_in_task(work(3))
    while ended.lane.is_busy:
        await asyncio.sleep(0)
    assert ended.ends == [(value, None) for value in range(4)]


async def test_lanes_inside_each_other():
    """Who sets a pause may itself run in a lane: each goes on where it was."""
    order, pause = [], Pause()

    async def inner():
        order.append("inner waits")
        await pause
        order.append("inner goes on")

    async def outer():
        order.append("outer sets")
        pause.set_result(None)
        order.append("outer goes on")
        await asyncio.sleep(0)

    first, second = Ended(), Ended()
    first.lane.begin(inner())
    second.lane.begin(outer())
    assert order == ["inner waits", "outer sets", "inner goes on", "outer goes on"]
    while second.lane.is_busy:
        await asyncio.sleep(0)
    assert second.ends == [(None, None)]
