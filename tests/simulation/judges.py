"""What must be true, whatever fails. Nothing here knows how the gateway does it.

They look from outside: at what callers get, what Keepa charged, what the log says of each call,
what `/status` tells in the end, and what is left behind.
"""

import sys
import traceback
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from simulation.assumptions import Assumptions
from simulation.loop import START
from simulation.story import FLOOR, CallerPlan

if TYPE_CHECKING:
    from simulation.callers import Answer, Call
    from simulation.fleet import Fleet

# Log events at level error that some fault explains. All others are the gateway's own faults.
_EXPLAINED = {
    "resolutions_unconfirmed", "resolutions_dropped", "script_refused", "ledger_inconsistent",
    "key_refused_by_keepa", "token_reading_missing", "answer_not_passed",
}  # fmt: skip
_OWN_FAULTS = {"unhandled", "job_crashed", "job_keeps_crashing"}
_NO_ANSWERS = {"no answer"}


class Finding(NamedTuple):
    """A promise that is broken."""

    at: float
    judge: str
    what: str

    def __str__(self) -> str:
        return f"{self.at - START:.3f} s: {self.judge}: {self.what}"


class Judges:
    """All of them."""

    def __init__(self, fleet: "Fleet") -> None:
        self._fleet = fleet
        self.assumptions = Assumptions()
        self.found: list[Finding] = []
        self._excuses: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._lines: dict[str, dict[str, Any]] = {}
        self._targets: dict[str, list[str]] = defaultdict(list)
        """By target: the ids of the calls made for it."""
        self._service_of: dict[str, str] = {}
        self._unknown: set[str] = set()
        """Ids of calls that a killed gateway had."""
        self._stops: dict[str, float] = {}
        self.calls = 0
        self.reservations = 0

    def find(self, judge: str, what: str) -> None:
        """Note a broken promise."""
        self.found.append(Finding(self._fleet.loop.now, judge, what))

    # --- what happens on the way ---
    def excuse(self, node: str, began_at: float, until: float) -> None:
        """Answers of that gateway may be late or missing then: its callers cannot reach it."""
        self._excuses[node].append((began_at, until))

    def note_death(self, node: str) -> None:
        self.assumptions.note_death(self._fleet.loop.now)
        self.excuse(node, self._fleet.loop.now - 150, self._fleet.loop.now + 1)

    def note_stop(self, node: str) -> None:
        self._stops[node] = self._fleet.loop.now

    def note_end(self, node: str) -> None:
        """Hold the end of a gateway that was told to stop against what it may take."""
        took = self._fleet.loop.now - self._stops.pop(node)
        if took > 60:
            self.find("stop", f"{node} took {took:.1f} s to end")
        self._look_at_left(node)

    def hear_log(self, node: str, level: str, event: dict[str, Any]) -> None:
        name = event.get("event", "")
        if name == "call":
            self._lines[event["request_id"]] = dict(event)
            self.reservations += event["outcome"] not in {"refused", "answered"}
        self._fleet.trace.note(node, f"log {level} {_brief(event)}")
        if name in _OWN_FAULTS or (level in {"error", "critical"} and name not in _EXPLAINED):
            self.find("log", f"{node} logged {_brief(event)} {_trail(event.get('exc_info'))}")

    def hear_answer(
        self, plan: CallerPlan, call: "Call", call_id: str, host: str, began_at: float,
        answer: "Answer | None", ending: str, *, bound: float,
    ) -> None:  # fmt: skip
        """Judge what one call came to."""
        fleet = self._fleet
        now = fleet.loop.now
        self.calls += 1
        self._targets[call.target].append(call_id)
        self._service_of[call_id] = plan.service
        outcome = str(answer.status) if answer else ending
        fleet.outcomes[outcome] += 1
        fleet.trace.note(plan.name, f"{call_id} {call.target[:50]} {outcome}")
        is_excused = any(begin <= now and began_at <= end for begin, end in self._excuses[host])
        if ending in _NO_ANSWERS or now - began_at > bound:
            if not is_excused:
                took = now - began_at
                self.find("in time", f"{call_id} to {host}: {outcome} after {took:.1f} s")
            return
        if answer:
            self._look_at_answer(call, call_id, answer)

    def _look_at_answer(self, call: "Call", call_id: str, answer: "Answer") -> None:
        named = answer.headers.get("x-request-id", call_id)
        if named != call_id and not call.is_wrong:
            self.find("own answer", f"{call_id} got the answer of {named}")
        body = answer.body
        if answer.status == 200 and call.asins:
            told = orjson.loads(body)
            got = [product["asin"] for product in told.get("products") or ()]
            if "error" not in told and got != list(call.asins):
                self.find("own answer", f"{call_id} asked for {call.asins[:3]}, got {got[:3]}")
        elif answer.status == 500 and b'"internal_error"' in body:
            self.find("own fault", f"{call_id}: {body[:200]!r}")
        elif call.is_wrong and answer.status == 200 and call.method == "PUT":
            self.find("wrong request", f"{call_id}: {call.method} was answered with 200")

    # --- what is left, and what adds up ---
    def look_at_floor(self) -> None:
        """Keepa's balance never fell below the floor by what was admitted."""
        for at, lowest in self._fleet.keepa.lowest_at:
            if lowest < FLOOR and not self.assumptions.broken_before(at + 5):
                self.found.append(
                    Finding(at, "floor", f"a call left {lowest} tokens, the floor is {FLOOR}")
                )
                return

    def look_at_books(self, status: dict[str, Any]) -> None:
        """What the ledger counted as used is what Keepa charged, as far as anybody can know."""
        if self.assumptions.has_loss or self.assumptions.has_death:
            self._look_at_runs(complete=not self.assumptions.has_death)
            return
        self._look_at_runs(complete=True)
        charged: dict[str, int] = defaultdict(int)
        doubt: dict[str, int] = defaultdict(int)
        for target, ids in self._targets.items():
            # No two services ask the same.
            charged[self._service_of[ids[0]]] += sum(self._fleet.keepa.charged.get(target, ()))
        for line in self._lines.values():
            unsure = line.get("attempts", 1) - (line["outcome"] in {"settled", "released"})
            doubt[line["service"]] += line["reserved"] * unsure
        for service in sorted({*charged, *doubt}):
            used = status["services"].get(service, {}).get("used", 0)
            if not charged[service] <= used <= charged[service] + doubt[service]:
                self.find(
                    "books",
                    f"{service}: {used} tokens counted as used, Keepa charged {charged[service]}, "
                    f"and {doubt[service]} are in doubt",
                )

    def _look_at_runs(self, *, complete: bool) -> None:
        """No call ran more often than it was attempted, and none that was not admitted."""
        for target, ids in self._targets.items():
            runs = self._fleet.keepa.charged.get(target, [])
            lines = [self._lines[call_id] for call_id in ids if call_id in self._lines]
            if complete and runs and len(lines) == len(ids):
                attempts = sum(line.get("attempts", 0) for line in lines)
                if len(runs) > attempts:
                    self.find("once", f"{ids} ran {len(runs)} times, attempted {attempts} times")
            is_known = len(lines) == len(ids) and all(
                line["outcome"] in {"settled", "released", "refused", "answered"}
                and line.get("attempts", 1) == 1
                for line in lines
            )
            consumed = sum(line["consumed"] or 0 for line in lines)
            if complete and is_known and consumed != sum(runs):
                self.find("books", f"{ids}: logged {consumed} tokens, Keepa charged {sum(runs)}")

    def look_at_status(self, node: str, status: dict[str, Any]) -> None:
        """In quiet, after one observation, each gateway tells Keepa's balance, and no hold."""
        tokens, keepa = status["tokens"], self._fleet.keepa.state()
        if tokens["remaining"] != keepa["tokens_left"]:
            self.find("balance", f"{node} says {tokens['remaining']}, Keepa {keepa['tokens_left']}")
        if tokens["reserved"]:
            self.find("holds", f"{node} says {tokens['reserved']} tokens are held")
        for service, told in sorted(status["services"].items()):
            if told.get("reserved"):
                self.find("holds", f"{service}: {told['reserved']} tokens are held")
        if status["breaker"] != "closed":
            self.find("recovery", f"{node}: the circuit is {status['breaker']} in quiet time")

    def look_at_keys(self) -> None:
        """Redis holds next to nothing when traffic has stopped: services, usage by the hour."""
        data = self._fleet.redis.engine.data
        data.sweep()
        for key, value in data.keys.items():
            if len(value) > 150 and b"usage" not in key and b"feed" not in key:
                self.find("keys", f"{key.decode()} has {len(value)} members in quiet time")

    def look_at_what_is_left(self) -> None:
        """No gateway that has ended leaves a task or a connection."""
        for gateway in self._fleet.gateways:
            self._look_at_left(gateway.node)

    def _look_at_left(self, node: str) -> None:
        tasks = [task.get_coro().__qualname__ for task in self._fleet.loop.tasks_of(node)]
        ends = [e.name for e in self._fleet.network.ends if e.node == node and not e.is_swallowed]
        if tasks or ends:
            self.find("left behind", f"{node} left tasks {tasks} and connections {ends}")

    def look_at_uncaught(self) -> None:
        """No exception went by unseen."""
        for fault in self._fleet.loop.faults:
            error = fault.get("exception")
            self.find("uncaught", f"{fault.get('message')} {error!r}"[:300])


def _brief(event: dict[str, Any]) -> str:
    told = ("event", "outcome", "status", "reason", "error", "what", "script", "job", "request_id")
    return " ".join(str(event[name]) for name in told if event.get(name) is not None)[:160]


def _trail(error: object) -> str:
    """Tell an exception and where it came from, in one line."""
    if not isinstance(error, BaseException):
        error = sys.exc_info()[1]
    if error is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    places = " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
    return f"{error!r} at {places}"
