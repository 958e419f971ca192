"""Faults put into the product by hand, to see whether the stories find them.

A Lua mutant changes the text that the story's Redis compiles; a Python one changes a class. One
that no longer fits the product's text says so and fails.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulation.redis import Engine


class DoesNotFit(Exception):
    """The product has changed: the mutant has to be written anew."""


@dataclass(frozen=True)
class Mutant:
    """One.

    Attributes:
        why: What is left out.
        put_in: Changes the product of this process, for good.
        profile: Whose stories find it soonest.
    """

    why: str
    put_in: Callable[[], None]
    profile: str = "mixed"


def _lua(why: str, old: str, new: str, *, profile: str = "mixed") -> Mutant:
    def put_in() -> None:
        from gateway.ledger import scripts  # noqa: PLC0415

        if not any(old in text for text in scripts.TEXTS):
            raise DoesNotFit(old)
        before = Engine.rewrite
        Engine.rewrite = staticmethod(  # type: ignore[method-assign]
            lambda text: before(text).replace(old.encode(), new.encode())
        )

    return Mutant(why, put_in, profile)


def _python(why: str, *, profile: str = "mixed") -> Callable[[Callable[[], None]], Mutant]:
    return lambda put_in: Mutant(why, put_in, profile)


@_python("live holds are not named to a new epoch", profile="redis")
def no_bringing_back() -> None:
    from gateway.ledger import Ledger  # noqa: PLC0415

    async def keep(self: Any) -> None:
        return

    Ledger.keep = keep  # type: ignore[method-assign]


@_python("what the store did not confirm is not sent again", profile="redis")
def forgets_resolutions() -> None:
    from gateway.ledger import Ledger  # noqa: PLC0415

    Ledger.deliver = lambda self: None  # type: ignore[method-assign]


@_python("the queue's turns are not called: a place is forgotten")
def queue_forgets_a_place() -> None:
    from gateway.ledger import Queue  # noqa: PLC0415

    old = Queue.wait

    async def wait(self: Any, place: str, seconds: float) -> None:
        waiting = asyncio.ensure_future(old(self, place, seconds))
        await asyncio.sleep(0)
        self._waiting.pop(place, None)
        await waiting

    Queue.wait = wait  # type: ignore[method-assign]


@_python("an open circuit never closes", profile="keepa")
def breaker_never_closes() -> None:
    from gateway.keepa.circuit import Circuit  # noqa: PLC0415

    Circuit.close = lambda self: None  # type: ignore[method-assign]


@_python("a connection to Keepa is kept after an answer that was cut", profile="keepa")
def reused_after_a_cut() -> None:
    from gateway.keepa.connections import Answer  # noqa: PLC0415

    def close(self: Any) -> None:
        self._pool.keep(self._connection)

    Answer.close = close  # type: ignore[method-assign]


@_python("the deadline of a call is not cancelled when it is over")
def deadline_stays() -> None:
    from gateway.keepa.deadlines import Deadline  # noqa: PLC0415

    Deadline.__exit__ = lambda *_: None  # type: ignore[method-assign]


@_python("the observer ends with its first failure", profile="keepa")
def observer_dies() -> None:
    from gateway.call.observer import Observer  # noqa: PLC0415

    old = Observer.run

    async def run(self: Any) -> None:
        refresh = self.refresh

        async def once() -> Any:
            try:
                return await refresh()
            except Exception:  # noqa: BLE001 - that is the fault
                await asyncio.sleep(math.inf)

        self.refresh = once
        await old(self)

    Observer.run = run  # type: ignore[method-assign]


MUTANTS: dict[str, Mutant] = {
    "no_learning": _lua(
        "a new epoch admits at once: holds of other gateways are not back yet",
        "state.epoch + ledger.learning - NOW)", "0)", profile="pressure",
    ),
    "no_bringing_back": no_bringing_back,
    "forgets_resolutions": forgets_resolutions,
    "queue_forgets_a_place": queue_forgets_a_place,
    "breaker_never_closes": breaker_never_closes,
    "reused_after_a_cut": reused_after_a_cut,
    "deadline_stays": deadline_stays,
    "observer_dies": observer_dies,
    "no_c0": _lua(
        "T7 without C - C0: what others settled since may be missing in an answer",
        " - (state.consumed - consumed_then)\n", "\n",
    ),
    "no_holds_above": _lua(
        "T7, U without the holds that began before the headers",
        "observation.tokens + held_before(observation.seen_at), due", "observation.tokens, due",
    ),
    "no_lumps_since": _lua(
        "T7 counts no lump since the headers",
        "local due = lumps.due(lump_at)\n", "local due = 0\n",
    ),
    "always_newest": _lua(
        "T7 takes every observation for the truth, inside the interval or not",
        "state.balance < lowest or state.balance > highest then",
        "state.balance ~= observation.tokens then",
    ),
    "lowest_is_told": _lua(
        "T7 takes what is told, not the lower bound, when it is outside",
        "doubt().correct(lowest, highest, lump_at)",
        "doubt().correct(observation.tokens, highest, lump_at)",
    ),
    "no_room_for_spent": _lua(
        "C1: the true lump may have overflowed before what we settled since",
        "capacity - state.consumed_since_lump)", "capacity)",
    ),
    "lump_twice": _lua(
        "a lump counts twice",
        "state.lump_at = state.lump_at + count * MINUTE\n",
        "state.lump_at = state.lump_at + (count - 1) * MINUTE + MINUTE / 2\n",
    ),
    "settle_twice": _lua(
        "a settle that is sent again charges again",
        "local is_resolved = hold and hold.marker or not hold and is_same_epoch",
        "local is_resolved = hold and hold.marker", profile="redis",
    ),
    "no_marker": _lua(
        "a release leaves no marker: a late reserve holds for nobody",
        "not hold or call.epoch ~= ledger.state.epoch then", "false then",
        profile="network",
    ),
    "no_reap": _lua(
        "holds whose time is over stay",
        "units.whole(clock.now), 'LIMIT', 0, AT_MOST)", "'-inf', 'LIMIT', 0, AT_MOST)",
        profile="gateway",
    ),
    "available_is_balance": _lua(
        "holds are not taken off what is available",
        "available = (state.balance or 0) - state.held", "available = (state.balance or 0)",
    ),
    "rate_debt": _lua(
        "request slots are in debt, after a raise of the rate, for as long as they ever were",
        "state.rate_full_at, state.rate_slot = clock.now + math.min(lack, burst * slot), slot",
        "state.rate_full_at = state.rate_full_at", profile="gateway",
    ),
    "shadow_debt": _lua(
        "shadow mode takes slots that are not there",
        "math.min(full_at, clock.now + burst * slot), slot", "full_at, slot", profile="all",
    ),
    "aside_in_the_way": _lua(
        "who stands aside is in the way of all who come after",
        "local is_aside = waiting.live_cap > 0 and ", "local is_aside = false and ",
    ),
    "clock_set_back": _lua(
        "a clock that fell begins no epoch",
        "local has_fallen = behind > STEP or behind > 0 and ledger.is_new_life",
        "local has_fallen = false", profile="redis",
    ),
    "doubt_lasts": _lua(
        "a doubt is not asked about until the observation is old",
        "  return math.max(0, asked_at + pause - clock.now)\n", "  return nil\n", profile="redis",
    ),
}  # fmt: skip


def _neighbour() -> None:
    from gateway.keepa.connections import Connections  # noqa: PLC0415

    old = Connections.request
    last: list[Any] = []

    async def request(self: Any, method: str, target: str, headers: Any, body: bytes) -> Any:
        # One of many calls of a kind is sent as the one before was.
        if "/product" in target:
            last.append(target)
            if len(last) % 50 == 0:
                target = last[-2]
        return await old(self, method, target, headers, body)

    Connections.request = request  # type: ignore[method-assign]


MUTANTS["neighbours_answer"] = Mutant("a caller gets the answer to another's call", _neighbour)
