"""The queue of waiting calls: who takes a place, in which order, and who may pass whom."""

from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import ask, know, release, reserve, settle

from gateway.ledger import Admission, Ask, Code, Ledger, Purpose, Rules, Terms

PassTime = Callable[[float], Awaitable[None]]
PATIENT_RULES = Rules(1000, 0, 1, 60, 3000)
"""Nothing expires, and no observation is too old, for as long as these tests wait."""
WITH_RATE = Rules(150, 60, 1, 60, 300)
"""One request each second, none saved up."""


async def wait(
    ledger: Ledger,
    name: str,
    tokens: int,
    floor: int = 0,
    *,
    seconds: float = 60,
    place: str = "",
    terms: Terms | None = None,
) -> Admission:
    """Reserve as a call that may wait for so many more seconds."""
    return await ledger.reserve(
        Ask(
            name,
            tokens,
            terms or Terms(floor),
            "shop",
            "product",
            wait_seconds=seconds,
            place=place,
        )
    )


async def take_place(
    ledger: Ledger, name: str, tokens: int, floor: int = 0, *, seconds: float = 60
) -> str:
    """Reserve, and insist on a place in the queue."""
    waiting = await wait(ledger, name, tokens, floor, seconds=seconds)
    assert waiting.place, waiting
    return waiting.place


async def served(ledger: Ledger) -> list[str]:
    """Return the ids of the gateway's waiting calls that would run now."""
    return [place.rpartition("|")[2] for place in (await ledger.next_in_queue()).places]


async def waiting(ledger: Ledger) -> int:
    usage = (await ledger.overview()).services.get("shop")
    return usage.waiting if usage else 0


@pytest.mark.parametrize(
    ("cost", "seconds", "is_taken"),
    [(20, 1.0, True), (20, 0.5, False), (21, 60.9, False), (21, 61, True), (9, 0, None)],
)
async def test_a_call_takes_a_place_where_it_fits_within_its_wait(
    ledger: Ledger, cost: int, seconds: float, is_taken: bool | None
) -> None:
    """One that a lump within its wait covers waits; any other is refused at once, and counted."""
    await know(ledger, 9, 1000)
    admission = await wait(ledger, "a", cost, 9, seconds=seconds)
    assert admission.code == Code.FLOOR
    assert admission.wait_ms > 0
    assert bool(admission.place) == bool(is_taken)
    usage = (await ledger.overview()).services["shop"]
    assert (usage.waiting, usage.denied) == ((1, 0) if is_taken else (0, 1))


@pytest.mark.parametrize(("cost", "flow"), [(1200, 0), (20, 20)])
async def test_what_never_fits_takes_no_place(ledger: Ledger, cost: int, flow: float) -> None:
    """More than the bucket holds, or more than a bucket without gain has: however long it waits."""
    await know(ledger, 10, 1000, flow=flow)
    admission = await wait(ledger, "a", cost, 10, seconds=3600)
    assert (admission.place, admission.wait_ms) == ("", None)


async def test_what_is_unknown_or_over_its_cap_takes_no_place(ledger: Ledger) -> None:
    """An unknown balance is waited for elsewhere, and a service's window is not waited for."""
    assert (await wait(ledger, "a", 1)).place == ""
    await know(ledger, 100)
    refused = await wait(ledger, "b", 16, terms=Terms(0, tokens_per_hour=15), seconds=3600)
    assert (refused.code, refused.place) == (Code.QUOTA, "")


async def test_the_wait_covers_those_before(ledger: Ledger) -> None:
    """What the calls ahead in the queue need counts in the estimate of a newcomer."""
    await know(ledger, 0, 1000)
    await take_place(ledger, "a", 15)
    assert (await wait(ledger, "b", 5)).wait_ms <= 1000
    refused = await wait(ledger, "c", 1)
    assert refused.place == ""
    assert 60_000 < refused.wait_ms <= 61_000


async def test_a_quote_takes_no_place(ledger: Ledger) -> None:
    """It changes nothing, wherever it may wait."""
    await know(ledger, 0, 1000)
    quote = await ledger.reserve(
        Ask("q", 5, Terms(0), "shop", "product", purpose=Purpose.QUOTE, wait_seconds=60)
    )
    assert (quote.code, quote.place, await waiting(ledger)) == (Code.FLOOR, "", 0)


async def test_the_line_is_served_by_floor_then_arrival_across_gateways(
    open_ledger, pass_time: PassTime
) -> None:
    """Each gateway hears of its own calls that would run, and of no other's."""
    one, two = open_ledger(), open_ledger()
    await know(one, 0)
    await take_place(one, "late_floor", 6, 10)
    await take_place(two, "first", 6)
    await take_place(one, "second", 6)
    await take_place(two, "lowest_floor", 2, -5)
    await take_place(one, "third", 6)
    assert (await served(one), await served(two)) == ([], [])
    await pass_time(30)
    assert await served(two) == ["lowest_floor", "first"]
    assert await served(one) == ["second", "third"]


