"""Hours in minutes: steady calls against two replicas while faults come and go at random.

`PYTHONPATH=tests python -m chaos.soak --minutes 10 --rate 300` prints what it sees each ten seconds
and a table at its end, and exits with 1 where a promise was broken. Each minute the calls rest for
a moment: then every hold has to end, the balance has to be Keepa's, and nothing may have grown.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from support.callers.mixed_calls import Request

from chaos.calls import call
from chaos.crossing import ANSWERED_SECONDS, REFUSED_SECONDS
from chaos.faults import FAULTS, Fault
from chaos.fleet import FLOOR, HOLD_SECONDS, REPLICAS, UPSTREAM_SECONDS, Fleet, Vitals, products
from chaos.load import Load
from chaos.operations import OPERATIONS
from chaos.promises import RESIDENT_GROWTH, Crossing, expect_clean_books, expect_clean_output

# Less than is asked for: at the end of each minute the bucket is empty, and the floor is reached.
TOKENS_A_MINUTE = 6000
SAMPLE_SECONDS = 10.0
_KEPT_SECONDS = 1.5
REST_EACH_SECONDS = 60.0
# A marker of a call that a new epoch may hear of twice stays for ten minutes.
REDIS_GROWTH = 32 * 1024 * 1024
MEGABYTE = 1024 * 1024
# The second replica is to live from beginning to end, and the account's counts as well.
_LEFT_OUT = {"gateway all killed", "keepa 429 of its own"}
_SLOW = "X-Sim-Latency-Ms: {}"
_REQUESTS = (
    *(Request(products(1)) for _ in range(40)),
    *(Request(products(1), (_SLOW.format(50),)) for _ in range(5)),
    *(Request(products(3)) for _ in range(2)),
    Request("/product?key=x&domain=1&asin=B0MAX00001&offers=20", (_SLOW.format(300),)),
    Request("/tracking?key=x&type=list"),
    Request("/token?key=x"),
)
_SIDES = tuple(
    (operation.requests[0], operation.leaves)
    for operation in OPERATIONS
    if operation.name in {"large", "leaver", "tracking"}
)


@dataclass
class Soak:
    """One run.

    Args:
        fleet: Open.
        rate: Calls a second.
        chance: Chooses the faults.
    """

    fleet: Fleet
    rate: float
    chance: random.Random
    broken: list[str] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[object, ...]] = field(default_factory=list)
    rests: int = 0
    first_redis_bytes: int = 0
    at_rest: dict[int, Vitals] = field(default_factory=dict)
    """By process, at its first rest."""

    def __post_init__(self) -> None:
        url_of = self._url_of
        self.load = Load(url_of, REPLICAS, self.rate, _REQUESTS)
        self._resting = asyncio.Event()
        self._resting.set()

    def _url_of(self, place: int) -> str:
        return self.fleet.gateways[place].url

    async def run(self, seconds: float) -> None:
        """Call, fail, sample and rest until the time is over."""
        self.began_at = time.monotonic()
        ends_at = self.began_at + seconds
        sampling = asyncio.create_task(self._keep_sampling())
        await self._rest()
        while time.monotonic() < ends_at and not self.broken:
            self.load.start()
            aside = asyncio.create_task(self._keep_calling_aside())
            await self._fail_until(min(ends_at, time.monotonic() + REST_EACH_SECONDS))
            aside.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await aside
            await self.load.stop()
            await self._rest()
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        await self._sample()
        self._expect_answers()

    async def _fail_until(self, moment: float) -> None:
        """Strike one fault after the other, with pauses."""
        faults = [fault for fault in FAULTS if fault.title not in _LEFT_OUT]
        while time.monotonic() < moment:
            await asyncio.sleep(self.chance.uniform(0.5, 3))
            await self._strike(self.chance.choice(faults))

    async def _strike(self, fault: Fault) -> None:
        self.struck[fault.title] += 1
        self.load.headers = fault.headers
        async with fault.strike(self.fleet):
            if fault.of == "redis":
                self.load.away_since = time.monotonic()
            await asyncio.sleep(fault.seconds + self.chance.uniform(0, 2))
            self.load.away_since = None
            self.load.headers = ()

    async def _keep_calling_aside(self) -> None:
        """Large answers, callers who leave and trackings, a few a second, read in full."""
        async with asyncio.TaskGroup() as group:
            while True:
                request, leaves = self.chance.choice(_SIDES)
                url = self.fleet.gateways[self.chance.randrange(REPLICAS)].url
                group.create_task(self._aside(url, request, leaves=leaves))
                await asyncio.sleep(0.4)

    async def _aside(self, url: str, request: Request, *, leaves: bool) -> None:
        self.load.note(await call(url, request, leaves=leaves))

    async def _rest(self) -> None:
        """Without calls: everything ends, and nothing has stayed."""
        crossing = Crossing("rest")
        try:
            # Twice: to a store that was just emptied each gateway brings back its calls in doubt
            # within a second, and until then it looks as if there were none.
            await self.fleet.at_peace(HOLD_SECONDS + UPSTREAM_SECONDS + 5)
            await asyncio.sleep(_KEPT_SECONDS)
            await self.fleet.at_peace(HOLD_SECONDS + UPSTREAM_SECONDS + 5)
        except AssertionError:
            truth = await self.fleet.simulator.state()
            told = [await gateway.tokens() for gateway in self.fleet.gateways]
            crossing.broken.append(f"no peace: {truth['tokens_left']} left, told {told}")
        await expect_clean_books(self.fleet, crossing)
        expect_clean_output(self.fleet, crossing, may_refuse_scripts=True)
        for place in range(REPLICAS):
            vitals = await self._settled_vitals(place)
            pid = self.fleet.gateways[place].process.pid
            # What the first minute of calls brings is no growth.
            if pid not in self.at_rest or self.rests < 2:
                self.at_rest[pid] = vitals
            first = self.at_rest[pid]
            grown = vitals.resident - first.resident
            crossing.expect(grown < RESIDENT_GROWTH, f"{grown / MEGABYTE:.1f} MB grown")
            crossing.expect(
                vitals.descriptors <= first.descriptors,
                f"descriptors: {first.descriptors} at first, {vitals.descriptors} now",
            )
        redis_bytes, _ = await self._look_at_redis()
        self.first_redis_bytes = self.first_redis_bytes or redis_bytes
        crossing.expect(redis_bytes - self.first_redis_bytes < REDIS_GROWTH, "Redis has grown")
        lowest = await self.fleet.simulator.lowest()
        crossing.expect(lowest >= FLOOR, f"the balance fell to {lowest}")
        self.rests += 1
        self.broken += [f"rest {self.rests}: {what}" for what in crossing.broken]

    async def _settled_vitals(self, place: int) -> Vitals:
        """Return the least of some looks: connections of callers take a moment to go."""
        looks = []
        for _ in range(10):
            looks.append(self.fleet.vitals(place))
            await asyncio.sleep(0.1)
        return Vitals(looks[-1].resident, min(look.descriptors for look in looks))

    async def _keep_sampling(self) -> None:
        while True:
            await self._sample()
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _sample(self) -> None:
        vitals = []
        for place in range(REPLICAS):
            try:
                vitals.append(self.fleet.vitals(place))
            except (OSError, LookupError):
                vitals.append(Vitals(0, 0))  # killed at this moment
        redis_bytes, holds = await self._look_at_redis()
        truth = await self.fleet.simulator.state()
        row = (
            round(time.monotonic() - self.began_at),
            self.load.told.total(),
            *(round(one.resident / MEGABYTE, 1) for one in vitals),
            *(one.descriptors for one in vitals),
            holds,
            round(redis_bytes / MEGABYTE, 2),
            truth["tokens_left"],
            truth["lowest_balance_by_charge"],
            round(self.load.slowest_away, 2),
        )
        if not self.samples:
            print(_HEAD)
        self.samples.append(row)
        print(" ".join(f"{value:>8}" for value in row), flush=True)

    async def _look_at_redis(self) -> tuple[int, int]:
        """Return the bytes it uses and how many entries its keys have; zeros while it is away."""
        try:
            async with asyncio.timeout(2), Redis(port=self.fleet.redis.port) as client:
                memory: dict[str, Any] = await client.info("memory")
                books = await self.fleet.books()
        except Exception:  # noqa: BLE001 - killed or halted at this moment
            return 0, 0
        return int(memory["used_memory"]), books.entries

    def _expect_answers(self) -> None:
        fine = {"200", "429 floor", "left", "gone", "cut"}
        for fault in FAULTS:
            fine |= fault.told | fault.must
        strange = self.load.told.keys() - fine
        if strange:
            self.broken.append(f"callers were told {sorted(strange)}")
        self.broken += self.load.problems[:3]
        late = {
            told: round(seconds, 2)
            for told, seconds in self.load.slowest.items()
            if seconds > ANSWERED_SECONDS
        }
        if late:
            self.broken.append(f"answered late: {late}")
        if self.load.slowest_away > REFUSED_SECONDS:
            self.broken.append(f"a refusal took {self.load.slowest_away:.2f} s")

    def report(self) -> None:
        """Print what was seen in all."""
        seconds = time.monotonic() - self.began_at
        print(f"\n{seconds:.0f} s, {self.load.told.total()} calls, {self.rests} rests")
        for told, count in self.load.told.most_common():
            print(f"  {told:24} {count:>8}  slowest {self.load.slowest[told]:6.2f} s")
        print(f"{self.struck.total()} faults of {len(self.struck)} kinds:")
        for title, count in sorted(self.struck.items()):
            print(f"  {title:24} {count:>8}")
        for what in self.broken:
            print(f"BROKEN: {what}")


_HEAD = " ".join(
    f"{name:>8}"
    for name in (
        "seconds", "calls", "1: MB", "2: MB", "1: fds", "2: fds", "entries", "redis MB", "tokens",
        "lowest", "refused",
    )
)  # fmt: skip


async def soak(minutes: float, rate: float, seed: int) -> bool:
    """Run it; return whether every promise was kept."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder) / "fleet", max_queue=500)
        try:
            await fleet.open(tokens=TOKENS_A_MINUTE, rate=TOKENS_A_MINUTE)
            run = Soak(fleet, rate, random.Random(seed))
            await run.run(minutes * 60)
            run.report()
        finally:
            await fleet.close()
    return not run.broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=300, help="calls a second")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the faults")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    return 0 if asyncio.run(soak(options.minutes, options.rate, options.seed)) else 1


if __name__ == "__main__":
    sys.exit(main())
