"""Calls that are raised in one turn run in one go, and come to the same as one after the other."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fleet.fleet import Deaf
from support.ledger.calls import accounts, ask, know, observed, reserve
from support.redis.server import MISSING, REDIS_SERVER, RedisServer
from support.waiting import until

from gateway.errors import LedgerUnavailable
from gateway.ledger import Admission, Ask, Code, Ledger, RedisStore, Rules, Terms, scripts

RULES = Rules(150, 60, 5, 60, 300)


@pytest.fixture
async def store(own_server: RedisServer) -> AsyncIterator[RedisStore]:
    """A real Redis only: the embedded store runs one after the other anyway."""
    store = RedisStore(own_server.url, learning_seconds=0)
    await store.open()
    yield store
    await store.close()


def commands(server: RedisServer) -> int:
    """Return how often the server was asked to run a script."""
    told = server.command("INFO", "commandstats")
    return sum(int(calls) for calls in re.findall(rb"cmdstat_eval(?:sha)?:calls=(\d+)", told))


async def test_a_crowd_takes_few_commands(own_server: RedisServer, ledger: Ledger) -> None:
    """Of 40 reserves raised in one turn, sixteen at a time go in one command; so do their ends."""
    await know(ledger, 1000)
    before = commands(own_server)
    holds = await asyncio.gather(*(reserve(ledger, f"{n}", 2) for n in range(40)))
    assert commands(own_server) - before == 3
    for n, hold in enumerate(holds):
        if n % 2:
            ledger.settle(hold, 3)
        else:
            ledger.release(hold)
    assert await ledger.delivered(2)
    assert commands(own_server) - before == 6
    assert await accounts(ledger) == (940, 0, 60)


async def test_each_is_judged_after_the_one_before(ledger: Ledger) -> None:
    """In one go, what one call holds is not there for the next, to the last token."""
    await know(ledger, 100)
    codes = await asyncio.gather(*(ask(ledger, f"{n}", 7) for n in range(20)))
    assert codes == [Code.DONE] * 12 + [Code.FLOOR] * 8
    assert await accounts(ledger) == (100, 84, 0)
    assert (await ledger.overview()).services["shop"].refusals == {"floor": 8}


async def test_ends_make_room_for_what_follows_in_the_same_go(ledger: Ledger) -> None:
    """A settle or a release before a reserve leaves it the tokens, as it would by itself."""
    await know(ledger, 100)
    hold, other = await reserve(ledger, "a", 60), await reserve(ledger, "b", 30)
    ledger.settle(hold, 10, observed(90))
    ledger.release(other)
    assert await ask(ledger, "c", 80) == Code.DONE
    assert await accounts(ledger) == (90, 80, 10)


async def test_one_bad_argument_harms_nobody_else(ledger: Ledger) -> None:
    """A call that the script refuses fails alone; what came with it runs, once."""
    await know(ledger, 100)
    results = await asyncio.gather(
        ask(ledger, "a", 20),
        ledger.store.run(scripts.RESERVE, ledger._keys, lambda: ("x", "1.5", "10")),
        ask(ledger, "b", 30),
        return_exceptions=True,
    )
    assert results[0] == results[2] == Code.DONE
    assert isinstance(results[1], LedgerUnavailable)
    assert await accounts(ledger) == (100, 50, 0)
    look = await ledger.overview()
    assert (look.requests, look.live_holds) == (2, 2)


async def test_a_full_redis_still_settles_what_comes_with_reserves(
    own_server: RedisServer, ledger: Ledger
) -> None:
    """Out of memory, reserves are refused, and no end that is raised with them is."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 30)
    own_server.command("CONFIG", "SET", "maxmemory", "1")
    asked = [asyncio.ensure_future(ask(ledger, name, 1)) for name in "bc"]
    await asyncio.sleep(0)
    ledger.settle(hold, 30)
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(result, LedgerUnavailable) for result in results)
    assert await ledger.delivered(5)
    own_server.command("CONFIG", "SET", "maxmemory", "0")

    async def is_settled() -> bool:
        # A probe that was sent before may still say that it is full.
        with suppress(LedgerUnavailable):
            return await accounts(ledger) == (70, 0, 30)
        return False

    await until(is_settled, 5)


async def test_scripts_that_were_forgotten_are_told_to_all(
    own_server: RedisServer, ledger: Ledger
) -> None:
    """After a SCRIPT FLUSH a go of many runs all the same, each of them once."""
    await know(ledger, 100)
    assert own_server.command("SCRIPT", "FLUSH").startswith(b"+OK")
    codes = await asyncio.gather(*(ask(ledger, f"{n}", 20) for n in range(6)))
    assert sorted(codes) == [Code.DONE] * 4 + [Code.FLOOR] * 2
    assert await accounts(ledger) == (100, 80, 0)


async def test_what_happened_is_told_once(ledger: Ledger, ear: object, pass_time: Callable) -> None:
    """Of a hold that expired, only the first of those that run in one go tells; of its own overrun
    each."""
    await know(ledger, 100)
    doubtful, dear = await reserve(ledger, "a", 20), await reserve(ledger, "b", 5)
    ledger.doubt(doubtful)
    await pass_time(140)
    late = await reserve(ledger, "c", 5)
    await pass_time(20)
    ledger.settle(dear, 9)
    ledger.settle(late, 8)
    await asyncio.gather(*(ask(ledger, f"{n}", 1) for n in range(3)))
    assert await ledger.delivered(2)
    assert [ear.total(event) for event in ("reaped", "reaped_tokens", "overrun")] == [2, 25, 3]


