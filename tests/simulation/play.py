"""Plays a story: callers call while things fail, then quiet, then the judges look."""

import asyncio
import gc
import logging
import random
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TextIO

import orjson
import structlog

from simulation.callers import Call, Caller
from simulation.faults import KINDS
from simulation.fleet import Fleet
from simulation.judges import Finding
from simulation.loop import START, VirtualLoop
from simulation.process import Clocks, steady_process
from simulation.story import FLOOR, HOLD_SECONDS, CallerPlan, Story
from simulation.trace import Trace

# From the end of the last fault to the first call that is served: the learning time, a circuit's
# cooldown and a probe, Redis' and the kernel's own retries.
RECOVERY_SECONDS = 20.0
_PROBE = CallerPlan("probe", "probe", "probe", 0)


@dataclass
class Outcome:
    """What came of a story.

    Attributes:
        found: Promises that were broken, in order.
        digest: Of all events; the same story has the same.
        last: The last events of each party.
        broken: Assumptions that the story broke.
    """

    story: Story
    found: list[Finding]
    digest: str = ""
    events: int = 0
    last: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    calls: int = 0
    reservations: int = 0
    scripts: int = 0
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    lowest: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        speed = self.calls / self.cpu_seconds if self.cpu_seconds else 0
        return (
            f"{self.story}\n    {self.calls} calls, {self.reservations} reservations, "
            f"{self.scripts} scripts, lowest balance {self.lowest}; {self.cpu_seconds:.1f} s of "
            f"processor time, {speed:.0f} calls a second; trace {self.digest}"
        )


def play(story: Story, file: TextIO | None = None) -> Outcome:
    """Play a story.

    Args:
        story: Decides all.
        file: Where each event is written; None: nowhere.
    """
    chance = random.Random(f"{story.seed}-loop")
    loop = VirtualLoop(chance)
    clocks = Clocks(loop, story.begins_at)
    trace = Trace(loop, file)
    # A collection runs finalizers at a time of its own.
    was_collecting = gc.isenabled()
    gc.disable()
    began = time.process_time()
    outcome = Outcome(story, [])
    handlers = list(logging.getLogger().handlers)
    try:
        with steady_process(loop, clocks, story.seed):
            asyncio.set_event_loop(loop)
            fleet = Fleet(loop, story, clocks, trace)
            try:
                loop.run_until_complete(_play(fleet))
            except Exception as error:  # noqa: BLE001 - it is what the story came to
                where = traceback.extract_tb(error.__traceback__)[-1]
                text = f"{type(error).__name__}: {error} in {where.filename}:{where.lineno}"
                fleet.judges.find("story", f"ended by {text}")
            fleet.judges.look_at_uncaught()
            outcome.found = sorted(fleet.judges.found)
            _note_figures(outcome, fleet, trace)
            del fleet
            loop.bury()
    finally:
        asyncio.set_event_loop(None)
        logging.getLogger().handlers[:] = handlers
        structlog.reset_defaults()
        if was_collecting:
            gc.enable()
    outcome.cpu_seconds = time.process_time() - began
    return outcome


def _note_figures(outcome: Outcome, fleet: Fleet, trace: Trace) -> None:
    outcome.digest, outcome.events, outcome.last = trace.digest, trace.events, trace.last_events()
    outcome.calls, outcome.reservations = fleet.judges.calls, fleet.judges.reservations
    outcome.scripts = fleet.redis.scripts_run
    outcome.virtual_seconds = fleet.loop.now - START
    outcome.outcomes, outcome.faults = fleet.outcomes, fleet.faults
    outcome.broken = fleet.judges.assumptions.broken_before(fleet.loop.now)
    if hasattr(fleet, "keepa"):
        outcome.lowest = fleet.keepa.state()["lowest_balance_by_charge"]


async def _play(fleet: Fleet) -> None:
    story, loop = fleet.story, fleet.loop
    await fleet.start()
    until = loop.now + story.seconds
    snapshots = asyncio.create_task(fleet.take_snapshots())
    began_at = loop.now
    works: list[Any] = [Caller(fleet, plan).run(until) for plan in story.callers]
    works += [_fail(fleet, plan.name, plan.kind, began_at + plan.at) for plan in story.faults]
    await asyncio.gather(*works)
    snapshots.cancel()
    await _end_in_quiet(fleet)


