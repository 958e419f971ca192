"""What can happen next to a fleet, and how often."""

from support.fleet.fleet import Fleet, Flight, Waiter
from support.fleet.homes import LEARNING_MS
from support.fleet.policed import SERVICES


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

    async def wait_in_queue(self, pick: int, number: int) -> None:
        wait_seconds = (60, 150, 10, 600)[number % 4]
        for nth in range(1 + pick // 4):
            gateway, service = self._gateway(pick + nth), self._service(number // 4 + nth)
            await self.fleet.wait_in_queue(gateway, number, service, wait_seconds=wait_seconds)

    async def ask_again(self, pick: int, _: int) -> None:
        if waiter := self._waiter(pick):
            await self.fleet.ask_again(waiter)

    async def next_in_queue(self, _: int, __: int) -> None:
        for gateway in range(len(self.fleet.ledgers)):
            await self.fleet.next_in_queue(gateway)

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
        # Not the queue, whose calls are asked again at the end of their wait only; not the markers,
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
    "reserve_in_vain": 1, "crash": 1, "keep": 1, "grow_plan": 2, "wait_in_queue": 7, "ask_again": 2,
    "next_in_queue": 1, "leave": 1, "overdraw": 3, "set_clock_back": 2, "lose_key": 2,
}  # fmt: skip
