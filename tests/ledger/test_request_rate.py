"""The request rate: slots beside the tokens, both or nothing."""

import random
from collections.abc import Awaitable, Callable

import pytest
from support.fleet.homes import EmbeddedHome
from support.ledger.calls import (
    ask,
    ask_under,
    know,
    release,
    reserve,
)

from gateway.ledger import AUTO, Ask, Code, Ledger, Purpose, RequestRate, Rules, Terms

PassTime = Callable[[float], Awaitable[None]]
WITH_RATE = Rules(150, 60, 3, 60, 300)
"""A burst of three requests, one more each second."""


async def test_the_request_rate_has_a_burst_and_refills_one_slot_at_a_time(
    open_ledger, pass_time: PassTime
) -> None:
    """Three at once, then one a second, and never more than three saved up."""
    ledger = open_ledger(WITH_RATE)
    await know(ledger, 1000)
    assert [await ask(ledger, f"a{n}", 1) for n in range(4)] == [Code.DONE] * 3 + [Code.RATE]
    refused = await ledger.reserve(Ask("a3", 1, Terms(10), "shop", "product"))
    assert 1 <= refused.wait_ms <= 1000
    await pass_time(refused.wait_ms / 1000)
    assert [await ask(ledger, f"b{n}", 1) for n in range(2)] == [Code.DONE, Code.RATE]
    await pass_time(3600)
    await know(ledger, 1000)
    assert [await ask(ledger, f"c{n}", 1) for n in range(4)] == [Code.DONE] * 3 + [Code.RATE]


async def test_a_free_call_takes_its_request_slot(open_ledger) -> None:
    """The request rate holds for calls that cost nothing too."""
    ledger = open_ledger(WITH_RATE)
    codes = [await ask(ledger, f"c{n}", 0) for n in range(4)]
    assert codes == [Code.DONE, Code.DONE, Code.DONE, Code.RATE]


async def test_reserving_the_same_id_again_takes_nothing(open_ledger) -> None:
    """A reserve that is sent twice holds once and takes one request slot."""
    ledger = open_ledger(WITH_RATE)
    await know(ledger, 100)
    for _ in range(5):
        assert await ask(ledger, "a", 60) == Code.DONE
    look = await ledger.overview()
    assert (look.balance.held, look.live_holds, look.requests) == (60, 1, 1)
    assert [await ask(ledger, name, 1) for name in "bcd"] == [Code.DONE, Code.DONE, Code.RATE]


async def test_a_refusal_by_rate_holds_no_tokens(open_ledger) -> None:
    """Slot and hold are taken both or not at all."""
    ledger = open_ledger(WITH_RATE)
    await know(ledger, 1000)
    codes = [await ask(ledger, f"c{n}", 1) for n in range(4)]
    assert codes[3] == Code.RATE
    look = await ledger.overview()
    assert (look.balance.held, look.live_holds, look.requests) == (3, 3, 3)
    assert look.services["shop"].denied == 1


async def test_a_refusal_by_budget_takes_no_slot(open_ledger) -> None:
    """Refused for its tokens, or for want of a balance: the whole burst is still there."""
    ledger = open_ledger(WITH_RATE)
    assert [await ask(ledger, f"u{n}", 1) for n in range(4)] == [Code.UNKNOWN] * 4
    await know(ledger, 100)
    assert [await ask(ledger, f"d{n}", 500) for n in range(4)] == [Code.FLOOR] * 4
    assert [await ask(ledger, f"n{n}", 5000) for n in range(4)] == [Code.CAPACITY] * 4
    assert [await ask(ledger, f"a{n}", 1) for n in range(4)] == [Code.DONE] * 3 + [Code.RATE]


async def test_a_released_call_gives_its_tokens_back_but_not_its_slot(open_ledger) -> None:
    """The request was made, whatever became of it."""
    ledger = open_ledger(WITH_RATE)
    await know(ledger, 100)
    for name in "abc":
        await release(ledger, await reserve(ledger, name, 80))
    assert await ask(ledger, "d", 1) == Code.RATE


PLAN_RATE = Rules(150, AUTO, AUTO, 60, 300)


def rate(per_minute: int, burst: int) -> Rules:
    return Rules(150, per_minute, burst, 60, 300)