async def test_the_first_in_a_go_may_take_a_place_before_the_second(ledger: Ledger) -> None:
    """A call that joins the queue is seen by the calls behind it in the same go."""
    await know(ledger, 60, refill_in_ms=30_000)
    first, second = await asyncio.gather(
        ledger.reserve(Ask("a", 60, Terms(10), "shop", "product", wait_seconds=50)),
        ledger.reserve(Ask("b", 50, Terms(10), "shop", "product")),
    )
    assert first.place
    # Its lump would come too late for the first if the second took all there is.
    assert (second.code, second.hold) == (Code.FLOOR, None)


async def test_a_gateway_that_was_thought_gone_is_back_for_all_of_a_go(
    own_server: RedisServer, ledger: Ledger
) -> None:
    """The first call that joins brings it back: its place counts for the second."""
    await know(ledger, 40)

    def wait(name: str, seconds: float) -> Awaitable[Admission]:
        return ledger.reserve(Ask(name, 60, Terms(10), "shop", "product", wait_seconds=seconds))

    assert (await wait("gone", 200)).place
    own_server.command("ZADD", ledger._keys[6], "1", ledger._name)
    first, second = await asyncio.gather(wait("a", 200), wait("b", 0))
    assert first.place
    # Behind the first only, which the second would otherwise have thought gone, too.
    waiting = (await ledger.overview()).services["shop"].waiting
    assert (waiting, second.wait_ms > first.wait_ms) == (1, True)


async def test_who_comes_in_one_go_stands_in_the_order_of_coming(ledger: Ledger) -> None:
    """Places of one go are in the order of its calls, whatever the calls are named."""
    await know(ledger, 20)
    admissions = await asyncio.gather(
        *(
            ledger.reserve(Ask(name, 30, Terms(10), "shop", "product", wait_seconds=wait))
            for name, wait in (("c", 300), ("b", 290), ("a", 280))
        )
    )
    places = [admission.place for admission in admissions]
    assert places == sorted(places)
    assert all(places)


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if not REDIS_SERVER:
        pytest.skip(MISSING)
    server = RedisServer(tmp_path_factory.mktemp("together"))
    yield server
    server.kill()


IDS = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), IDS, st.integers(0, 60), st.sampled_from([10, 40])),
        st.tuples(st.just("settle"), IDS, st.integers(0, 60), st.booleans()),
        st.tuples(st.just("release"), IDS, st.just(0), st.just(0)),
    ),
    min_size=1,
    max_size=30,
)


class Played:
    """One ledger that steps are played on."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.verdicts: list[object] = []
        self._names: dict[str, str] = {}
        self._numbers = count()

    def raise_step(self, step: tuple) -> asyncio.Future[object]:
        """Send one step as a gateway does, resent and late ones too."""
        what, letter, tokens, more = step
        if what == "reserve":
            return self._run(
                scripts.RESERVE,
                f"{letter}|{tokens}|shop|product|admit|0|",
                f"{more}|0|0|0|0|0",
                "150000000|300000000|1000000|5|gateway",
            )
        if what == "release":
            return self._run(scripts.RELEASE, f"{letter}|{self.ledger._epoch}|")
        observation = f"{100 - tokens}|30000|20|0|0" if more else ""
        return self._run(
            scripts.SETTLE,
            f"{letter}|{tokens}|20|{self.ledger._epoch}|0|shop|product",
            observation,
        )

    def _run(self, script: scripts.Script, *arguments: str | int) -> asyncio.Future[object]:
        return self.ledger.store.run(script, self.ledger._keys, lambda: arguments)


def verdict(raw: list) -> tuple:
    """Return code, balance, holds and C, and what was noticed; not what the clock says."""
    return raw[0], *raw[2:7], raw[9], raw[10], raw[12]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_one_go_comes_to_the_same_as_one_after_the_other(
    module_server: RedisServer, steps: list[tuple]
) -> None:
    """Any mix of reserves, settles and releases, repeated, out of order: same replies, same end."""

    async def play() -> None:
        module_server.command("FLUSHALL")
        store = RedisStore(module_server.url, learning_seconds=0)
        await store.open()
        try:
            ends = []
            for name in ("apart", "together"):
                ledger = Ledger(store, name, RULES, Deaf())
                await know(ledger, 100)
                played = Played(ledger)
                if name == "apart":
                    replies = [await played.raise_step(step) for step in steps]
                else:
                    replies = await asyncio.gather(*map(played.raise_step, steps))
                look = await ledger.overview()
                usage = look.services.get("shop")
                ends.append(
                    ([verdict(raw) for raw in replies], look.balance.tokens, look.balance.held,
                     look.balance.consumed, look.used, look.requests, look.live_holds, usage)
                )  # fmt: skip
            assert ends[0] == ends[1]
        finally:
            await store.close()

    asyncio.run(play())
