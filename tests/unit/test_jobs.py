"""Background jobs are started again where they crash, and given up where that does not help."""

import asyncio
import itertools
import time

import pytest
from support.waiting import until

from gateway.jobs import CRASHES_AT_MOST, in_background


async def _return() -> None:
    pass


async def _raise() -> None:
    raise ValueError


async def _hear_of_a_cancelled_task() -> None:
    task = asyncio.create_task(asyncio.sleep(1))
    task.cancel()
    await task


async def _fail_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_raise())


class Watched:
    """A job that ends in its way a few times, then runs; and what was heard of it."""

    def __init__(self, ending, times: float) -> None:
        self.starts: list[float] = []
        self.restarts: list[str] = []
        self.given_up = 0
        self.is_running = False
        self.was_cancelled = False
        self._ending = ending
        self._times = times

    async def run(self) -> None:
        self.starts.append(time.monotonic())
        if len(self.starts) <= self._times:
            await self._ending()
            return
        self.is_running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.was_cancelled = True

    def give_up(self) -> None:
        self.given_up += 1

    def started(self):
        return in_background({"job": self.run}, self.restarts.append, self.give_up)


@pytest.mark.parametrize("ending", [_return, _raise, _hear_of_a_cancelled_task, _fail_in_a_group])
async def test_a_job_that_ends_is_started_again(ending):
    """However it ended; the end of the block ends it for good."""
    job = Watched(ending, 2)
    async with job.started():
        await until(lambda: job.is_running)
    assert (job.restarts, job.given_up, job.was_cancelled) == (["job", "job"], 0, True)


@pytest.mark.long
async def test_a_job_that_keeps_crashing_is_given_up_and_goes_on():
    """The fifth crash of a minute says that the process has to end; each pause is longer."""
    job = Watched(_raise, CRASHES_AT_MOST)
    async with job.started():
        await until(lambda: len(job.starts) == CRASHES_AT_MOST)
        await until(lambda: job.given_up)
        assert job.given_up == 1
        # For calls in flight, until the process has ended.
        await until(lambda: job.is_running)
    pauses = [after - before for before, after in itertools.pairwise(job.starts)]
    assert pauses == sorted(pauses)
    assert 0.2 < pauses[0] < pauses[-1] / 4


async def test_other_jobs_do_not_notice():
    """One that crashes for ever leaves the others as they are."""
    bad, good = Watched(_raise, 1000), Watched(_raise, 0)
    jobs = {"bad": bad.run, "good": good.run}
    async with in_background(jobs, bad.restarts.append, bad.give_up):
        await until(lambda: len(bad.restarts) == 2)
        assert good.is_running
        assert not good.was_cancelled
    assert len(good.starts) == 1
