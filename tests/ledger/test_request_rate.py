"""The request rate: slots beside the tokens, both or nothing."""

from collections.abc import Awaitable, Callable

from support.ledger_calls import (
    ask,
    know,
    release,
    reserve,
)

from gateway.ledger import Code, Rules, Terms

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
    refused = await ledger.reserve("a3", 1, Terms(10), "shop", "product")
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
    look = await ledger.look()
    assert (look.balance.held, look.live_holds, look.requests) == (60, 1, 1)
    assert [await ask(ledger, name, 1) for name in "bcd"] == [Code.DONE, Code.DONE, Code.RATE]


async def test_a_refusal_by_rate_holds_no_tokens(open_ledger) -> None:
    """Slot and hold are taken both or not at all."""
    ledger = open_ledger(WITH_RATE)
    await know(ledger, 1000)
    codes = [await ask(ledger, f"c{n}", 1) for n in range(4)]
    assert codes[3] == Code.RATE
    look = await ledger.look()
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
