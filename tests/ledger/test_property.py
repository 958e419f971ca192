"""Random schedules of a whole fleet: the promises that hold in any order of events.

The scripts, the ledger and the stores are the real ones; Keepa and time are played: see
support/fleet.py, where the promise's conditions stand too.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from support.fleet import Fleet, Flight, Waiter
from support.homes import LEARNING_MS, EmbeddedHome, Home, RedisHome
from support.policed import SERVICES
from support.redis_server import RedisServer

pytestmark = pytest.mark.long


class Moves:
    """What can happen next: `pick` chooses to whom, `number` how much of it."""

    def __init__(self, fleet: Fleet, *, overdraft: bool = False) -> None:
        self.fleet = fleet
        self.overdraft = overdraft

    def _gateway(self, pick: int) -> int:
        return pick % len(self.fleet.ledgers)

    def _flight(self, pick: int, *steps: str) -> Flight | None:
        flights = [f for f in self.fleet.flights if not steps or f.step in steps]
        return flights[pick % len(flights)] if flights else None

    def _service(self, number: int) -> str:
        return SERVICES[number % len(SERVICES)]

    def _waiter(self, pick: int) -> Waiter | None:
        waiters = self.fleet.waiters
        return waiters[pick % len(waiters)] if waiters else None

    async def reserve_a_part(self, pick: int, number: int) -> None:
        parts, unused = (1, 2, 3, 5, 8)[number % 5], (0, 0, 1, 9)[pick % 4]
        service = self._service(number // 5)
        await self.fleet.reserve_part(self._gateway(pick), parts, unused, service)

    async def reserve(self, pick: int, number: int) -> None:
        tokens, service = number % 61, self._service(number // 61)
        wait_seconds = (0, 60)[pick % 2]
        await self.fleet.reserve(
            self._gateway(pick), tokens, tokens, service, wait_seconds=wait_seconds
        )

    async def overdraw(self, pick: int, number: int) -> None:
        if not self.overdraft:
            return
        if pick % 3:
            await self.wait_until_full(11, number)
        await self.fleet.overdraw(self._gateway(pick), 1 + number % 200)

    async def wait_in_line(self, pick: int, number: int) -> None:
        wait_seconds = (60, 150, 10, 600)[number % 4]
        for nth in range(1 + pick // 4):
            gateway, service = self._gateway(pick + nth), self._service(number // 4 + nth)
            await self.fleet.wait_in_line(gateway, number, service, wait_seconds=wait_seconds)

    async def ask_again(self, pick: int, _: int) -> None:
        if waiter := self._waiter(pick):
            await self.fleet.ask_again(waiter)

    async def ask_line(self, _: int, __: int) -> None:
        for gateway in range(len(self.fleet.ledgers)):
            await self.fleet.ask_line(gateway)

    async def leave(self, pick: int, number: int) -> None:
        if waiter := self._waiter(pick):
            await self.fleet.leave(waiter, knows_place=number % 2 == 0)

    async def reserve_in_vain(self, pick: int, number: int) -> None:
        await self.fleet.reserve_in_vain(self._gateway(pick), 1 + number % 60)

    async def call(self, pick: int, number: int) -> None:
        parts, service = (1, 2, 3, 5, 8)[number % 5], self._service(number // 5)
        await self.fleet.call(self._gateway(pick), parts, service)

    async def proceed(self, pick: int, number: int) -> None:
        if flight := self._flight(pick):
            for _ in range(1 + number % 4):
                await self.fleet.proceed(flight)

    async def proceed_with_the_newest(self, _: int, number: int) -> None:
        await self.proceed(-1, number)

    async def proceed_with_all(self, _: int, __: int) -> None:
        for flight in list(self.fleet.flights):
            await self.fleet.proceed(flight)

    async def settle_blindly(self, pick: int, _: int) -> None:
        if flight := self._flight(pick, "seen"):
            await self.fleet.settle_blindly(flight)

    async def settle_again(self, pick: int, number: int) -> None:
        await self.fleet.settle_again(pick, observed=number % 2 == 0)

    async def release(self, pick: int, _: int) -> None:
        if flight := self._flight(pick, "sent"):
            await self.fleet.release(flight)

    async def lose(self, pick: int, _: int) -> None:
        if flight := self._flight(pick):
            self.fleet.lose(flight)

    async def ask_token(self, pick: int, _: int) -> None:
        await self.fleet.ask_token(self._gateway(pick))

    async def observe(self, pick: int, number: int) -> None:
        await self.fleet.observe_now(self._gateway(pick), delay_ms=number)

    async def keep(self, pick: int, _: int) -> None:
        await self.fleet.keep(self._gateway(pick))

    async def wait_a_little(self, _: int, number: int) -> None:
        await self.fleet.pass_time(number)

    async def wait(self, _: int, number: int) -> None:
        await self.fleet.pass_time(number * 20)

    async def wait_for_a_lump(self, pick: int, number: int, lumps: int = 0) -> None:
        """Until shortly before it or after."""
        lump_in_ms = self.fleet.bucket.refill_in_ms(self.fleet.now_ms) + lumps * 60_000
        await self.fleet.pass_time(max(0, lump_in_ms + number - 1500))

    async def wait_until_full(self, pick: int, number: int) -> None:
        await self.wait_for_a_lump(pick, number, 1 + pick * 6)

    async def crash(self, pick: int, _: int) -> None:
        self.fleet.crash(self._gateway(pick))

    async def save(self, _: int, __: int) -> None:
        await self.fleet.home.save()

    async def set_back(self, pick: int, number: int) -> None:
        await self.fleet.set_back()
        await self._start_over(pick, number)

    async def empty(self, pick: int, number: int) -> None:
        await self.fleet.empty()
        await self._start_over(pick, number)

    async def set_clock_back(self, pick: int, number: int) -> None:
        # A step that is waited out, some seconds, or hours.
        ms = (300 + number % 600, 1001 + 20 * number, 3_600_000 + 5_000 * number)[pick % 3]
        await self.fleet.set_clock_back(ms)
        if ms > 1000:
            await self._start_over(pick, number)

    async def lose_key(self, pick: int, number: int) -> None:
        # Not the line, whose calls are asked again at the end of their wait only; not the markers,
        # without which a late copy is charged twice.
        names = ("holds", "ledger", "expiries", "starts", "services", "gateways")
        await self.fleet.lose_key(names[pick % len(names)])
        await self._start_over(pick, number)

    async def _start_over(self, pick: int, number: int) -> None:
        if number % 4 != 0:
            await self.fleet.observe_now(self._gateway(pick))
        if number % 4 != 1:
            await self.fleet.pass_time(LEARNING_MS)

    async def grow_plan(self, pick: int, number: int) -> None:
        """A larger plan, or fewer trackings."""
        bucket = self.fleet.bucket
        rate = bucket.refill_rate + pick % 6
        flow = max(0, bucket.flow_reduction - (number % 3) / 4)
        bucket.change_rate(rate, flow, self.fleet.now_ms)

    async def spend_outside(self, _: int, number: int) -> None:
        if self.fleet.outsider:
            self.fleet.bucket.spend(1 + number % 100, self.fleet.now_ms)


# How often each one happens: mostly traffic, which has to be dense to go wrong.
WEIGHTS = {
    "reserve_a_part": 14, "proceed": 14, "call": 8, "proceed_with_the_newest": 7,
    "proceed_with_all": 5, "wait_a_little": 5, "wait_for_a_lump": 5, "wait_until_full": 5,
    "reserve": 2, "wait": 2, "ask_token": 2, "observe": 2, "settle_again": 2, "settle_blindly": 2,
    "set_back": 2, "empty": 2, "spend_outside": 2, "save": 1, "lose": 1, "release": 1,
    "reserve_in_vain": 1, "crash": 1, "keep": 1, "grow_plan": 2, "wait_in_line": 7, "ask_again": 2,
    "ask_line": 1, "leave": 1, "overdraw": 3, "set_clock_back": 2, "lose_key": 2,
}  # fmt: skip


class Schedule(RuleBasedStateMachine):
    """Any order of what gateways, Keepa and fate can do.

    Perhaps somebody else spends, or calls may overdraw the bucket.
    """

    def __init__(self, home: Home, *, outsider: bool = False, overdraft: bool = False) -> None:
        super().__init__()
        self.home = home
        self.outsider = outsider
        self.overdraft = overdraft
        self.runner = asyncio.Runner()
        self.failed = False
        self.runner.run(home.open())

    def run(self, play: Coroutine[Any, Any, None]) -> None:
        self.failed = True
        self.runner.run(play)
        self.failed = False

    @initialize(
        gateways=st.integers(1, 3),
        floor=st.sampled_from([10, 0, 40, -30]),
        rate=st.sampled_from([5, 1, 2, 20]),
        flow=st.sampled_from([0, 0.5, 0.25, 0.75]),
        lack=st.sampled_from([0, 1, 30, 100, 1_000]),
        first_lump_in_ms=st.integers(1, 60_000),
        delay_ms=st.integers(0, 3_000),
    )
    def begin(self, **account: Any) -> None:
        self.run(self._begin(**account))

    async def _begin(
        self, *, gateways: int, floor: int, rate: int, lack: int, delay_ms: int, **bucket: Any
    ) -> None:
        fleet = Fleet(self.home, gateways=gateways, floor=floor, outsider=self.outsider)
        fleet.open_account(max(floor + 20, 60 * rate - lack), rate, **bucket)
        await fleet.observe_now(0, delay_ms=delay_ms)
        await fleet.pass_time(LEARNING_MS)
        self.fleet, self.moves = fleet, Moves(fleet, overdraft=self.overdraft)

    @rule(
        what=st.sampled_from([name for name, weight in WEIGHTS.items() for _ in range(weight)]),
        pick=st.integers(0, 11),
        number=st.integers(0, 3_000),
    )
    def move(self, what: str, pick: int, number: int) -> None:
        self.run(self._move(what, pick, number))

    async def _move(self, what: str, pick: int, number: int) -> None:
        await getattr(self.moves, what)(pick, number)
        await self.fleet.check()
        if pick % 3 == 0 and not self.outsider:
            await self.fleet.look_for_too_much()
            await self.fleet.check()

    def teardown(self) -> None:
        try:
            if hasattr(self, "fleet") and not self.failed:
                self.run(self.fleet.quiet())
                self.run(self.fleet.check())
        finally:
            self.runner.run(self.home.close())
            self.runner.close()


def play(make: Callable[[], Schedule], examples: int, steps: int, *, shrinks: bool = True) -> None:
    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            phases=[Phase.reuse, Phase.generate, *([Phase.shrink] if shrinks else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(1800)
def test_no_schedule_crosses_the_floor() -> None:
    """In any order of events nothing is admitted that is not there, and the books agree."""
    play(lambda: Schedule(EmbeddedHome()), examples=160, steps=60)


def test_no_schedule_crosses_the_floor_on_redis(redis_server: RedisServer) -> None:
    """The same on a real Redis, whose clock runs on; what it finds, the embedded store shrinks."""
    play(lambda: Schedule(RedisHome(redis_server.url)), examples=25, steps=40, shrinks=False)


@pytest.mark.timeout(1800)
def test_an_outsider_leaves_the_books_in_order() -> None:
    """With somebody else spending, holds, C and the balance after quiet time are still right."""
    play(lambda: Schedule(EmbeddedHome(), outsider=True), examples=30, steps=40)


@pytest.mark.timeout(1800)
def test_calls_that_overdraw_leave_the_others_their_floor() -> None:
    """They run alone and from a full bucket; nobody else's call leaves less than its floor."""
    play(lambda: Schedule(EmbeddedHome(), overdraft=True), examples=20, steps=40)
