"""The worked example of the accounting rule, step by step, on the real scripts."""

import time
from collections.abc import Awaitable, Callable

import pytest

from gateway.ledger import Code, Hold, Ledger, Observation, Terms

SetUp = Callable[[Ledger, int, float], Awaitable[None]]


def observed(tokens: int, refill_in_ms: int, age: float = 0.0, rate: int = 20) -> Observation:
    return Observation(tokens, refill_in_ms, rate, 0, time.monotonic() - age)


async def reserve(ledger: Ledger, name: str, tokens: int, floor: int = 10) -> Hold:
    admission = await ledger.reserve(name, tokens, Terms(floor), "shop", "product")
    assert admission.code == Code.DONE, admission
    assert admission.hold
    return admission.hold


async def test_own_accounting_is_kept_while_answers_overtake_each_other(
    ledger: Ledger, pass_time: Callable[[float], Awaitable[None]]
) -> None:
    """Steps 1 to 8: the balance stays true although each answer is old when it comes."""
    turn = await ledger.claim()
    await ledger.observe(turn, observed(100, 1000))
    a = await reserve(ledger, "a", 50)
    b = await reserve(ledger, "b", 30)
    denied = await ledger.reserve("d", 20, Terms(10), "shop", "product")
    assert denied.code == Code.FLOOR
    assert denied.balance.available == 20
    assert 900 <= denied.wait_ms <= 1000

    headers_of_b = time.monotonic()
    ledger.settle(a, 44, observed(26, 750))
    await ledger.delivered(1)
    look = await ledger.look()
    assert (look.balance.tokens, look.balance.held, look.balance.consumed) == (56, 30, 44)

    await pass_time(1.0)
    look = await ledger.look()
    assert look.balance.tokens == 76

    late = Observation(70, 800, 20, 0, headers_of_b - 1.0)
    ledger.settle(b, 30, late)
    await ledger.delivered(1)
    look = await ledger.look()
    assert (look.balance.tokens, look.balance.held) == (46, 0)
    assert look.services["shop"].used == 74

    turn = await ledger.claim(at_once=True)
    await ledger.observe(turn, observed(31, 50_000))
    assert ledger.latest.tokens == 31


async def test_drift_is_counted_with_its_direction(ledger: Ledger, ear) -> None:
    """Tokens that somebody else spent or that came back are drift; our own calls are not."""
    turn = await ledger.claim()
    await ledger.observe(turn, observed(100, 30_000))
    for tokens, spent, back in [(85, 15, 0), (95, 15, 10), (95, 15, 10)]:
        turn = await ledger.claim(at_once=True)
        await ledger.observe(turn, observed(tokens, 30_000))
        assert (ear.total("spent"), ear.total("back")) == (spent, back)
    assert ledger.latest.tokens == pytest.approx(95)
