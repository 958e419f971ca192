"""`claim`: which gateway refreshes the balance, and when it needs to."""

from collections.abc import Awaitable, Callable

from support.ledger.calls import (
    know,
    observed,
)

from gateway.ledger import Code, Ledger

PassTime = Callable[[float], Awaitable[None]]


async def test_one_gateway_at_a_time_refreshes_the_balance(
    open_ledger, pass_time: PassTime
) -> None:
    """One turn at a time; it passes on when its holder died, and ends with the observation."""
    one, other = open_ledger(), open_ledger()
    turn = await one.claim()
    assert turn.code == Code.DONE
    assert (await other.claim()).code == Code.UNKNOWN
    await pass_time(2)
    second = await other.claim()
    assert second.code == Code.DONE
    await other.observe(second, observed(100))
    assert (await one.claim()).code == Code.RESOLVED
    assert (await one.claim(at_once=True)).code == Code.DONE


async def test_a_fresh_observation_needs_no_refresh(ledger: Ledger, pass_time: PassTime) -> None:
    """The turn is given once the observation is older than the rules call fresh."""
    await know(ledger, 100)
    await pass_time(59)
    assert (await ledger.claim()).code == Code.RESOLVED
    await pass_time(1)
    assert (await ledger.claim()).code == Code.DONE
