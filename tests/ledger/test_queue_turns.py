"""Whose place counts, and when a gateway's waiting calls are told to ask again."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from support.ledger.calls import ask, know, release, reserve, run
from support.redis.server import RedisServer
from support.waiting import until

from gateway.errors import LedgerUnavailable
from gateway.ledger import (
    Admission,
    Ask,
    Code,
    EmbeddedStore,
    Ledger,
    Queue,
    RedisStore,
    Rules,
    Store,
    Terms,
    scripts,
)
from gateway.ledger.scripts import name_keys

PassTime = Callable[[float], Awaitable[None]]
Flush = Callable[[], Awaitable[None]]
Command = Callable[..., Awaitable[Any]]
OpenQueue = Callable[..., Queue]
RULES = Rules(150, 0, 1, 60, 300)
WAITERS = 1000


@pytest.fixture
def command(request: pytest.FixtureRequest, store: Store) -> Command:
    """Return a function that sends the store a command past the ledger."""

    async def send(*words: str) -> Any:
        if isinstance(store, EmbeddedStore):
            return await store._client.execute_command(*words)
        server: RedisServer = request.getfixturevalue("redis_server")
        found = re.search(rb"\d+\r\n$", server.command(*words))
        assert found
        return int(found[0])

    return send


@pytest.fixture
def count_places(command: Command, account: str) -> Callable[[], Awaitable[int]]:
    """Return a function that counts the places in the queue, those that do not count too."""
    return lambda: command("ZCARD", name_keys(account)[5])


@pytest.fixture
def silence(command: Command, account: str) -> Callable[..., Awaitable[None]]:
    """Return a function that lets a gateway have been silent for so many seconds more."""

    async def age(ledger: Ledger, seconds: float) -> None:
        earlier = str(-int(seconds * 1_000_000))
        await command("ZINCRBY", name_keys(account)[6], earlier, ledger._name)

    return age


@pytest.fixture
async def open_queue() -> AsyncIterator[OpenQueue]:
    """Return a maker of lines that ask for ever."""
    tasks = []

    def make(ledger: Ledger, at_most: int = 10) -> Queue:
        queue = Queue(ledger, at_most)
        tasks.append(asyncio.create_task(queue.run()))
        return queue

    yield make
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


async def wait(
    ledger: Ledger, name: str, tokens: int, *, seconds: float = 60, place: str = ""
) -> Admission:
    """Reserve as a call that may wait for so many more seconds."""
    return await ledger.reserve(
        Ask(name, tokens, Terms(0), "shop", "product", wait_seconds=seconds, place=place)
    )


async def take_place(ledger: Ledger, name: str, tokens: int, *, seconds: float = 60) -> str:
    """Reserve, and insist on a place in the queue."""
    waiting = await wait(ledger, name, tokens, seconds=seconds)
    assert waiting.place, waiting
    return waiting.place


async def served(ledger: Ledger) -> list[str]:
    """Return the ids of the gateway's waiting calls that would run now."""
    return [place.rpartition("|")[2] for place in (await ledger.next_in_queue()).places]


@pytest.mark.parametrize(("seconds", "is_gone"), [(2.5, False), (3.1, True)])
async def test_a_gateway_that_is_silent_for_three_seconds_waits_for_nothing(
    open_ledger, silence, count_places, seconds: float, *, is_gone: bool
) -> None:
    """Its places stop counting, and whoever comes upon them removes them."""
    dead, ledger = open_ledger(), open_ledger()
    await know(ledger, 20)
    hold = await reserve(ledger, "a", 20, 0)
    await take_place(dead, "b", 15)
    await take_place(dead, "c", 1)
    await release(ledger, hold)
    await silence(dead, seconds)
    assert (await ledger.overview()).services["shop"].waiting == (0 if is_gone else 2)
    assert await ask(ledger, "newcomer", 10, 0) == (Code.DONE if is_gone else Code.FLOOR)
    assert await count_places() == (0 if is_gone else 2)
    assert (await dead.next_in_queue()).is_forgotten == is_gone


