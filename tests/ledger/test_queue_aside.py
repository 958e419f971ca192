"""Who stands aside in the queue, for its own service's sake, is in nobody's way."""

from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import ask_under, know, release, reserve_under

from gateway.ledger import Admission, Ask, Code, Ledger, Rules, Terms

PassTime = Callable[[float], Awaitable[None]]
PATIENT_RULES = Rules(10_000, 0, 1, 60, 30_000)
CAPPED = Terms(0, max_concurrency=2)
CROWD = 130
"""More than are looked at in one go."""


async def wait(
    ledger: Ledger, name: str, cost: int, terms: Terms, service: str, *, place: str = ""
) -> Admission:
    return await ledger.reserve(
        Ask(name, cost, terms, service, "product", wait_seconds=10**6, place=place)
    )


async def crowd(ledger: Ledger, cost: int, terms: Terms) -> list[str]:
    """Have more calls of one service wait than are looked at in one go; return their places."""
    waiting = [await wait(ledger, f"w{n:03}", cost, terms, "batch") for n in range(CROWD)]
    assert all(admission.place for admission in waiting)
    return [admission.place for admission in waiting]


async def served(ledger: Ledger) -> list[str]:
    return [place.rpartition("|")[2] for place in (await ledger.next_in_queue()).places]


async def test_a_crowd_at_its_own_cap_stops_nobody_else(open_ledger, pass_time: PassTime) -> None:
    """Newcomers run, and so do calls that came before and after and wait for tokens."""
    ledger = open_ledger(PATIENT_RULES)
    await know(ledger, 1000)
    holds = [await reserve_under(ledger, name, 1, CAPPED, "batch") for name in "ab"]
    await crowd(ledger, 1, CAPPED)
    codes = [(await ask_under(ledger, f"c{n}", 5, Terms(0), "shop")).code for n in range(28)]
    assert codes == [Code.DONE] * 28
    large = await wait(ledger, "large", 900, Terms(0), "shop")
    assert large.place
    assert await served(ledger) == []
    await pass_time(180)
    assert await served(ledger) == ["large"]
    await release(ledger, holds[0])
    assert await served(ledger) == ["w000", "large"]


@pytest.mark.long
async def test_a_crowd_at_its_own_cap_is_served_in_its_order(open_ledger) -> None:
    """By as many as have room, each call once, the first come first, to the last one."""
    ledger = open_ledger(PATIENT_RULES)
    await know(ledger, 1000)
    holds = [await reserve_under(ledger, name, 1, CAPPED, "batch") for name in "ab"]
    places = await crowd(ledger, 1, CAPPED)
    for number, place in enumerate(places):
        await release(ledger, holds.pop(0))
        newcomer = await ask_under(ledger, f"n{number}", 1, CAPPED, "batch")
        assert newcomer.code == Code.CONCURRENCY
        name = f"w{number:03}"
        assert await served(ledger) == [name]
        admitted = await wait(ledger, name, 1, CAPPED, "batch", place=place)
        assert admitted.hold
        holds.append(admitted.hold)
    assert (await ledger.overview()).services["batch"].waiting == 0


async def test_who_has_room_again_does_not_stand_behind_those_who_lack_tokens(open_ledger) -> None:
    """A cheap call comes back though dear ones of its service wait there for tokens."""
    ledger = open_ledger(PATIENT_RULES)
    await know(ledger, 95)
    holds = [await reserve_under(ledger, name, 1, CAPPED, "batch") for name in "ab"]
    for name, cost in (("dear1", 200), ("dear2", 200), ("cheap", 1)):
        assert (await wait(ledger, name, cost, CAPPED, "batch")).code == Code.CONCURRENCY
    for hold in holds:
        await release(ledger, hold)
    # As many come back in one go as have room.
    await served(ledger)
    assert await served(ledger) == ["cheap"]


async def test_a_crowd_that_lacks_tokens_stops_nobody_who_does_not_delay_it(open_ledger) -> None:
    """Near the capacity, however many: what its lump brings beyond its need is to be had."""
    ledger = open_ledger(PATIENT_RULES)
    await know(ledger, 105)
    await crowd(ledger, 1100, Terms(0))
    assert (await ask_under(ledger, "small", 5, Terms(0), "shop")).code == Code.DONE
    assert (await ask_under(ledger, "more", 1, Terms(0), "shop")).code == Code.FLOOR


async def test_whose_caller_has_left_keeps_no_other_from_its_turn(open_ledger) -> None:
    """Also where only its id was known: it is forgotten when its turn has come."""
    other, ledger = open_ledger(PATIENT_RULES), open_ledger(PATIENT_RULES)
    await know(ledger, 1000)
    hold = await reserve_under(ledger, "a", 1, Terms(0, max_concurrency=1), "batch")
    await wait(other, "gone", 1, Terms(0, max_concurrency=1), "batch")
    alive = await wait(ledger, "alive", 1, Terms(0, max_concurrency=1), "batch")
    assert alive.place
    other.leave("gone", "")
    assert await other.delivered(2)
    await release(ledger, hold)
    assert await served(ledger) in ([], ["alive"])
    assert await served(ledger) == ["alive"]