@pytest.mark.parametrize(
    ("plan", "rules", "in_force"),
    [
        (None, PLAN_RATE, (20, 200)),
        (1, PLAN_RATE, (20, 200)),
        (20, PLAN_RATE, (20, 200)),
        (3000, PLAN_RATE, (3000, 30_000)),
        (3000, rate(60, AUTO), (60, 600)),
        (3000, rate(AUTO, 7), (3000, 7)),
        (3000, rate(0, AUTO), (0, 0)),
        (3000, rate(AUTO, 0), (0, 0)),
    ],
)
async def test_auto_is_the_plans_own_rate(
    open_ledger, plan: int | None, rules: Rules, in_force: tuple[int, int]
) -> None:
    """As many requests a minute as tokens, 20 at least, ten minutes' worth at once; or as set."""
    ledger = open_ledger(rules)
    if plan:
        await know(ledger, 60, rate=plan)
    assert (await ledger.overview()).request_rate == RequestRate(*in_force)


async def test_a_large_plan_is_not_throttled(open_ledger) -> None:
    """230 calls at once, none of them refused."""
    ledger = open_ledger(PLAN_RATE)
    await know(ledger, 100_000, rate=3000)
    assert {await ask(ledger, f"c{n}", 1) for n in range(230)} == {Code.DONE}


async def test_a_refusal_tells_the_rate_in_force(open_ledger) -> None:
    """For whoever has to tell the caller which limit it met."""
    ledger = open_ledger(rate(AUTO, 1))
    await know(ledger, 1000, rate=50)
    assert await ask(ledger, "a", 1) == Code.DONE
    assert (await ledger.reserve(Ask("b", 1, Terms(10), "shop", "product"))).per_minute == 50


async def test_a_raised_rate_inherits_no_debt(open_ledger, pass_time: PassTime) -> None:
    """The requests made count on, each for as long as one takes at the new rate."""
    slow, fast = open_ledger(rate(20, 50)), open_ledger(rate(6000, 100))
    for number in range(50):
        assert await ask(slow, f"a{number}", 0) == Code.DONE
    assert await ask(slow, "b", 0) == Code.RATE
    assert {await ask(fast, f"c{number}", 0) for number in range(40)} == {Code.DONE}
    await pass_time(2.5)
    assert await ask(slow, "d", 0) == Code.DONE


async def test_a_lowered_rate_finds_an_empty_bucket_at_worst(
    open_ledger, pass_time: PassTime
) -> None:
    """However many requests were made under the rate before: the next slot comes in its time."""
    fast, slow = open_ledger(rate(600, 500)), open_ledger(rate(60, 5))
    for number in range(100):
        assert await ask(fast, f"a{number}", 0) == Code.DONE
    refused = await slow.reserve(Ask("b", 0, Terms(10), "shop", "product"))
    assert refused.code == Code.RATE
    assert 0 < refused.wait_ms <= 1000
    await pass_time(1)
    assert await ask(slow, "b", 0) == Code.DONE


async def test_a_moment_far_ahead_is_an_empty_bucket(open_ledger, pass_time: PassTime) -> None:
    """As a clock set back by an hour, or a debt that a version before left, would leave it."""
    ledger = open_ledger(WITH_RATE)
    await ask(ledger, "a", 0)
    await pass_time(-3600)
    refused = await ledger.reserve(Ask("b", 0, Terms(10), "shop", "product"))
    assert refused.wait_ms <= 1000
    await pass_time(1)
    assert await ask(ledger, "c", 0) == Code.DONE


async def test_what_is_refused_already_takes_no_slot(open_ledger) -> None:
    """In shadow mode: a call that its policy forbids is none of the requests that would be made."""
    ledger = open_ledger(WITH_RATE)
    for number in range(5):
        admission = await ask_under(ledger, f"a{number}", 0, Terms(10), purpose=Purpose.REFUSED)
        assert admission.code == Code.DONE
    assert [await ask(ledger, f"b{n}", 0) for n in range(4)] == [Code.DONE] * 3 + [Code.RATE]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
async def test_shadow_counts_what_enforcing_would_refuse(ear, seed: int) -> None:
    """Of the same arrivals, at twice the rate and in bursts: the same calls are counted."""
    chance = random.Random(seed)
    home = EmbeddedHome()
    await home.open()
    home.store.learning_us = 0
    real, shadow = (Ledger(home.store, f"{name}{seed}", WITH_RATE, ear) for name in ("r", "s"))
    told: list[tuple[int, int]] = []
    try:
        for ledger in (real, shadow):
            await know(ledger, 1000)
        for number in range(600):
            home.clock.turn(chance.choice((0, 0, 200, 500, 1300)))
            call = f"c{number}", 0, Terms(10)
            enforced = await ask_under(real, *call)
            against = (await ask_under(shadow, *call, purpose=Purpose.SHADOW)).against
            told.append((enforced.code, against))
        counted = [(await ledger.overview()).services["shop"].refusals for ledger in (real, shadow)]
    finally:
        await home.close()
    assert all(code == against for code, against in told)
    refused = told.count((Code.RATE, Code.RATE))
    assert 200 < refused < 500
    assert counted == [{"rate_limited": refused}] * 2