async def test_a_gateway_that_was_thought_gone_is_told_once(
    ledger: Ledger, open_ledger, silence, pass_time: PassTime
) -> None:
    """Its calls ask again, and stand where they stood: their places say since when."""
    other = open_ledger()
    await know(ledger, 0)
    first = await take_place(ledger, "first", 15)
    assert not (await ledger.next_in_queue()).is_forgotten
    second = await take_place(other, "second", 15, seconds=100)
    await silence(ledger, 4)
    await pass_time(30)
    assert await served(other) == ["second"]
    assert (await ledger.next_in_queue()).is_forgotten
    assert not (await ledger.next_in_queue()).is_forgotten
    assert (await wait(ledger, "first", 15, place=first)).code == Code.DONE
    assert (await wait(other, "second", 15, place=second, seconds=100)).place == second


async def test_a_place_ends_with_its_wait(ledger: Ledger, count_places) -> None:
    """A call whose wait is over keeps nothing from anybody, should its gateway not say so."""
    await know(ledger, 0, 100)
    await take_place(ledger, "a", 15, seconds=0.3)
    # Before its gateway has been silent for too long.
    await until(lambda: is_admitted(ledger, "newcomer", 20), 2)
    assert await count_places() == 0


async def is_admitted(ledger: Ledger, name: str, tokens: int) -> bool:
    return await ask(ledger, name, tokens, 0) == Code.DONE


async def test_a_caller_who_leaves_gives_up_its_place(ledger: Ledger, count_places) -> None:
    """At once, and its call is not admitted any more."""
    await know(ledger, 0)
    place = await take_place(ledger, "a", 15)
    ledger.leave("a", place)
    assert await ledger.delivered(2)
    assert await count_places() == 0
    late = await wait(ledger, "a", 15, place=place)
    assert (late.code, late.place) == (Code.RESOLVED, "")


async def test_a_place_that_its_caller_never_heard_of_keeps_nobody_waiting(
    ledger: Ledger, pass_time: PassTime, count_places
) -> None:
    """Known by its id only, it stops counting when its turn comes, and as the first."""
    await know(ledger, 0)
    await take_place(ledger, "large", 100, seconds=600)
    await take_place(ledger, "a", 15, seconds=600)
    for name in ("large", "a"):
        ledger.leave(name, "")
    assert await ledger.delivered(2)
    await pass_time(30)
    assert await ask(ledger, "newcomer", 20, 0) == Code.DONE
    assert await count_places() == 0


async def test_who_is_answered_has_no_place(
    ledger: Ledger, pass_time: PassTime, count_places
) -> None:
    """Admitted, refused at the end of its wait, or by a window of its service."""
    await know(ledger, 0)
    names = ("admitted", "late", "capped")
    places = [await take_place(ledger, name, 10, seconds=100) for name in names]
    await pass_time(30)
    assert (await wait(ledger, "admitted", 10, place=places[0])).code == Code.DONE
    assert (await wait(ledger, "late", 30, seconds=0, place=places[1])).code == Code.FLOOR
    assert await count_places() == 1
    capped = await ledger.reserve(Ask(
        "capped", 10, Terms(0, tokens_per_hour=15), "shop", "product",
        wait_seconds=60, place=places[2],
    ))  # fmt: skip
    assert (capped.code, await count_places()) == (Code.QUOTA, 0)


async def test_an_emptied_store_gets_its_line_back_in_the_old_order(
    open_ledger, flush: Flush, pass_time: PassTime
) -> None:
    """Whoever asks first: a call keeps the place that it was told."""
    one, two = open_ledger(), open_ledger()
    await know(one, 0)
    first = await take_place(one, "first", 15)
    second = await take_place(two, "second", 15, seconds=100)
    await flush()
    assert (await served(one), await served(two)) == ([], [])
    assert (await wait(two, "second", 15, place=second)).code == Code.UNKNOWN
    await know(two, 0)
    assert (await wait(two, "second", 15, place=second, seconds=100)).place == second
    assert (await wait(one, "first", 15, place=first)).place == first
    await pass_time(30)
    assert (await served(two), await served(one)) == ([], ["first"])


async def test_a_store_that_has_failed_over_keeps_its_line(
    ledger: Ledger, store: Store, pass_time: PassTime
) -> None:
    """With the balance unknown nobody is served but free calls, and then the queue goes on."""
    await know(ledger, 0)
    await take_place(ledger, "a", 15)
    before = (await run(ledger, scripts.OVERVIEW, 0, 0)).epoch
    store._run_id = f"{store._run_id}.2"
    assert await served(ledger) == []
    assert await ask(ledger, "free", 0, 0) == Code.DONE
    assert (await run(ledger, scripts.OVERVIEW, 0, 0)).epoch > before
    await know(ledger, 0)
    await pass_time(30)
    assert await served(ledger) == ["a"]


