"""What makes the balance doubtful is asked about at once, and is no drift when it comes back."""

import time
from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import (
    accounts,
    know,
    observed,
    release,
    reserve,
    settle,
    tokens,
)

from gateway.ledger import Code, Ledger, Observation

PassTime = Callable[[float], Awaitable[None]]
Flush = Callable[[], Awaitable[None]]
Ledgers = Callable[..., Ledger]


def listen(ledger: Ledger) -> list[None]:
    """Return what grows whenever the ledger says that the balance is in doubt."""
    calls: list[None] = []
    ledger.on_doubt = lambda: calls.append(None)
    return calls


async def ask_keepa(ledger: Ledger, tokens_left: int, refill_in_ms: int = 30_000) -> int:
    """Do what the observer does: claim a turn and, where there is one, weigh the answer."""
    turn = await ledger.claim()
    if turn.code == Code.DONE:
        await ledger.observe(turn, observed(tokens_left, refill_in_ms))
    return turn.code


async def let_expire(ledger: Ledger, pass_time: PassTime) -> None:
    """Have a call of 60 tokens reaped, out of 140, the next lump 29 s later.

    The observation is 20 s old: by its age alone nobody would ask again.
    """
    await know(ledger, 100, 59_000)
    ledger.doubt(await reserve(ledger, "lost", 60))
    await pass_time(130)
    await know(ledger, 140, 49_000)
    await pass_time(20)


async def test_a_reaped_hold_is_asked_about_at_once(
    open_ledger: Ledgers, pass_time: PassTime, ear
) -> None:
    """By whichever gateway comes first; what was never charged comes back, and is no drift."""
    ledger, other = open_ledger(), open_ledger()
    heard = listen(other)
    await let_expire(ledger, pass_time)
    assert (await tokens(other), other.latest.doubtful) == (80, 60)
    assert len(heard) == 1
    assert await ask_keepa(other, 140, 29_000) == Code.DONE
    assert (await tokens(other), other.latest.doubtful) == (140, 0)
    assert (ear.total("spent"), ear.total("back"), ear.total("reaped_tokens")) == (0, 0, 60)
    assert await ask_keepa(ledger, 140) == Code.RESOLVED
    assert len(heard) == 1


async def test_a_reaped_hold_that_was_charged_ends_its_doubt(
    ledger: Ledger, pass_time: PassTime, ear
) -> None:
    """One answer tells, and what is given back after it is drift as ever."""
    await let_expire(ledger, pass_time)
    assert await ask_keepa(ledger, 80, 29_000) == Code.DONE
    assert (await tokens(ledger), ledger.latest.doubtful) == (80, 0)
    assert await ask_keepa(ledger, 80) == Code.RESOLVED
    await know(ledger, 95, 29_000)
    assert (ear.total("spent"), ear.total("back")) == (0, 15)


@pytest.mark.parametrize("is_held_again", [True, False])
async def test_a_settle_of_an_older_epoch_is_asked_about_at_once(
    open_ledger: Ledgers, flush: Flush, pass_time: PassTime, ear, *, is_held_again: bool
) -> None:
    """What was observed may be without its tokens already: they count twice for a moment only."""
    its_own, ledger = open_ledger(), open_ledger()
    await know(ledger, 100)
    hold = await reserve(its_own, "a", 30)
    await flush()
    assert await ask_keepa(ledger, 70) == Code.DONE
    if is_held_again:
        await its_own.keep()
    await pass_time(1)
    heard = listen(ledger)
    await settle(its_own, hold, 30)
    assert (await tokens(ledger), ledger.latest.doubtful) == (40, 30)
    assert len(heard) == 1
    assert await ask_keepa(ledger, 70) == Code.DONE
    assert (await accounts(ledger), ledger.latest.doubtful) == ((70, 0, 30), 0)
    assert (ear.total("spent"), ear.total("back")) == (0, 0)


async def test_the_first_answer_of_an_epoch_leaves_in_doubt_what_is_in_flight(
    ledger: Ledger, store, pass_time: PassTime, ear
) -> None:
    """A store that failed over kept its holds; whether they are in it, the next answer tells."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 30)
    store._run_id = f"{store._run_id}.2"
    await ask_keepa(ledger, 70)
    assert (await tokens(ledger), ledger.latest.doubtful) == (70, 30)
    await settle(ledger, hold, 30)
    await pass_time(1)
    assert await ask_keepa(ledger, 70) == Code.DONE
    assert (await tokens(ledger), ledger.latest.doubtful) == (70, 0)
    assert (ear.total("spent"), ear.total("back")) == (0, 0)


async def test_what_costs_nothing_leaves_no_doubt(
    ledger: Ledger, flush: Flush, pass_time: PassTime
) -> None:
    """Free calls in doubt, calls that consumed nothing, and whatever comes before a balance."""
    holds = [await reserve(ledger, "free", 0), ledger.hold_blindly("blind", 5, "shop", "product")]
    await settle(ledger, holds[1], 0)
    await settle(ledger, ledger.hold_blindly("early", 5, "shop", "product"), 5)
    await know(ledger, 100)
    heard = listen(ledger)
    await settle(ledger, ledger.hold_blindly("none", 5, "shop", "product"), 0)
    await pass_time(151)
    await know(ledger, 100)
    assert (await ledger.overview()).live_holds == 0
    assert (heard, ledger.latest.doubtful) == ([], 0)


async def test_doubt_is_asked_about_once_a_second_at_most_and_ever_less(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Where the answers leave it, as calls in flight may: when the doubt has doubled its age."""
    await know(ledger, 100)
    await reserve(ledger, "a", 30)
    await ask_after(ledger, pass_time, 69)
    for seconds in (1, 1, 2, 4, 8):
        await pass_time(seconds / 2)
        turn = await ledger.claim()
        look_in = turn.outlook.look_in_ms / 1000
        assert turn.code == Code.RESOLVED
        assert seconds / 4 < look_in < seconds * 3 / 4
        await pass_time(look_in)
        assert await ask_keepa(ledger, 69) == Code.DONE


