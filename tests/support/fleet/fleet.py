"""A fleet of gateways on one ledger, and a Keepa that charges: every move by hand.

The ledger is the real one, scripts included; only Keepa and time are played. What the ledger
believes can be held against what is true at any moment.
"""

import asyncio
from dataclasses import dataclass

from gateway.balance import Events
from gateway.ledger import (
    Admission,
    Ask,
    Code,
    Hold,
    Ledger,
    Observation,
    Rules,
    Terms,
    Turn,
    scripts,
)
from gateway.simulator.bucket import Bucket
from support.fleet.books import Auditor
from support.fleet.homes import Home
from support.fleet.policed import OVERDRAWING, Referee, make_terms
from support.ledger.clock import TurnedClock

HOLD_SECONDS = 150
# A gateway sends nothing on a hold so old that Keepa's work could outlive it.
DISPATCH_SECONDS = 145
# Later than that after its reserve no call is resolved, nor any copy of its settle under way.
RESOLVE_SECONDS = 500
KEEP_MS = 1000
TURN_MS = 2001
# A smaller step back of the clock is waited out: STEP in clock.lua.
STEP_BACK_MS = 1000
RULES = Rules(HOLD_SECONDS, 0, 1, fresh_seconds=60, stale_seconds=10**9)


class Deaf:
    """A listener to whom no event matters."""

    def replied(self, script: str, seconds: float, events: Events) -> None:
        """Nothing is noted."""


@dataclass(eq=False)
class Flight:
    """A call, or a `/token` call (a turn and no hold), on its way to Keepa and back."""

    gateway: int | None
    """None: it has died, or given the call up; what Keepa does goes on."""
    hold: Hold | None = None
    turn: Turn | None = None
    cost: int = 0
    """What Keepa will charge."""
    step: str = "sent"
    """Then charged, answered, seen."""
    reading: tuple[int, int, int, int] = (0, 0, 0, 0)
    """tokensLeft, refillIn, refillRate, flow when Keepa answered."""
    seen_at: float = 0.0

    @property
    def observation(self) -> Observation:
        return Observation(*self.reading, self.seen_at)


@dataclass(eq=False)
class Waiter:
    """A call in the queue."""

    gateway: int
    id: str
    tokens: int
    cost: int
    """What Keepa will charge."""
    service: str
    ends_at: float
    """When its wait ends, monotonic."""
    place: str = ""
    epoch: int = 0
    """In which it stands there; 0: it has its place in hand only."""