async def seconds_of(wait: Awaitable[None]) -> float:
    """Wait for a turn, and insist that it comes; return how long it took."""
    began_at = time.monotonic()
    await asyncio.wait_for(wait, 10)
    return time.monotonic() - began_at


@contextlib.asynccontextmanager
async def asked(ear: Any) -> AsyncIterator[None]:
    """Wait, after what happens within, until the queue has been asked about once more."""
    before = questions(ear)
    yield
    await until(lambda: questions(ear) > before, every=0.002)


def questions(ear: Any) -> int:
    return [script for script, _ in ear.heard].count("next_in_queue")


async def wait_for_a_release(queue: Queue, ledger: Ledger, other: Ledger, ear: Any) -> float:
    """Wait until the other has released what the call needs; return how late that is heard of."""
    await know(ledger, 20, 59_000)
    hold = await reserve(other, "held", 20, 0)
    place = await take_place(ledger, "a", 15)
    async with asked(ear):
        turn = asyncio.create_task(queue.wait(place, 59))
    assert not turn.done()
    await release(other, hold)
    seconds = await seconds_of(turn)
    admission = await wait(ledger, "a", 15, place=place)
    assert admission.hold
    await release(ledger, admission.hold)
    return seconds


async def test_a_release_is_heard_of(open_ledger, open_queue: OpenQueue, ear: Any) -> None:
    """One's own at once, another gateway's a quarter of a second later at most."""
    ledger, other = open_ledger(), open_ledger()
    queue = open_queue(ledger)
    assert min([await wait_for_a_release(queue, ledger, ledger, ear) for _ in range(3)]) < 0.1
    assert min([await wait_for_a_release(queue, ledger, other, ear) for _ in range(3)]) < 0.3


async def test_a_lump_is_heard_of_when_it_falls(ledger: Ledger, open_queue: OpenQueue) -> None:
    """Not before it, when the call would ask in vain, and not a whole question later."""
    queue = open_queue(ledger)
    late = []
    for name in "abc":
        await know(ledger, 0, 500)
        place = await take_place(ledger, name, 20)
        late.append(await seconds_of(queue.wait(place, 59)))
        admission = await wait(ledger, name, 20, place=place)
        assert admission.hold
        await release(ledger, admission.hold)
    assert min(late) < 0.55


async def test_an_observation_that_raises_the_balance_is_heard_of(
    ledger: Ledger, open_queue: OpenQueue, ear: Any
) -> None:
    """At once."""
    queue = open_queue(ledger)
    late = []
    for name in "abc":
        await know(ledger, 0, 59_000)
        place = await take_place(ledger, name, 20)
        async with asked(ear):
            turn = asyncio.create_task(queue.wait(place, 59))
        await know(ledger, 20, 59_000)
        late.append(await seconds_of(turn))
        ledger.leave(name, place)
    assert min(late) < 0.1


async def test_only_those_whose_turn_it_is_are_told(
    ledger: Ledger, open_queue: OpenQueue, ear: Any
) -> None:
    """The others wait on; and nobody is told whose wait has ended."""
    queue = open_queue(ledger)
    await know(ledger, 0, 59_000)
    first = await take_place(ledger, "first", 15)
    second = await take_place(ledger, "second", 15, seconds=120)
    turns = [asyncio.create_task(queue.wait(place, 59)) for place in (first, second)]
    assert await seconds_of(queue.wait("none of the queue", 0.05)) >= 0.05
    await know(ledger, 20, 59_000)
    await asyncio.wait_for(turns[0], 10)
    async with asked(ear):
        pass
    assert not turns[1].done()
    queue.call_all()
    await asyncio.wait_for(turns[1], 10)


async def test_a_new_epoch_has_all_ask_again(
    ledger: Ledger, open_queue: OpenQueue, store: Store, ear: Any
) -> None:
    """Their places may be gone, in a store that knows the gateway nonetheless."""
    queue = open_queue(ledger)
    await know(ledger, 0, 59_000)
    places = [await take_place(ledger, name, 10) for name in "ab"]
    async with asked(ear):
        waiting = asyncio.gather(*(queue.wait(place, 59) for place in places))
    assert not waiting.done()
    store._run_id = f"{store._run_id}.2"
    await asyncio.wait_for(waiting, 10)