async def ask_after(ledger: Ledger, pass_time: PassTime, tokens_left: int) -> None:
    """Have an answer weighed that the calls in flight do not explain."""
    await pass_time(1)
    await know(ledger, tokens_left)


async def test_new_doubt_is_asked_about_at_once_again(ledger: Ledger, pass_time: PassTime) -> None:
    """However long the old one has lasted."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 30)
    await ask_after(ledger, pass_time, 69)
    await pass_time(20)
    assert await ask_keepa(ledger, 69) == Code.DONE
    await pass_time(1)
    assert await ask_keepa(ledger, 69) == Code.RESOLVED
    heard = listen(ledger)
    await settle(ledger, hold, 10, observed(50))
    assert heard
    assert await ask_keepa(ledger, 50) == Code.DONE


@pytest.mark.parametrize("is_charged", [True, False])
async def test_what_others_may_have_spent_is_told_once_it_is_sure(
    ledger: Ledger, ear, *, is_charged: bool
) -> None:
    """31 are missing while a call holds 30: one is gone, the others are when the call is not it."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 30)
    await know(ledger, 69)
    assert (await accounts(ledger), ear.total("spent")) == ((69, 30, 0), 1)
    left = 69 if is_charged else 39
    await settle(ledger, hold, 30, observed(left))
    assert await accounts(ledger) == (left, 0, 30)
    assert (ear.total("spent"), ear.total("back")) == ((1, 0) if is_charged else (31, 0))


async def test_drift_that_an_answer_of_a_call_shows_is_looked_at_again(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Whoever spends the key may go on: one `/token` more, and no other where it agrees."""
    await know(ledger, 100)
    await pass_time(1)
    heard = listen(ledger)
    await settle(ledger, await reserve(ledger, "a", 30), 30, observed(60))
    assert (len(heard), ledger.latest.doubtful) == (1, 0)
    assert await ask_keepa(ledger, 60) == Code.DONE
    await pass_time(1)
    assert await ask_keepa(ledger, 60) == Code.RESOLVED


async def test_an_answer_from_before_the_doubt_does_not_end_it(
    ledger: Ledger, pass_time: PassTime, ear
) -> None:
    """It may be without what was counted as spent since, so it brings nothing back."""
    await know(ledger, 100, 59_000)
    ledger.doubt(await reserve(ledger, "lost", 60))
    await pass_time(149)
    await know(ledger, 140, 30_000)
    turn = await ledger.claim(at_once=True)
    seen_at = time.monotonic()
    await pass_time(1.5)
    assert await tokens(ledger) == 80
    await ledger.observe(turn, Observation(140, 28_500, 20, 0, seen_at))
    assert (await tokens(ledger), ledger.latest.doubtful) == (80, 60)
    assert await ask_keepa(ledger, 140, 27_000) == Code.DONE
    assert (await tokens(ledger), ledger.latest.doubtful) == (140, 0)
    assert (ear.total("spent"), ear.total("back")) == (0, 0)


async def test_a_doubt_that_lasts_is_no_excuse(ledger: Ledger, pass_time: PassTime) -> None:
    """After ten seconds what Keepa did not bring back is told as gone, to alarms too."""
    await let_expire(ledger, pass_time)
    assert (await tokens(ledger), ledger.latest.doubtful) == (80, 60)
    await pass_time(5)
    assert (await tokens(ledger), ledger.latest.doubtful) == (80, 60)
    await pass_time(5)
    assert (await tokens(ledger), ledger.latest.doubtful) == (80, 0)
    assert await ask_keepa(ledger, 140, 19_000) == Code.DONE
    assert await tokens(ledger) == 140


async def test_the_next_expiry_is_when_to_look_again(
    ledger: Ledger, open_ledger: Ledgers, pass_time: PassTime
) -> None:
    """So that an idle gateway, too, asks as soon as a dead one's holds are reaped."""
    await know(ledger, 100)
    assert (await open_ledger().claim()).outlook.look_in_ms == 150_000
    hold = await reserve(ledger, "a", 30)
    await pass_time(50)
    await reserve(ledger, "b", 30)
    assert 99_000 < (await open_ledger().claim()).outlook.look_in_ms <= 100_000
    await release(ledger, hold)
    assert 149_000 < (await open_ledger().claim()).outlook.look_in_ms <= 150_000
