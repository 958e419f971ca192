"""Three services that want far more than the bucket gives, on two gateways, across lumps."""

import asyncio
import json
import random
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.ledger.scripts import name_keys
from support.callers.crowd import agree
from support.callers.visits import Visit
from support.gateways.processes import Gateway, Machines, Simulator
from support.measure.stopwatch import Stopwatch
from support.redis.server import RedisServer
from support.waiting import until

FLOOR = 10
ACCOUNT = "rush"
REPLICAS = 2
# Cheap ones the most, so that the last tokens above the floor find somebody too.
COSTS = (1, 1, 1, 1, 6, 6, 10, 50)
SAMPLE_SECONDS = 0.5
# How long Keepa works on each call.
LATENCY_SECONDS = 0.04
_LEAVE = 0.2
_LEAVE_WITHIN_SECONDS = 8.0
_TICK_SECONDS = 0.05
_REFUSED_PAUSE = (0.4, 1.2)
_SERVED_PAUSE = (0.1, 0.5)
_LINE = name_keys(ACCOUNT)[5]


class Party(NamedTuple):
    """One service and its callers, every other of whom would wait."""

    name: str
    callers: int
    policy: dict[str, object]

    @property
    def secret(self) -> str:
        return f"secret-of-{self.name}-0123456789"

    @property
    def floor(self) -> int:
        return int(str(self.policy.get("floor", FLOOR)))


class Plan(NamedTuple):
    """What is there, and for how long.

    Attributes:
        rate: Tokens of each lump.
        tokens: In the bucket at the beginning.
        lump_in_seconds: The first, from the simulator's start.
        seconds: From the first call to the last.
        patience: What those who would wait ask for, in seconds.
    """

    rate: int
    tokens: int
    lump_in_seconds: float
    seconds: float
    patience: tuple[int, ...]


def parties_of(cap: int, above: int = 0) -> tuple[Party, ...]:
    """Return the services, the first to be served first.

    Args:
        cap: What research may consume in an hour.
        above: By how much all floors are higher.
    """
    return (
        Party("shop", 40, {"max_cost": 50}),
        Party("research", 36, {"floor": 60 + above, "tokens_per_hour": cap}),
        Party("batch", 36, {"floor": 150 + above, "max_concurrency": 4}),
    )


@dataclass
class Sample:
    """The most of each service that `/status` ever told."""

    holds: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    hour: Counter[str] = field(default_factory=Counter)

    def take(self, services: dict[str, Any]) -> None:
        for name, told in services.items():
            self.holds[name] = max(self.holds[name], told["holds"])
            self.waiting[name] = max(self.waiting[name], told["waiting"])
            self.hour[name] = max(self.hour[name], told["hour"]["used"])


