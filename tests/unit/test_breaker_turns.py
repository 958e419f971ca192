"""When a circuit opens, for whom, who may try it again, and what closes it."""

import asyncio
import math
import time

import pytest

from gateway.errors import CircuitOpen, UpstreamUnreachable
from gateway.keepa.breaker import Breaker
from gateway.keepa.circuit import State
from gateway.keepa.stalls import Stalls

COOLDOWN_SECONDS = 0.02
SHOP = ("shop", "product")
BATCH = ("batch", "product")


class Question:
    """The free question: fails while told to."""

    def __init__(self):
        self.fails = False
        self.asked = 0

    async def __call__(self):
        self.asked += 1
        if self.fails:
            raise UpstreamUnreachable


@pytest.fixture
def question():
    return Question()


@pytest.fixture
async def breaker(question):
    breaker = Breaker(3, COOLDOWN_SECONDS, Stalls())
    running = asyncio.create_task(breaker.run(question))
    yield breaker
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def slow():
    """One whose probes are due too late for any test."""
    return Breaker(3, 30, Stalls())


def silent(breaker, name=SHOP, times=3):
    """Calls that get no answer at all."""
    for _ in range(times):
        breaker.enter(*name).break_off(time.monotonic())


def answer(breaker, name=SHOP, *, with_error=False):
    trial = breaker.enter(*name)
    trial.note_answer()
    if with_error:
        trial.fail()
    else:
        trial.succeed()


def fail(breaker, name=SHOP, times=3):
    """Calls that are answered with an error of Keepa's own."""
    for _ in range(times):
        answer(breaker, name, with_error=True)


def is_refused(breaker, name=SHOP):
    return breaker.refusal(*name) is not None


async def cool():
    await asyncio.sleep(2 * COOLDOWN_SECONDS)


def test_calls_without_an_answer_open_keepas_circuit(slow):
    """It opens at the last of so many unanswered calls in a row, not before, for everybody."""
    silent(slow, times=2)
    assert slow.is_closed
    silent(slow, BATCH, times=1)
    assert slow.state is State.OPEN
    assert is_refused(slow, ("other", "category"))


@pytest.mark.parametrize("with_error", [False, True])
def test_any_answer_between_them_starts_the_count_anew(slow, with_error):
    """A server that answers is alive, whatever it answers and to whom."""
    for _ in range(3):
        silent(slow, times=2)
        answer(slow, BATCH, with_error=with_error)
    assert slow.is_closed


def test_errors_of_keepas_open_the_circuit_of_that_endpoint_and_service_only(slow):
    """Calls answered with a 5xx are refused; no other service's, no other endpoint's."""
    fail(slow, times=2)
    assert not is_refused(slow)
    fail(slow, times=1)
    assert is_refused(slow)
    assert slow.is_closed
    assert not is_refused(slow, BATCH)
    assert not is_refused(slow, ("shop", "category"))
    assert list(slow.endpoints()) == [(*SHOP, True)]


def test_errors_count_as_a_share_of_the_calls(slow):
    """Fewer failures than successes refuse nobody, however many they are."""
    for _ in range(20):
        for _ in range(3):
            answer(slow)
        fail(slow, times=1)
    assert not is_refused(slow)
    fail(slow, times=1)
    assert is_refused(slow)


def test_a_call_counts_once_and_not_again(slow):
    """However often a call is attempted, it is one."""
    for _ in range(2):
        trial = slow.enter(*SHOP)
        for _ in range(4):
            trial.note_answer()
        trial.fail()
        trial.withdraw()
    assert not is_refused(slow)


def test_silence_beside_answers_is_the_endpoints_fault(slow):
    """Calls that time out while others are answered say nothing of Keepa as a whole."""
    sent_at = time.monotonic()
    trials = [slow.enter(*SHOP) for _ in range(3)]
    answer(slow, BATCH)
    for trial in trials:
        trial.break_off(sent_at)
    assert slow.is_closed
    assert is_refused(slow)
    assert not is_refused(slow, BATCH)