async def _fail(fleet: Fleet, name: str, kind: str, at: float) -> None:
    await asyncio.sleep(at - fleet.loop.now)
    fleet.faults[kind] += 1
    fleet.trace.note("faults", f"{name} {kind} begins")
    if KINDS[kind].breaks:
        fleet.judges.assumptions.note_broken(fleet.loop.now, KINDS[kind].breaks)
    await KINDS[kind].work(fleet, random.Random(f"{fleet.story.seed}-{name}"))
    fleet.trace.note("faults", f"{name} {kind} is over")


async def _end_in_quiet(fleet: Fleet) -> None:
    """Recover, be quiet until holds have expired and one observation was made; then spend all."""
    judges = fleet.judges
    probe = Caller(fleet, _PROBE)
    for gateway in fleet.gateways:
        await _expect_recovery(fleet, probe, gateway.node)
    longest_age = fleet.story.settings["balance_max_age_seconds"]
    # Of a full bucket, what was spent before a lump is only known to have come back after it.
    await asyncio.sleep(max(HOLD_SECONDS, 60) + longest_age + 10)
    # Our lump may be a little later than Keepa's, never earlier.
    if not 2 < (refill_in := fleet.keepa.state()["refill_in_ms"] / 1000) < 58:
        await asyncio.sleep(refill_in % 58 + 3)
    for gateway in fleet.gateways:
        if status := await _read_status(fleet, probe, gateway.node):
            judges.look_at_status(gateway.node, status)
            if gateway is fleet.gateways[0]:
                judges.look_at_books(status)
    judges.look_at_keys()
    if all(gateway.changes.get("enforce", True) for gateway in fleet.gateways):
        await _spend_all(fleet, probe)
    judges.look_at_floor()
    await fleet.close()


async def _expect_recovery(fleet: Fleet, probe: Caller, node: str) -> None:
    """A call is served, or refused for want of tokens, soon after the last fault."""
    began_at = fleet.loop.now
    status = None
    while fleet.loop.now < began_at + RECOVERY_SECONDS:
        answer = await probe.ask(Call("/product?domain=1&asin=B000000001"), host=node, keeps=False)
        status = answer and answer.status
        if status in {200, 429}:
            return
        await asyncio.sleep(0.5)
    told = f"{node} answers {status} {RECOVERY_SECONDS:g} s after the faults"
    fleet.judges.find("recovery", told)


async def _read_status(fleet: Fleet, probe: Caller, node: str) -> dict[str, Any] | None:
    answer = await probe.ask(Call("/status"), host=node, keeps=False)
    if answer is None or answer.status != 200:
        fleet.judges.find("recovery", f"{node}: no status in quiet time: {answer}"[:200])
        return None
    return orjson.loads(answer.body)  # type: ignore[no-any-return]


async def _spend_all(fleet: Fleet, probe: Caller) -> None:
    """Every token above the floor can be spent, not one more; and who waits gets the next lump."""
    keepa, judges = fleet.keepa, fleet.judges
    left = keepa.state()["tokens_left"] - FLOOR
    if left > 37:
        keepa.spend(left - 37)
    longest_age = fleet.story.settings["balance_max_age_seconds"]
    await asyncio.sleep(longest_age + 5)
    # Just after a lump, so that none falls in between.
    await asyncio.sleep(keepa.state()["refill_in_ms"] / 1000 + 0.5)
    left = keepa.state()["tokens_left"] - FLOOR
    number = 0
    while left > 0 and number < 60:
        items = min(left, 100)
        if number == 3 and left > 300:
            return  # so many tokens a lump that spending them tells nothing more
        call = probe.product(items)._replace(headers="")
        node = fleet.gateways[number % len(fleet.gateways)].node
        answer = await probe.ask(call, host=node, keeps=False)
        number += 1
        if answer is None or answer.status != 200:
            told = answer and answer.body[:250]
            judges.find("utilisation", f"{left} above the floor, {items} asked of {node}: {told!r}")
            return
        left = keepa.state()["tokens_left"] - FLOOR
    call = probe.product(1)._replace(headers="")
    answer = await probe.ask(call, keeps=False)
    if answer is None or answer.status != 429:
        judges.find("utilisation", f"at the floor a call got {answer and answer.status}")
    wait = keepa.state()["refill_in_ms"] / 1000
    gain = keepa.account.bucket.gain
    if wait < 28 and gain > 0:
        waiting = call._replace(headers="Prefer: wait=30\r\n", wait_seconds=30)
        began_at = fleet.loop.now
        answer = await probe.ask(waiting, keeps=False)
        took = fleet.loop.now - began_at
        if answer is None or answer.status != 200 or took > wait + 3:
            status = answer and answer.status
            told = f"one that waited got {status} after {took:.1f} s, lump in {wait:.1f} s"
            judges.find("starvation", told)
