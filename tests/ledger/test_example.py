"""The worked example of the accounting rule, read from its page, on the real scripts."""

import re
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from support import ROOT

from gateway.ledger import Ask, Code, Hold, Ledger, Observation, Terms

SetUp = Callable[[Ledger, int, float], Awaitable[None]]


def observed(tokens: int, refill_in_ms: int, age: float = 0.0, rate: int = 20) -> Observation:
    return Observation(tokens, refill_in_ms, rate, 0, time.monotonic() - age)


async def reserve(ledger: Ledger, name: str, tokens: int, floor: int = 10) -> Hold:
    admission = await ledger.reserve(Ask(name, tokens, Terms(floor), "shop", "product"))
    assert admission.code == Code.DONE, admission
    assert admission.hold
    return admission.hold


def read_example() -> Iterator[tuple[int, int, int]]:
    """T, held and C after each step of the page's table."""
    page = (ROOT / "docs/accounting.md").read_text()
    for row in re.findall(
        r"^\| \d+ \| .+ \| (\d+) \| (\d+) \| (\d+) \| \d+ \|$", page, re.MULTILINE
    ):
        yield tuple(map(int, row))


async def test_own_accounting_is_kept_while_answers_overtake_each_other(
    ledger: Ledger, pass_time: Callable[[float], Awaitable[None]]
) -> None:
    """The example of docs/accounting.md: the balance stays true though each answer comes late."""
    steps = read_example()

    async def expect_next_step() -> None:
        look = await ledger.overview()
        balance = look.balance
        assert (balance.tokens, balance.held, balance.consumed) == next(steps)

    turn = await ledger.claim()
    await ledger.observe(turn, observed(100, 1000))
    await expect_next_step()
    a = await reserve(ledger, "a", 50)
    await expect_next_step()
    b = await reserve(ledger, "b", 30)
    await expect_next_step()
    denied = await ledger.reserve(Ask("d", 20, Terms(10), "shop", "product"))
    assert denied.code == Code.FLOOR
    assert denied.balance.available == 20
    assert 0 <= denied.wait_ms - denied.balance.lump_in_ms <= 1  # rounded up, and down
    await expect_next_step()

    headers_of_b = time.monotonic()
    await expect_next_step()
    ledger.settle(a, 44, observed(26, 750))
    await ledger.delivered(1)
    await expect_next_step()

    await pass_time(1.0)
    await expect_next_step()

    ledger.settle(b, 30, Observation(70, 800, 20, 0, headers_of_b - 1.0))
    await ledger.delivered(1)
    await expect_next_step()
    look = await ledger.overview()
    assert look.services["shop"].used == 74

    turn = await ledger.claim(at_once=True)
    await ledger.observe(turn, observed(31, 50_000))
    await expect_next_step()
    assert not list(steps)


async def test_drift_is_counted_with_its_direction(ledger: Ledger, ear) -> None:
    """Tokens that somebody else spent or that came back are drift; our own calls are not."""
    turn = await ledger.claim()
    await ledger.observe(turn, observed(100, 30_000))
    for tokens, spent, back in [(85, 15, 0), (95, 15, 10), (95, 15, 10)]:
        turn = await ledger.claim(at_once=True)
        await ledger.observe(turn, observed(tokens, 30_000))
        assert (ear.total("spent"), ear.total("back")) == (spent, back)
    assert ledger.latest.tokens == pytest.approx(95)