async def test_a_gateway_that_was_silent_has_all_ask_again(
    ledger: Ledger, open_queue: OpenQueue, silence
) -> None:
    """As their places may be gone, too."""
    queue = open_queue(ledger)
    await know(ledger, 0, 59_000)
    place = await take_place(ledger, "a", 15)
    await silence(ledger, 4)
    await asyncio.wait_for(queue.wait(place, 59), 10)


async def test_a_line_has_room_for_so_many_and_none_when_it_closes(
    ledger: Ledger, open_queue: OpenQueue
) -> None:
    """Whoever waits when the gateway stops is told at once."""
    queue = open_queue(ledger, at_most=2)
    await know(ledger, 0, 59_000)
    turns = []
    for name in "ab":
        assert queue.has_room
        turns.append(asyncio.create_task(queue.wait(await take_place(ledger, name, 10), 59)))
        await asyncio.sleep(0)
    assert not queue.has_room
    turns[0].cancel()
    await asyncio.gather(turns[0], return_exceptions=True)
    assert queue.has_room
    queue.close()
    await asyncio.wait_for(turns[1], 10)
    assert not queue.has_room


async def test_a_lost_store_has_all_ask_again(
    open_store, own_server: RedisServer, account: str, ear, open_queue: OpenQueue
) -> None:
    """What they ask next tells them so; the queue itself goes on when the store is back."""
    store: RedisStore = await open_store()
    ledger = Ledger(store, account, RULES, ear)
    queue = open_queue(ledger)
    await know(ledger, 0, 59_000)
    place = await take_place(ledger, "a", 15)
    turn = asyncio.create_task(queue.wait(place, 59))
    await asyncio.sleep(0)
    own_server.kill()
    await asyncio.wait_for(turn, 10)
    await until(lambda: not store.up)
    with pytest.raises(LedgerUnavailable):
        await ledger.next_in_queue()
    own_server.start()
    await until(lambda: store.up)
    await know(ledger, 0, 300)
    await asyncio.wait_for(queue.wait(await take_place(ledger, "b", 15), 59), 10)
    assert await is_admitted(ledger, "c", 5)


async def test_a_thousand_waiting_calls_cost_next_to_nothing(
    open_store, own_server: RedisServer, account: str, ear, open_queue: OpenQueue
) -> None:
    """However many wait: a gateway asks the store a few times a second."""
    ledger = Ledger(await open_store(), account, RULES, ear)
    queue = open_queue(ledger, WAITERS)
    await know(ledger, 0, 59_000, rate=6000)
    places = [await take_place(ledger, f"w{n}", n % 5 + 1) for n in range(WAITERS)]
    waiting = asyncio.gather(*(queue.wait(place, 59) for place in places))
    await asyncio.sleep(0.5)
    before, began_at, used = scripts_run(own_server), time.monotonic(), time.process_time()
    await asyncio.sleep(2)
    seconds, used = time.monotonic() - began_at, time.process_time() - used
    calls, us = (now - then for now, then in zip(scripts_run(own_server), before, strict=True))
    print(
        f"{WAITERS} waiting calls: {calls / seconds:.1f} scripts a second, {us / calls:.0f} us of "
        f"Redis each, {us / seconds / 10_000:.2f} % of its time; gateway {used / seconds:.1%}"
    )
    assert not waiting.done()
    assert 4 <= calls <= 5 * seconds
    queue.close()
    await waiting


def scripts_run(server: RedisServer) -> tuple[int, int]:
    """Return how many scripts the server has run, and the microseconds they took."""
    found = re.search(rb"cmdstat_evalsha:calls=(\d+),usec=(\d+)", server.command("INFO", "all"))
    assert found
    return int(found[1]), int(found[2])


async def test_places_that_the_store_lost_are_taken_again(
    ledger: Ledger, open_queue: OpenQueue, command: Command, account: str, ear: Any
) -> None:
    """Nobody waits until the end of its time for a place that is gone; it is told, once."""
    await know(ledger, 0)
    queue = open_queue(ledger)
    place = await take_place(ledger, "a", 15)
    turn = asyncio.create_task(queue.wait(place, 59))
    await until(lambda: "next_in_queue" in [script for script, _ in ear.heard])
    assert not turn.done()
    await command("DEL", name_keys(account)[5])
    assert await seconds_of(turn) < 2
    assert ear.inconsistent == {"queue_lost"}