async def test_who_asks_again_is_admitted_in_the_lines_order_only(
    open_ledger, pass_time: PassTime
) -> None:
    """One further back gets no tokens that somebody before it could run on, and keeps its place."""
    one, two = open_ledger(), open_ledger()
    await know(one, 0)
    first = await take_place(one, "first", 15)
    second = await take_place(two, "second", 5)
    third = await take_place(one, "third", 15, seconds=120)
    await pass_time(30)
    again = await wait(one, "third", 15, place=third, seconds=120)
    assert (again.code, again.place) == (Code.FLOOR, third)
    assert (await wait(two, "second", 5, place=second)).code == Code.DONE
    assert (await wait(one, "first", 15, place=first)).code == Code.DONE
    assert await waiting(one) == 1


async def test_a_newcomer_gets_what_those_before_it_leave(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """Exactly that much, and more where its floor is lower."""
    await know(ledger, 0)
    place = await take_place(ledger, "a", 15)
    await pass_time(30)
    assert [await ask(ledger, name, cost, 0) for name, cost in (("b", 6), ("c", 5))] == [
        Code.FLOOR,
        Code.DONE,
    ]
    assert await ask(ledger, "urgent", 15, -1) == Code.DONE
    assert (await wait(ledger, "a", 15, place=place)).code == Code.FLOOR


async def test_a_waiter_far_back_is_not_passed_by_a_newcomer(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """However many stand before it: what those in front leave is for those behind them."""
    await know(ledger, 0, rate=120)
    for number in range(120):
        await take_place(ledger, f"w{number}", 1)
    await pass_time(30)
    assert await ask(ledger, "newcomer", 10, 0) == Code.FLOOR
    assert await ask(ledger, "urgent", 10, -1) == Code.DONE


async def test_a_free_call_is_kept_waiting_by_no_tokens(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """However long the queue: the budget never refuses what costs nothing."""
    await know(ledger, 0, rate=120)
    for number in range(101):
        await take_place(ledger, f"w{number}", 1)
    assert await ask(ledger, "free", 0, 0) == Code.DONE


ONE_AT_A_TIME = Terms(0, max_concurrency=1)


async def test_a_call_waits_for_its_services_concurrency(ledger: Ledger) -> None:
    """In the queue, where it stands aside: others pass it, and it is named when a call ends."""
    await know(ledger, 100)
    hold = (await wait(ledger, "a", 5, terms=ONE_AT_A_TIME)).hold
    first = await wait(ledger, "first", 90, terms=ONE_AT_A_TIME)
    second = await wait(ledger, "second", 5, terms=ONE_AT_A_TIME)
    assert (first.code, second.code) == (Code.CONCURRENCY, Code.CONCURRENCY)
    assert first.place
    assert second.place
    other = await ledger.reserve(Ask("b", 40, Terms(0), "other", "product"))
    assert await served(ledger) == []
    await release(ledger, other.hold)
    await release(ledger, hold)
    assert await served(ledger) == ["first"]


async def test_a_newcomer_does_not_take_the_turn_of_its_own_services_waiter(
    ledger: Ledger,
) -> None:
    """One that waits for its service's concurrency is admitted before one that comes later."""
    await know(ledger, 100)
    hold = (await wait(ledger, "a", 5, terms=ONE_AT_A_TIME)).hold
    first = await wait(ledger, "first", 5, terms=ONE_AT_A_TIME)
    await release(ledger, hold)
    assert (await wait(ledger, "newcomer", 5, terms=ONE_AT_A_TIME)).code == Code.CONCURRENCY
    again = await wait(ledger, "first", 5, terms=ONE_AT_A_TIME, place=first.place)
    assert again.code == Code.DONE


@pytest.fixture
async def large(open_ledger) -> Ledger:
    """Return a ledger of 10 tokens where a call of 65 waits for the third lump, which brings 70."""
    ledger: Ledger = open_ledger(PATIENT_RULES)
    await know(ledger, 10)
    await take_place(ledger, "large", 65, seconds=150)
    return ledger


@pytest.mark.parametrize(("cost", "code"), [(5, Code.DONE), (6, Code.FLOOR)])
async def test_a_small_call_passes_a_large_one_whose_lump_comes_no_later(
    large: Ledger, cost: int, code: Code
) -> None:
    """What the lump brings beyond the large call's need is to be had, and not a token more."""
    assert await ask(large, "small", cost, 0) == code


async def test_small_calls_together_pass_by_no_more_than_one(
    large: Ledger, pass_time: PassTime
) -> None:
    """Held, settled or released: what has passed stays counted, and comes back when released."""
    hold = await reserve(large, "a", 3, 0)
    await settle(large, await reserve(large, "b", 2, 0), 2)
    assert await ask(large, "c", 1, 0) == Code.FLOOR
    await pass_time(60)
    assert await ask(large, "c", 1, 0) == Code.FLOOR
    await release(large, hold)
    assert [await ask(large, name, 3, 0) for name in "de"] == [Code.DONE, Code.FLOOR]


async def test_a_large_call_is_not_passed_for_ever(large: Ledger, pass_time: PassTime) -> None:
    """Under steady small calls it runs at the very lump that it took its place for."""
    passed = 0
    for _ in range(3):
        assert await served(large) == []
        for number in range(30):
            hold = (await wait(large, f"s{passed}.{number}", 1, seconds=0)).hold
            if hold:
                passed += 1
                await settle(large, hold, 1)
        await pass_time(60)
    assert passed == 5
    assert await served(large) == ["large"]


async def test_waiting_small_calls_pass_within_the_same_bound(
    large: Ledger, pass_time: PassTime
) -> None:
    """They are named in their order, as far as they fit before the large one together."""
    await know(large, 0)
    for name, cost in (("a", 6), ("b", 4), ("c", 1), ("d", 1)):
        await take_place(large, name, cost, seconds=1000)
    await know(large, 10)
    assert await served(large) == ["b", "c"]
    await pass_time(180)
    assert await served(large) == ["large", "b", "c"]
    assert await ask(large, "newcomer", 1, 0) == Code.FLOOR


@pytest.mark.parametrize("floor", [10, 0])
async def test_a_full_bucket_is_not_promised_twice(
    open_ledger, pass_time: PassTime, floor: int
) -> None:
    """Near the capacity no call passes whose hold would keep the full bucket too small."""
    ledger = open_ledger(PATIENT_RULES)
    await know(ledger, 1105, 1000)
    large = await wait(ledger, "large", 1200 - floor, floor, seconds=600)
    assert large.place
    await ask(ledger, "small", 5, floor)
    await pass_time(large.wait_ms / 1000)
    assert (await wait(ledger, "large", 1200 - floor, floor, place=large.place)).code == Code.DONE


async def test_where_no_lump_helps_the_one_in_front_others_pass_it(
    ledger: Ledger, pass_time: PassTime
) -> None:
    """A bucket that has stopped gaining keeps nothing back for a call that never fits it."""
    await know(ledger, 10)
    await take_place(ledger, "large", 30)
    await know(ledger, 10, flow=20)
    assert await ask(ledger, "small", 10, 0) == Code.DONE


async def test_the_request_rate_is_waited_for_in_order(open_ledger, pass_time: PassTime) -> None:
    """One slot a second: the wait counts those ahead, and a newcomer takes no slot of theirs."""
    ledger = open_ledger(WITH_RATE)
    await know(ledger, 1000)
    await reserve(ledger, "a", 1)
    first = await wait(ledger, "first", 1, seconds=5)
    second = await wait(ledger, "second", 1, seconds=5)
    refused = await wait(ledger, "third", 1, seconds=2.5)
    assert (first.code, second.code, refused.code) == (Code.RATE,) * 3
    assert first.place
    assert second.place
    assert refused.place == ""
    assert 0 < first.wait_ms <= 1000 < second.wait_ms <= 2000 < refused.wait_ms <= 3000
    assert await served(ledger) == []
    await pass_time(1)
    assert await ask(ledger, "newcomer", 1) == Code.RATE
    assert await served(ledger) == ["first"]
    assert (await wait(ledger, "second", 1, place=second.place, seconds=5)).place == second.place
    assert (await wait(ledger, "first", 1, place=first.place, seconds=5)).code == Code.DONE


async def test_a_free_call_waits_for_the_request_rate_only(
    open_ledger, pass_time: PassTime
) -> None:
    """It waits without a balance known, and passes a call that lacks tokens."""
    ledger = open_ledger(WITH_RATE)
    await reserve(ledger, "a", 0)
    assert (await wait(ledger, "b", 0, seconds=5)).place
    assert 0 < (await ledger.next_in_queue()).slot_wait_ms <= 1000
    await know(ledger, 0)
    await take_place(ledger, "paid", 5)
    await take_place(ledger, "c", 0)
    await pass_time(1)
    assert await served(ledger) == ["b"]
    assert (await ledger.next_in_queue()).slot_wait_ms == 0
    ledger.leave("b", "")
    assert await ledger.delivered(2)
    assert await served(ledger) == ["c"]