class Fleet:
    """Gateways, their calls, and Keepa's bucket."""

    bucket: Bucket
    terms: dict[str, Terms]

    def __init__(self, home: Home, *, gateways: int, floor: int, outsider: bool = False) -> None:
        self.home = home
        self.floor = floor
        self.outsider = outsider
        self.ledgers = [self._gateway() for _ in range(gateways)]
        self.flights: list[Flight] = []
        self.waiters: list[Waiter] = []
        self.settled: list[Flight] = []
        self._auditor = Auditor(home)
        self._has_kept = set(range(gateways))
        self._since_keep_ms = 0
        self._reserved = 0
        self._stores_own_tasks = asyncio.all_tasks()

    def _gateway(self) -> Ledger:
        return Ledger(self.home.store, self.home.account, RULES, Deaf())

    @property
    def now_ms(self) -> int:
        return int(self.home.clock.monotonic() * 1000)

    def open_account(self, tokens: int, rate: int, *, flow: float, first_lump_in_ms: int) -> None:
        self.bucket = Bucket(
            tokens, rate, self.now_ms, flow_reduction=flow, first_lump_in_ms=first_lump_in_ms
        )
        self.terms = make_terms(self.floor, rate)
        self._referee = Referee(self.terms)

    # What gateways do.

    async def reserve(
        self,
        gateway: int,
        tokens: int,
        cost: int,
        service: str = "shop",
        *,
        wait_seconds: float = 0.0,
    ) -> int:
        """Reserve; an admitted call is on its way, and Keepa will charge `cost`; or it waits."""
        self._reserved += 1
        ends_at = self.home.clock.monotonic() + wait_seconds
        call = Waiter(gateway, f"c{self._reserved}", tokens, cost, service, ends_at)
        return (await self._ask(call)).code

    async def _ask(self, call: Waiter) -> Admission:
        left = max(0.0, call.ends_at - self.home.clock.monotonic())
        ledger = self.ledgers[call.gateway]
        admission = await ledger.reserve(Ask(
            call.id, call.tokens, self.terms[call.service], call.service, "product",
            wait_seconds=left, place=call.place,
        ))  # fmt: skip
        if call.place:
            assert admission.place in {call.place, ""}, "a call has lost its place"
            stands = await self.home.client.zscore(self.home.keys[5], call.place) is not None
            assert stands == bool(admission.place), "it stands in the queue, or does not"
        call.epoch = ledger._epoch if admission.place else 0
        # For an unknown balance it waits with its place in hand.
        waits = admission.place or (admission.code == Code.UNKNOWN and call.place and left)
        if waits and call not in self.waiters:
            self.waiters.append(call)
        if not waits and call in self.waiters:
            self.waiters.remove(call)
        call.place = admission.place or call.place
        if admission.hold:
            self._admit(call, admission, admission.hold)
        return admission

    def _admit(self, call: Waiter, admission: Admission, hold: Hold) -> None:
        self.flights.append(Flight(call.gateway, hold, cost=call.cost))
        live = [
            f for f in self.flights
            if f.hold and f.hold.service == hold.service and self._age(f) < HOLD_SECONDS - 1
        ]  # fmt: skip
        to_be_had = None if self.outsider else self._to_be_had()
        self._referee.judge_admission(admission, to_be_had, len(live))
        self._referee.note(hold, self.home.store_time)

    def _to_be_had(self) -> int:
        """Keepa's balance, if all that is on its way there were charged."""
        in_flight = sum(f.hold.tokens for f in self.flights if f.hold and self._may_be_charged(f))
        return self.bucket.balance(self.now_ms) - in_flight

    async def reserve_part(
        self, gateway: int, parts: int, unused: int = 0, service: str = "shop"
    ) -> int:
        """Reserve a part of what is to be had; all of it is the most dangerous call there is."""
        balance = (await self.ledgers[gateway].overview()).balance
        tokens = (balance.available - self.terms[service].floor) // parts
        if tokens <= 0:
            return Code.FLOOR
        return await self.reserve(gateway, tokens, max(0, tokens - unused), service)

    async def overdraw(self, gateway: int, beyond: int) -> None:
        """Reserve more than the bucket holds."""
        tokens = self.bucket.capacity + max(0, -self.floor) + beyond
        await self.reserve(gateway, tokens, tokens, OVERDRAWING)

    async def wait_in_queue(
        self, gateway: int, lack: int, service: str, *, wait_seconds: float
    ) -> None:
        """Reserve so much more than is to be had, within two lumps."""
        balance = (await self.ledgers[gateway].overview()).balance
        lack = 1 + lack % (2 * self.bucket.gain + 1)
        tokens = max(1, balance.available - self.terms[service].floor + lack)
        await self.reserve(gateway, tokens, tokens, service, wait_seconds=wait_seconds)

    async def ask_again(self, waiter: Waiter) -> int:
        """A waiting call asks, whether or not it was told to."""
        return (await self._ask(waiter)).code

    async def leave(self, waiter: Waiter, *, knows_place: bool) -> None:
        """The caller hangs up."""
        self.waiters.remove(waiter)
        ledger = self.ledgers[waiter.gateway]
        ledger.leave(waiter.id, waiter.place if knows_place else "")
        assert await ledger.delivered(5)

    async def next_in_queue(self, gateway: int) -> None:
        """The gateway asks whose turn it is; those, and they alone, are admitted then."""
        ledger = self.ledgers[gateway]
        served = await ledger.next_in_queue()
        tokens = ledger.latest.tokens
        named, others = [], []
        for waiter in [w for w in self.waiters if w.gateway == gateway]:
            if served.is_forgotten or waiter.epoch != ledger._epoch:
                await self.ask_again(waiter)
            elif waiter.ends_at > self.home.clock.monotonic():
                (named if waiter.place in served.places else others).append(waiter)
        if len(named) + len(others) < len([w for w in self.waiters if w.gateway == gateway]):
            return
        codes = [await self.ask_again(waiter) for waiter in named]
        own_reasons = {Code.UNKNOWN, Code.QUOTA, Code.CONCURRENCY}
        assert {*codes} <= {Code.DONE, *own_reasons} or ledger.latest.tokens != tokens
        if not own_reasons & {*codes}:
            for waiter in others:
                code = await self.ask_again(waiter)
                assert code != Code.DONE or ledger.latest.tokens != tokens, "it was not named"

    async def reserve_in_vain(self, gateway: int, tokens: int) -> None:
        """Reserve; the reply is lost, the id released, and a late copy of the reserve runs."""
        self._reserved += 1
        ledger, name = self.ledgers[gateway], f"c{self._reserved}"
        await ledger.reserve(Ask(name, tokens, Terms(self.floor), "shop", "product"))
        ledger._resolve(name, scripts.RELEASE, lambda: (f"{name}|0|",))
        assert await ledger.delivered(5)
        late = await ledger.reserve(Ask(name, tokens, Terms(self.floor), "shop", "product"))
        assert late.code == Code.RESOLVED

    async def call(self, gateway: int, parts: int, service: str = "shop") -> None:
        """A whole call at once."""
        if await self.reserve_part(gateway, parts, service=service) == Code.DONE:
            flight = self.flights[-1]
            while flight in self.flights:
                await self.proceed(flight)

    async def ask_token(self, gateway: int) -> bool:
        """Send a `/token` call, if it is this gateway's turn."""
        turn = await self.ledgers[gateway].claim(at_once=True)
        if turn.code == Code.DONE:
            self.flights.append(Flight(gateway, turn=turn))
        return turn.code == Code.DONE

    async def observe_now(self, gateway: int, *, delay_ms: int = 0) -> None:
        """A whole `/token` call; its answer takes that long to travel."""
        if not await self.ask_token(gateway):
            # The ledger's time stands still for the second that its clock was set back.
            await self.pass_time(TURN_MS + STEP_BACK_MS)
            assert await self.ask_token(gateway)
        flight = self.flights[-1]
        while flight in self.flights:
            if flight.step == "answered":
                await self.pass_time(delay_ms)
            await self.proceed(flight)

    async def proceed(self, flight: Flight) -> None:
        """Take a call one step further: charged, answered, its headers seen, settled."""
        if flight not in self.flights:
            return
        if flight.step == "sent":
            self._charge(flight)
            flight.step = "charged"
        elif flight.step == "charged":
            flight.reading = self._read_bucket()
            flight.step = "answered"
        elif flight.step == "answered":
            flight.seen_at = self.home.clock.monotonic()
            flight.step = "seen"
        else:
            self.flights.remove(flight)
            await self._end(flight)
        if flight.gateway is None and flight in self.flights:
            self.flights.remove(flight)
        await self.check()

    def _charge(self, flight: Flight) -> None:
        if not self._may_be_charged(flight) or not self.bucket.charge(flight.cost, self.now_ms):
            flight.cost = 0
        if not flight.cost or not flight.hold:
            return
        self._referee.judge_charge(flight.hold, flight.cost)
        if not self.outsider and flight.hold.service != OVERDRAWING:
            balance = self.bucket.balance(self.now_ms)
            assert balance >= self.floor, f"Keepa's balance went to {balance}"

    def _may_be_charged(self, flight: Flight) -> bool:
        return flight.step == "sent" and self._age(flight) <= DISPATCH_SECONDS

    def _age(self, flight: Flight) -> float:
        return self.home.clock.monotonic() - flight.hold.began_at if flight.hold else 0.0

    def _read_bucket(self) -> tuple[int, int, int, int]:
        bucket, now_ms = self.bucket, self.now_ms
        balance, refill_in_ms = bucket.balance(now_ms), bucket.refill_in_ms(now_ms)
        return balance, refill_in_ms, bucket.refill_rate, round(bucket.flow_reduction * 1e6)

    async def _end(self, flight: Flight) -> None:
        if flight.turn and flight.gateway is not None:
            await self.ledgers[flight.gateway].observe(flight.turn, flight.observation)
        else:
            self.settled.append(flight)
            await self._settle(flight, flight.cost, flight.observation)

    async def _settle(self, flight: Flight, consumed: int, observation: Observation | None) -> None:
        hold, gateway = flight.hold, flight.gateway
        if hold and gateway is not None and self._age(flight) < RESOLVE_SECONDS:
            self._auditor.expect_end(hold.id, consumed, hold.epoch)
            self.ledgers[gateway].settle(hold, consumed, observation)
            assert await self.ledgers[gateway].delivered(5)

    async def settle_again(self, index: int, *, observed: bool) -> None:
        """The reply of a settle was lost: it is sent again, some time after."""
        if self.settled:
            flight = self.settled[index % len(self.settled)]
            await self._settle(flight, flight.cost, flight.observation if observed else None)

    async def settle_blindly(self, flight: Flight) -> None:
        """The answer told nothing: the reserved cost counts as consumed."""
        if flight.hold:
            self.flights.remove(flight)
            await self._settle(flight, flight.hold.tokens, None)

    async def release(self, flight: Flight) -> None:
        """It was never sent."""
        self.flights.remove(flight)
        hold, gateway = flight.hold, flight.gateway
        if hold and gateway is not None and self._age(flight) < RESOLVE_SECONDS:
            self._auditor.expect_end(hold.id, 0, hold.epoch)
            self.ledgers[gateway].release(hold)
            assert await self.ledgers[gateway].delivered(5)

    def lose(self, flight: Flight) -> None:
        """The connection broke: Keepa may have charged it, or may yet."""
        if flight.gateway is not None and flight.hold:
            self.ledgers[flight.gateway].doubt(flight.hold)
        self._orphan(flight)

    def _orphan(self, flight: Flight) -> None:
        flight.gateway = None
        if flight.step != "sent" or not flight.hold:
            self.flights.remove(flight)

    async def keep(self, gateway: int) -> None:
        await self.ledgers[gateway].keep()
        self._has_kept.add(gateway)

    # What happens to them.

    def crash(self, gateway: int) -> None:
        """A gateway dies with all it knew, and another takes its place.

        Not while the store lacks its holds: that is one of the promise's conditions.
        """
        if gateway not in self._has_kept:
            return
        self.ledgers[gateway] = self._gateway()
        self.waiters = [w for w in self.waiters if w.gateway != gateway]
        for flight in [f for f in self.flights if f.gateway == gateway]:
            self._orphan(flight)
        self.settled = [f for f in self.settled if f.gateway != gateway]

    async def empty(self) -> None:
        self._forget_the_dead()
        await self.home.empty()
        await self._start_over()

    async def set_back(self) -> None:
        """The store restarts from its snapshot, or empty where there is none."""
        self._forget_the_dead()
        if not await self.home.set_back():
            await self.home.empty()
        await self._start_over()

    async def set_clock_back(self, ms: int) -> None:
        """The store's clock is set back; no hold is lost by it."""
        await self.home.set_clock_back(ms)
        if isinstance(self.home.clock, TurnedClock):
            await self._shift_presence(ms)
        self._referee.start_over()

    async def lose_key(self, name: str) -> None:
        """One key is gone, and whoever runs a script finds that out."""
        if name == "holds":
            self._forget_the_dead()
        await self.home.lose(name)
        await self.ledgers[0].overview()
        await self._start_over()

    async def _start_over(self) -> None:
        await self._auditor.start_over()
        self._referee.start_over()

    def _forget_the_dead(self) -> None:
        """Nobody can bring their holds back, so Keepa must not be at work on their calls."""
        named = {name for ledger in self.ledgers for name in ledger._live}
        self.flights = [f for f in self.flights if not f.hold or f.hold.id in named]
        self._has_kept = set()

    async def pass_time(self, ms: int) -> None:
        """Time passes; each second every gateway names its live holds, and asks for its waiters."""
        until_keep_ms = max(0, KEEP_MS - self._since_keep_ms)
        if ms < until_keep_ms:
            self._since_keep_ms += ms
        else:
            await self._turn(until_keep_ms)
            for gateway in range(len(self.ledgers)):
                await self.keep(gateway)
            await self.check()
            ms -= until_keep_ms
            self._since_keep_ms = ms % KEEP_MS
        await self._turn(ms)
        for waiter in [w for w in self.waiters if w.ends_at <= self.home.clock.monotonic()]:
            # At the end of its wait it asks for the last time.
            await self.ask_again(waiter)
        for gateway in {w.gateway for w in self.waiters}:
            await self.next_in_queue(gateway)

    async def _turn(self, ms: int) -> None:
        await self.home.turn(ms)
        if isinstance(self.home.clock, TurnedClock):
            await self._shift_presence(-ms)

    async def _shift_presence(self, ms: int) -> None:
        gateways = self.home.keys[6]
        for name in await self.home.client.zrange(gateways, 0, -1):
            await self.home.client.zincrby(gateways, ms * 1000, name)

    # What has to be true.

    async def check(self) -> None:
        """Let what the ledgers do by themselves come to its end, then audit the books."""
        while tasks := asyncio.all_tasks() - self._stores_own_tasks - {asyncio.current_task()}:
            await asyncio.wait(tasks)
        await self._auditor.check()

    async def look_for_too_much(self) -> None:
        """What a gateway could reserve now has to be there, whatever its calls in flight cost.

        Stronger than a look at Keepa's balance: nobody has to reserve and spend it first.
        """
        ledger = self.ledgers[-1]
        # Before all that stand in the queue.
        admission = await ledger.reserve(Ask("probe", 1, Terms(self.floor - 1), "shop", "product"))
        if not admission.hold:
            return
        ledger.release(admission.hold)
        assert await ledger.delivered(5)
        believed = admission.balance.available + admission.hold.tokens
        true = self._to_be_had()
        assert believed <= true, f"{believed} are believed to be had where {true} are"

    async def quiet(self) -> None:
        """All calls end or expire, and one `/token` answer later the balance is Keepa's."""
        self.flights.clear()
        self.waiters.clear()
        await self.pass_time((HOLD_SECONDS + 1) * 1000)
        if self.bucket.refill_in_ms(self.now_ms) < 2 * TURN_MS:
            await self.pass_time(2 * TURN_MS)
        await self.observe_now(0)
        balance = (await self.ledgers[-1].overview()).balance
        assert (balance.known, balance.held) == (True, 0)
        assert balance.tokens == self.bucket.balance(self.now_ms)
        await self._gateway().next_in_queue()
        assert await self.home.client.zcard(self.home.keys[5]) == 0
