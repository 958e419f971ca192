"""When the circuit to Keepa opens, who may try it again, and what closes it."""

import asyncio

import pytest

from gateway.breaker import Breaker, State
from gateway.errors import CircuitOpen, UpstreamUnreachable

COOLDOWN_SECONDS = 0.02


class Question:
    """The free question: fails while told to, or takes until it is let go."""

    def __init__(self):
        self.fails = False
        self.asked = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self):
        self.asked += 1
        await self.may_end.wait()
        if self.fails:
            raise UpstreamUnreachable


@pytest.fixture
def question():
    return Question()


@pytest.fixture
def breaker(question):
    return Breaker(3, COOLDOWN_SECONDS, question)


async def open_it(breaker, *, cool=True):
    for _ in range(3):
        breaker.fail(is_probe=False)
    if cool:
        await asyncio.sleep(2 * COOLDOWN_SECONDS)


def test_failures_in_a_row_open_it(breaker):
    """It opens at the last of so many failures in a row, not before."""
    breaker.fail(is_probe=False)
    breaker.fail(is_probe=False)
    assert breaker.is_closed
    breaker.fail(is_probe=False)
    assert breaker.state is State.OPEN


def test_an_answer_between_failures_starts_the_count_anew(breaker):
    """Failures count in a row only."""
    for _ in range(5):
        breaker.fail(is_probe=False)
        breaker.fail(is_probe=False)
        breaker.succeed(is_probe=False)
    assert breaker.is_closed


async def test_open_circuit_tells_when_the_probe_is_due(question):
    """While it cools down nobody is the probe, and the wait is the time to the next one."""
    breaker = Breaker(3, 30, question)
    await open_it(breaker, cool=False)
    with pytest.raises(CircuitOpen) as refused:
        await breaker.become_probe()
    assert 29_000 < refused.value.retry_after_ms <= 30_001
    assert question.asked == 0


async def test_probe_asks_the_free_question_first(breaker, question):
    """After the cooldown a probe asks Keepa what costs nothing; its own answer closes it."""
    await open_it(breaker)
    assert breaker.state is State.HALF_OPEN
    await breaker.become_probe()
    assert (question.asked, breaker.state) == (1, State.HALF_OPEN)
    breaker.succeed(is_probe=True)
    assert breaker.state is State.CLOSED
    breaker.fail(is_probe=False)
    assert breaker.is_closed


async def test_there_is_one_probe_at_a_time(breaker, question):
    """While one call asks or is on its way no other is the probe."""
    await open_it(breaker)
    question.may_end.clear()
    first = asyncio.create_task(breaker.become_probe())
    await asyncio.sleep(0)
    with pytest.raises(CircuitOpen):
        await breaker.become_probe()
    question.may_end.set()
    await first
    with pytest.raises(CircuitOpen):
        await breaker.become_probe()
    assert question.asked == 1


async def test_failed_question_opens_it_again(breaker, question):
    """Where Keepa fails the free question, the call is refused and the cooldown starts anew."""
    await open_it(breaker)
    question.fails = True
    with pytest.raises(CircuitOpen):
        await breaker.become_probe()
    assert breaker.state is State.OPEN


async def test_failed_probe_opens_it_again(breaker):
    """A probe that fails opens it for another cooldown."""
    await open_it(breaker)
    await breaker.become_probe()
    breaker.fail(is_probe=True)
    assert breaker.state is State.OPEN
    await asyncio.sleep(2 * COOLDOWN_SECONDS)
    await breaker.become_probe()


async def test_turn_given_back_is_anothers(breaker):
    """A probe that was not sent leaves its turn to the next call."""
    await open_it(breaker)
    await breaker.become_probe()
    breaker.give_back()
    await breaker.become_probe()


async def test_cancelled_question_gives_the_turn_back(breaker, question):
    """A caller who leaves while the free question is asked does not keep the turn."""
    await open_it(breaker)
    question.may_end.clear()
    asking = asyncio.create_task(breaker.become_probe())
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    question.may_end.set()
    await breaker.become_probe()


async def test_late_answers_of_earlier_calls_change_nothing(breaker):
    """While it is open, calls sent before neither close it nor keep it open for longer."""
    await open_it(breaker)
    breaker.fail(is_probe=False)
    assert breaker.state is State.HALF_OPEN
    breaker.succeed(is_probe=False)
    assert not breaker.is_closed