class Rush:
    """One run.

    Args:
        plan: Where to begin and when to end.
        parties: The services.
        seed: Of what each caller draws.
        settings: Of the gateways, besides what the scenario sets.
    """

    def __init__(self, plan: Plan, parties: Sequence[Party], seed: int, **settings: object) -> None:
        self.plan = plan
        self.parties = parties
        self.visits: list[Visit] = []
        self.most = Sample()
        self.lag_seconds = 0.0
        """The most that this process itself was late."""
        self._delays: list[tuple[float, float]] = []
        self._seed = seed
        self._settings = settings

    async def open(self, machines: Machines, redis: RedisServer) -> None:
        """Start Keepa and the gateways, and have the first balance observed."""
        self.redis = redis
        self.simulator: Simulator = await machines.simulate(
            tokens=self.plan.tokens, rate=self.plan.rate, latency=LATENCY_SECONDS,
            lump_in_ms=int(self.plan.lump_in_seconds * 1000),
        ).started()  # fmt: skip
        chosen = {
            "keepa_base_url": self.simulator.url,
            "redis_url": redis.url,
            "account": ACCOUNT,
            "min_balance_threshold": FLOOR,
            "service_keys": ",".join(f"{party.name}:{party.secret}" for party in self.parties),
            "service_policies": json.dumps({party.name: party.policy for party in self.parties}),
            "upstream_timeout_seconds": 10,
            **self._settings,
        }
        self.gateways: list[Gateway] = [machines.serve(**chosen) for _ in range(REPLICAS)]
        for gateway in self.gateways:
            await gateway.started()
        for gateway in self.gateways:
            await until(lambda one=gateway: self._admits(one))

    async def _admits(self, gateway: Gateway) -> bool:
        """Say whether a call would run, without one: a new ledger has to learn first."""
        key = f"X-Api-Key: {self.parties[0].secret}"
        answer = await gateway.ask("/quote?path=product&domain=1&asin=B0MIN00001", key)
        return bool(answer.json().get("admitted"))

    async def run(self) -> None:
        """Call until the time is over; those who still wait then hang up."""
        scripts_before = self._scripts_run()
        first_hour = time.time() // 3600
        began_at = time.monotonic()
        ends_at = began_at + self.plan.seconds
        callers = [
            asyncio.create_task(self._keep_calling(party, number, ends_at))
            for party in self.parties
            for number in range(party.callers)
        ]
        watching = asyncio.gather(self._keep_sampling(), self._keep_time(), self._keep_delays())
        done, waiting = await asyncio.wait(callers, timeout=self.plan.seconds + 1)
        lasted_seconds = time.monotonic() - began_at
        self.scripts_per_second = round((self._scripts_run() - scripts_before) / lasted_seconds)
        self.clock_hours = int(time.time() // 3600 - first_hour) + 1
        for caller in waiting:
            caller.cancel()
        watching.cancel()
        await asyncio.gather(*waiting, watching, return_exceptions=True)
        for caller in done:
            caller.result()

    async def _keep_calling(self, party: Party, number: int, ends_at: float) -> None:
        """Make one call after the other, to each gateway in turn."""
        chance = random.Random(f"{self._seed} {party.name} {number}")
        would_wait = number % 2 == 1
        headers = (f"X-Api-Key: {party.secret}",)
        place = number // 2
        while time.monotonic() < ends_at:
            patience = chance.choice(self.plan.patience) if would_wait else 0
            leaves = patience and chance.random() < _LEAVE
            visit = Visit(party.name, chance.choice(COSTS), patience)
            self.visits.append(visit)
            await visit.make(
                self.gateways[place % REPLICAS].url,
                headers,
                leaves_after=chance.uniform(0.2, _LEAVE_WITHIN_SECONDS) if leaves else None,
            )
            place += 1
            pause = _SERVED_PAUSE if visit.is_served else _REFUSED_PAUSE
            await asyncio.sleep(chance.uniform(*pause))

    async def _keep_sampling(self) -> None:
        for turn in range(10**9):
            status = await self.gateways[turn % REPLICAS].status()
            if status:
                self.most.take(status["services"])
            await asyncio.sleep(SAMPLE_SECONDS)

    def delay_seconds(self, since: float, until: float) -> float:
        """Tell what the machine took from us between two moments, monotonic seconds; at most."""
        moments = [moment for moment, _ in self._delays]
        first = max(0, bisect_right(moments, since) - 1)
        last = min(len(moments) - 1, bisect_left(moments, until))
        return self._delays[last][1] - self._delays[first][1]

    async def _keep_delays(self) -> None:
        watch = Stopwatch()
        while True:
            self._delays.append((time.monotonic(), watch.delay_seconds))
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _keep_time(self) -> None:
        while True:
            slept_at = time.monotonic()
            await asyncio.sleep(_TICK_SECONDS)
            late = time.monotonic() - slept_at - _TICK_SECONDS
            self.lag_seconds = max(self.lag_seconds, late)

    async def settled(self, seconds: float = 10) -> float:
        """Wait until nothing is held and nobody waits, and the balance is Keepa's; say how long."""
        since = time.monotonic()
        await agree(self.gateways, self.simulator, seconds)

        async def nobody_waits() -> bool:
            return sum((await self.waiting()).values()) == 0 and self.line_length() == 0

        await until(nobody_waits, seconds)
        return round(time.monotonic() - since, 2)

    async def waiting(self) -> Counter[str]:
        """Tell how many calls of each service wait, by what every gateway says."""
        told: Counter[str] = Counter()
        for gateway in self.gateways:
            status = await gateway.status()
            services = status["services"] if status else {}
            told.update({name: one["waiting"] for name, one in services.items()})
        return told

    def line_length(self) -> int:
        """Tell how many places stand in the line."""
        return int(self.redis.command("ZCARD", _LINE).strip(b":\r\n"))

    def _scripts_run(self) -> int:
        told = self.redis.command("INFO", "commandstats").decode()
        return int(told.partition("cmdstat_evalsha:calls=")[2].partition(",")[0])
