"""What a fault may leave behind, which is nothing; broken promises are collected, not raised."""

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from support.gateways.processes import KEY
from support.waiting import until

from chaos.fleet import KEYS, Fleet
from gateway.ledger.scripts import name_chronicle_keys, name_usage_key

# Since the gateway was warm, whatever it went through in between: a leak adds up over the cells.
RESIDENT_GROWTH = 16 * 1024 * 1024
# To Keepa, of one gateway: idle ones are kept for 15 s, as many as there were calls at once.
MOST_CONNECTIONS = 130


@dataclass
class Crossing:
    """What a cell saw; times in seconds."""

    title: str
    told: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    slowest_refusal: float = 0.0
    """Of those made while Redis was away."""
    recovery: float = 0.0
    holds_left: int = -1
    lowest: int = 0
    grown_mb: float = 0.0
    seconds: float = 0.0

    def figures(self) -> dict[str, Any]:
        return {
            "slowest_refusal": round(self.slowest_refusal, 3),
            "recovery": round(self.recovery, 2),
            "holds_left": self.holds_left,
            "lowest": self.lowest,
            "grown_mb": self.grown_mb,
            "told": dict(sorted(self.told.items())),
        }

    def expect(self, is_so: object, promise: str) -> None:
        if not is_so:
            self.broken.append(promise)


async def expect_clean_books(fleet: Fleet, crossing: Crossing) -> None:
    """No hold, nothing without its end, no key of anybody else's."""
    books = await fleet.books()
    crossing.expect(books.live_holds == 0, f"{books.live_holds} holds left in Redis")
    crossing.expect(books.starts == 0, f"{books.starts} starts left in Redis")
    crossing.expect(books.indexed, "a hold or marker without an end in Redis")
    hour = int(time.time() // 3600)
    usage = {name_usage_key("chaos", hour - ago) for ago in range(2)}
    strange = books.keys - {*KEYS, *usage, *name_chronicle_keys("chaos")}
    crossing.expect(not strange, f"strange keys in Redis: {strange}")


def expect_clean_output(fleet: Fleet, crossing: Crossing, *, may_refuse_scripts: bool) -> None:
    """No traceback, no fault of the gateway's own, no key; each line is JSON."""
    forbidden = {"unhandled"} | ({"script_refused"} if not may_refuse_scripts else set())
    output = fleet.new_output()
    crossing.expect("Traceback" not in output, f"a traceback: {_around(output, 'Traceback')}")
    crossing.expect(KEY not in output, "the key is in the log")
    for line in output.splitlines():
        try:
            event = json.loads(line)["event"]
        except (ValueError, KeyError):
            crossing.broken.append(f"no line of a log: {line[:300]}")
        else:
            crossing.expect(event not in forbidden, f"logged: {line[:300]}")


def _around(text: str, word: str) -> str:
    at = text.find(word)
    return text[max(0, at - 200) : at + 1200]


async def expect_vitals(fleet: Fleet, crossing: Crossing, place: int) -> None:
    """Hold the memory and descriptors against those of when the gateway was warm."""
    warm = fleet.warm_vitals[place]
    try:
        await until(lambda: fleet.vitals(place).descriptors <= warm.descriptors, 3)
    except AssertionError:
        now = fleet.vitals(place).descriptors
        crossing.broken.append(f"descriptors: {warm.descriptors} when warm, {now} now")
    connections = fleet.to_keepa[place].connections
    crossing.expect(connections <= MOST_CONNECTIONS, f"{connections} connections to Keepa")
    grown = fleet.vitals(place).resident - warm.resident
    crossing.grown_mb = max(crossing.grown_mb, round(grown / 1024 / 1024, 1))
    crossing.expect(grown < RESIDENT_GROWTH, f"{crossing.grown_mb} MB more in use than when warm")
