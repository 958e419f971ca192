"""Usage by service, endpoint and hour: what counts, once, in which hour, and how much is kept."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from support.ledger.calls import ask_under, know, release, reserve, reserve_under, run, settle

from gateway.errors import LedgerUnavailable
from gateway.ledger import (
    DAYS_KEPT,
    Ask,
    Code,
    EmbeddedStore,
    Item,
    Ledger,
    Purpose,
    Store,
    Terms,
    UsageHistory,
    scripts,
)
from gateway.ledger.scripts import name_usage_key

PassTime = Callable[[float], Awaitable[None]]
Flush = Callable[[], Awaitable[None]]
Command = Callable[..., Awaitable[object]]
Counts = Counter[Item]
HOUR = 3600
TERMS = Terms(10)


class Clock:
    """The gateways' clock: stands still, at the beginning of an hour, until it is turned."""

    def __init__(self) -> None:
        self.now = float(time.time() // HOUR * HOUR)

    def time(self) -> float:
        return self.now

    @property
    def hour(self) -> int:
        return int(self.now // HOUR)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("gateway.ledger.usage.time", clock)
    return clock


@pytest.fixture
def history(store: Store, account: str) -> UsageHistory:
    return UsageHistory(store, account)


@pytest.fixture
def command(request: pytest.FixtureRequest, store: Store) -> Command:
    """Return a function that asks the store itself, past the scripts."""

    async def say(*words: str) -> object:
        if isinstance(store, EmbeddedStore):
            return await store._client.execute_command(*words)
        reply = request.getfixturevalue("redis_server").command(*words)
        assert reply.startswith(b":"), reply
        return int(reply[1:])

    return say


async def counted(history: UsageHistory, clock: Clock, hours: int = 24) -> Counts:
    """Return what was counted in the last hours, this one and the next included."""
    counts: Counts = Counter()
    async for _, some in history.read(clock.hour - hours, clock.hour + 2):
        counts.update(some)
    return counts


async def settle_twice(ledger: Ledger, name: str, tokens: int, consumed: int) -> None:
    """A whole call, whose settle is sent once more."""
    hold = await reserve(ledger, name, tokens)
    await settle(ledger, hold, consumed)
    await settle(ledger, hold, consumed)


@pytest.mark.parametrize("consumed", [1, 44, 60])
async def test_a_call_counts_once(ledger, history, clock, consumed):
    """What it consumed, overrun included, and itself: once, however often it is sent."""
    await know(ledger, 100)
    await reserve(ledger, "a", 50)
    await settle_twice(ledger, "a", 50, consumed)
    assert await counted(history, clock) == {
        ("shop", "product", "tokens"): consumed, ("shop", "product", "calls"): 1,
    }  # fmt: skip


async def test_a_call_in_flight_has_used_nothing_yet(ledger, history, clock):
    """A hold is no use: tokens count when they are known to be gone."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    assert await counted(history, clock) == {("shop", "product", "calls"): 1}
    await release(ledger, hold)
    assert await counted(history, clock) == {("shop", "product", "calls"): 1}


async def test_a_free_call_counts_as_a_call(ledger, history, clock):
    """A call of cost 0 uses nothing."""
    await know(ledger, 100)
    await settle_twice(ledger, "a", 0, 0)
    assert await counted(history, clock) == {("shop", "product", "calls"): 1}


async def test_a_reaped_call_counts_at_its_cost_once(ledger, history, clock, pass_time):
    """A hold that nobody resolved is spent, and a settle that comes after it adds nothing."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    await pass_time(151)
    await ledger.overview()
    await settle(ledger, hold, 30)
    counts = await counted(history, clock)
    assert counts["shop", "product", "tokens"] == 50
    assert counts["shop", "product", "calls"] == 1


async def test_a_call_whose_hold_is_lost_counts_where_it_belongs(ledger, history, clock, flush):
    """A settle that finds an emptied store still says whose and what the tokens were."""
    await know(ledger, 100)
    hold = await ledger.reserve(Ask("a", 50, TERMS, "loft", "seller"))
    assert hold.hold
    ledger._live.clear()
    await flush()
    for _ in range(3):
        await settle(ledger, hold.hold, 40)
    assert await counted(history, clock) == {("loft", "seller", "tokens"): 40}


async def test_a_hold_that_comes_back_is_no_second_call(ledger, history, clock, flush):
    """Brought back to an emptied store it counts its tokens, and was a call in the old one."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    await flush()
    await ledger.overview()
    await ledger.keep()
    await settle(ledger, hold, 40)
    assert await counted(history, clock) == {("shop", "product", "tokens"): 40}


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_blind_call_counts_once(ledger, history, clock, is_kept):
    """A call that went through without the store counts when it is brought there or settled."""
    await know(ledger, 100)
    hold = ledger.hold_blindly("a", 30, "loft", "seller")
    if is_kept:
        await ledger.keep()
        await ledger.keep()
    for _ in range(2):
        await settle(ledger, hold, 30)
    await ledger.keep()
    assert await counted(history, clock) == {
        ("loft", "seller", "tokens"): 30, ("loft", "seller", "calls"): 1,
    }  # fmt: skip


async def test_each_refusal_counts_by_endpoint(ledger, history, clock):
    """What the ledger refuses, and what a gateway refuses without asking it."""
    await know(ledger, 100)
    assert (await ask_under(ledger, "a", 95, TERMS)).code == Code.FLOOR
    assert (await ask_under(ledger, "b", 5000, TERMS)).code == Code.CAPACITY
    capped = Terms(10, tokens_per_hour=20)
    assert (await ask_under(ledger, "c", 30, capped, "loft")).code == Code.QUOTA
    await ledger.count_refusals(
        {("loft", "seller", "max_cost"): 2, ("loft", "seller", "endpoint_not_allowed"): 1}
    )
    assert await counted(history, clock) == {
        ("shop", "product", "refusals"): 2,
        ("loft", "product", "refusals"): 1,
        ("loft", "seller", "refusals"): 3,
    }
    services = (await ledger.overview()).services
    assert services["loft"].refusals == {
        "service_quota": 1, "max_cost": 2, "endpoint_not_allowed": 1,
    }  # fmt: skip


async def test_an_unknown_balance_and_a_quote_count_nothing(ledger, history, clock):
    """No verdict is no refusal, and a question is no call."""
    assert (await ask_under(ledger, "a", 5, TERMS)).code == Code.UNKNOWN
    await know(ledger, 100)
    await ask_under(ledger, "b", 95, TERMS, purpose=Purpose.QUOTE)
    await ask_under(ledger, "c", 5, TERMS, purpose=Purpose.QUOTE)
    assert await counted(history, clock) == {}


async def test_a_call_let_through_counts_as_both(ledger, history, clock):
    """In shadow mode a call that would have been refused is a refusal and a call."""
    await know(ledger, 100)
    await ask_under(ledger, "a", 95, TERMS, purpose=Purpose.SHADOW)
    assert await counted(history, clock) == {
        ("shop", "product", "refusals"): 1, ("shop", "product", "calls"): 1,
    }  # fmt: skip


async def test_tokens_lost_to_a_full_bucket_are_nobodys(ledger, history, clock, ear, pass_time):
    """They count without service and endpoint, as many as the metrics tell."""
    await know(ledger, 1190)
    await pass_time(5 * 60)
    await ledger.overview()
    await ledger.overview()
    assert await counted(history, clock) == {("", "", "lost"): 90}
    assert ear.total("lost") == 90


async def test_each_hour_is_told_by_itself(ledger, history, clock):
    """A call counts in the hour that admits it, its tokens in the one that settles it."""
    await know(ledger, 100)
    hold = await reserve(ledger, "a", 50)
    begin = clock.hour
    clock.now += HOUR
    await settle(ledger, hold, 40)
    clock.now += 3 * HOUR - 1
    await settle_twice(ledger, "b", 5, 5)
    hours = [hour async for hour in history.read(begin - 5, begin + 20)]
    calls, tokens = ("shop", "product", "calls"), ("shop", "product", "tokens")
    assert [(hour - begin, counts) for hour, counts in hours] == [
        (0, {calls: 1}), (1, {tokens: 40}), (3, {calls: 1, tokens: 5}),
    ]  # fmt: skip
    assert [hour async for hour in history.read(begin + 1, begin + 3)] == hours[1:2]
    assert [hour async for hour in history.read(begin + 2, begin + 3)] == []


async def test_a_clock_that_is_set_back_counts_in_the_hour_it_shows(ledger, history, clock):
    """No hour is taken for over because it once had begun."""
    await know(ledger, 100)
    clock.now += HOUR
    await settle_twice(ledger, "a", 5, 5)
    clock.now -= 1
    await settle_twice(ledger, "b", 7, 7)
    hours = [hour async for hour in history.read(clock.hour, clock.hour + 2)]
    assert [list(counts.values()) for _, counts in hours] == [[1, 7], [1, 5]]


@pytest.mark.long
async def test_the_sums_are_what_the_ledger_says(open_ledger, history, clock, pass_time):
    """Any mixture from two gateways adds up to its tokens used, calls admitted, calls refused."""
    ledgers = [open_ledger(), open_ledger()]
    await know(ledgers[0], 1200)
    services, endpoints = ("shop", "loft", "batch"), ("product", "seller")

    async def call(n: int) -> None:
        ledger, service = ledgers[n % 2], services[n % 3]
        terms = Terms(10, tokens_per_hour=100) if service == "batch" else TERMS
        admission = await ledger.reserve(
            Ask(f"c{n}", n % 40, terms, service, endpoints[n % 5 // 3])
        )
        hold = admission.hold
        if hold and n % 7:
            for _ in range(1 + n % 2):
                ledger.settle(hold, min(n % 40, n % 23))
        elif hold and n % 2:
            ledger.release(hold)

    await asyncio.gather(*(call(n) for n in range(200)))
    for ledger in ledgers:
        assert await ledger.delivered(5)
    await pass_time(200)
    look, counts = await ledgers[1].overview(), await counted(history, clock)
    for service in services:
        its_own, told = look.services[service], Counter[str]()
        for endpoint in endpoints:
            for what in ("tokens", "refusals"):
                told[what] += counts[service, endpoint, what]
        assert told == {"tokens": its_own.used, "refusals": its_own.denied}
    calls = {names: number for names, number in counts.items() if names[2] == "calls"}
    assert (len(calls), sum(calls.values())) == (6, look.requests)
    assert sum(number for names, number in counts.items() if names[2] == "tokens") == look.used


async def test_an_hour_ends_by_itself(ledger, history, clock, command, account):
    """Its hash is there for all of the days that are kept, and goes within two more."""
    await know(ledger, 100)
    await settle_twice(ledger, "a", 5, 5)
    key = name_usage_key(account, clock.hour)
    assert (DAYS_KEPT + 1) * 86_400 - 60 < await command("TTL", key) <= (DAYS_KEPT + 1) * 86_400
    await command("PERSIST", key)
    await settle_twice(ledger, "b", 5, 5)
    # Counting in fields that are there takes one command, not two.
    assert await command("TTL", key) == -1


@pytest.mark.long
async def test_names_that_callers_make_up_fill_no_store(ledger, history, clock, command, account):
    """An hour has at most 2200 fields of services' own; the rest count as `other`, none is lost."""
    made_up = {(f"s{n}", f"e{n % 3}", "max_cost"): 2 for n in range(3000)}
    await ledger.count_refusals(made_up)
    await ledger.count_refusals(made_up)
    assert await command("HLEN", name_usage_key(account, clock.hour)) == 2200 + 3
    counts = await counted(history, clock)
    assert sum(counts.values()) == 12_000
    assert sum(counts["other", f"e{n}", "refusals"] for n in range(3)) == 800 * 4
    await know(ledger, 100)
    await reserve_under(ledger, "a", 5, TERMS, "other")
    assert (await counted(history, clock))["other", "product", "calls"] == 1


async def test_a_script_that_refuses_its_arguments_counts_nothing(ledger, history, clock):
    """A settle or a count that cannot be read leaves the usage as it was."""
    await know(ledger, 100)
    with pytest.raises(LedgerUnavailable):
        await run(ledger, scripts.COUNT_REFUSALS, "a", "b", "floor", 1, "a", "b", "floor", "many")
    with pytest.raises(LedgerUnavailable):
        await run(ledger, scripts.SETTLE, "x|5|5|1|x|shop|product", "")
    assert await counted(history, clock) == {}


async def test_a_store_that_does_not_answer_is_told(account):
    """Reading usage without a store is what every call without one is."""
    unreachable = EmbeddedStore()
    with pytest.raises(LedgerUnavailable):
        # Not opened: it knows no script.
        async for _ in UsageHistory(unreachable, account).read(0, 1):
            pass
    await unreachable.close()