def test_an_answer_that_was_cut_is_no_silence(slow):
    """A body that breaks off counts as an error of that endpoint's."""
    for _ in range(3):
        trial = slow.enter(*SHOP)
        trial.note_answer()
        trial.break_off(time.monotonic())
    assert slow.is_closed
    assert is_refused(slow)


def test_a_call_that_was_not_sent_counts_nowhere(slow):
    """A call that never went says nothing."""
    for _ in range(9):
        slow.enter(*SHOP).withdraw()
    assert slow.is_closed
    assert not is_refused(slow)


def test_open_circuit_tells_when_the_probe_is_due(slow):
    """While it cools down the wait is the time to the next probe."""
    silent(slow)
    with pytest.raises(CircuitOpen) as refused:
        slow.enter(*SHOP)
    assert 29_000 < refused.value.retry_after_ms <= 30_001


async def test_the_free_question_closes_keepas_circuit(breaker, question):
    """After the cooldown Keepa is asked what costs nothing, with or without calls."""
    silent(breaker)
    assert (breaker.state, question.asked) == (State.OPEN, 0)
    await cool()
    assert (breaker.state, question.asked) == (State.CLOSED, 1)
    silent(breaker, times=2)
    assert breaker.is_closed


async def test_failed_question_opens_it_for_another_cooldown(breaker, question):
    """While Keepa does not answer the free question either, calls are refused."""
    question.fails = True
    silent(breaker)
    async with asyncio.timeout(5):
        while question.asked < 3:
            assert is_refused(breaker)
            await asyncio.sleep(0.001)
    question.fails = False
    await cool()
    assert breaker.is_closed


def test_anybodys_answer_closes_keepas_circuit(slow):
    """The observer's refresh, or a call that was under way: Keepa is alive."""
    before = slow.enter(*BATCH)
    silent(slow)
    before.note_answer()
    assert slow.is_closed
    silent(slow)
    slow.note_answer()
    assert slow.is_closed


def test_after_an_outage_endpoints_start_anew(slow):
    """What failed while Keepa went away refuses nobody when it is back."""
    fail(slow)
    silent(slow, BATCH)
    slow.note_answer()
    assert not is_refused(slow)


async def test_a_call_is_the_probe_of_its_endpoint(breaker):
    """After the cooldown one call goes, and the others of its kind wait for what becomes of it."""
    fail(breaker)
    await cool()
    probe = breaker.enter(*SHOP)
    with pytest.raises(CircuitOpen) as refused:
        breaker.enter(*SHOP)
    assert refused.value.retry_after_ms == 1_000
    assert not is_refused(breaker, BATCH)
    probe.note_answer()
    probe.succeed()
    breaker.enter(*SHOP)
    breaker.enter(*SHOP)


async def test_failed_probe_opens_its_endpoint_again(breaker):
    """A probe that fails opens it for another cooldown."""
    fail(breaker)
    await cool()
    fail(breaker, times=1)
    assert is_refused(breaker)
    await cool()
    assert not is_refused(breaker)


@pytest.mark.parametrize("end", ["withdraw", "silence"])
async def test_turn_given_back_is_anothers(breaker, end):
    """A probe that was not sent, or that Keepa as a whole left alone, leaves its turn."""
    fail(breaker)
    await cool()
    probe = breaker.enter(*SHOP)
    if end == "silence":
        probe.break_off(time.monotonic())
    probe.withdraw()
    breaker.enter(*SHOP)


async def test_late_ends_of_earlier_calls_change_nothing(breaker):
    """Calls sent before an endpoint's circuit opened neither close it nor keep it open."""
    late = [breaker.enter(*SHOP) for _ in range(2)]
    fail(breaker)
    await cool()
    late[0].fail()
    assert not is_refused(breaker)
    late[1].succeed()
    assert list(breaker.endpoints()) == [(*SHOP, True)]


class Stalled(Stalls):
    def any_since(self, moment):
        return moment < math.inf


def test_what_a_stalled_gateway_slept_through_counts_nowhere():
    """Time-outs and drops while this process could not run are its own fault."""
    breaker = Breaker(3, 30, Stalled())
    silent(breaker, times=9)
    assert breaker.is_closed
    assert not is_refused(breaker)
