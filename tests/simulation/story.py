"""What a seed decides before anything runs: who is there, who calls, what fails, and when."""

import datetime as dt
import random
from dataclasses import dataclass, field
from typing import Any

from simulation.faults import KINDS, PROFILES

FLOOR = 10
UPSTREAM_SECONDS = 20
HOLD_SECONDS = 30
MAX_WAIT_SECONDS = 30
COOLDOWN_SECONDS = 5
# Somewhere in the year: an hour, a day, a month, a year that begins during the story.
_BOUNDARIES = (
    (2026, 3, 4, 15), (2026, 3, 5, 0), (2026, 4, 1, 0), (2026, 7, 31, 22), (2027, 1, 1, 0),
    (2028, 2, 29, 0), (2028, 3, 1, 0),
)  # fmt: skip

_PRESSED = {"rate_limit_per_minute": 0, "max_concurrency": 100}

CALLERS = {
    "poller": 4, "burst": 3, "batch": 3, "finder": 2, "stock": 3, "waiter": 4, "hasty": 2,
    "slow": 1, "wrong": 1, "looker": 1,
}  # fmt: skip
"""Kinds of callers, and how often each is there."""


@dataclass(frozen=True)
class CallerPlan:
    """One caller: what it is like, whose it is, seconds from one call to the next."""

    name: str
    kind: str
    service: str
    pause: float


@dataclass(frozen=True)
class FaultPlan:
    """One fault: its kind, and when it begins."""

    name: str
    kind: str
    at: float


@dataclass(frozen=True)
class Story:
    """All of it. Whatever is still drawn while it runs is drawn from `seed` and a name."""

    seed: int
    seconds: float
    profile: str
    gateways: int
    tokens: int
    refill_rate: int
    first_lump_in_ms: int
    begins_at: float
    settings: dict[str, Any]
    policies: dict[str, dict[str, Any]]
    callers: tuple[CallerPlan, ...]
    faults: tuple[FaultPlan, ...] = field(default=())

    def __str__(self) -> str:
        begins = dt.datetime.fromtimestamp(self.begins_at, dt.UTC)
        return (
            f"seed {self.seed}, profile {self.profile}: {self.gateways} gateways, "
            f"{len(self.callers)} callers, {len(self.faults)} faults in {self.seconds:g} s from "
            f"{begins:%Y-%m-%d %H:%M:%S}; {self.tokens} tokens at {self.refill_rate} a minute"
        )


def draw_story(seed: int, seconds: float = 120, profile: str = "mixed") -> Story:
    """Draw a story.

    Args:
        seed: Decides all.
        seconds: How long callers call and things fail.
        profile: Which faults there may be; see `faults.PROFILES`. Or one kind, and only that.
    """
    chance = random.Random(f"{seed}-story")
    is_pressed = profile == "pressure"
    rate = chance.choice((120, 300, 600) if is_pressed else (20, 120, 600, 3000, 3000))
    # Swarm testing: each story has a part of the kinds only, so that rare pairs meet often.
    allowed = [profile] if profile in KINDS else [k for k in KINDS if PROFILES[profile](KINDS[k])]
    share = chance.choice((0.1, 0.3, 0.6, 1.0))
    kinds = [kind for kind in allowed if chance.random() < share] or allowed[:1]
    every = chance.choice((2, 5, 15))
    count = max(1, int(seconds / every)) if allowed else 0
    callers_there = 24 if is_pressed else chance.choice((6, 12, 24))
    return Story(
        seed=seed,
        seconds=seconds,
        profile=profile,
        gateways=2 if is_pressed else chance.choice((1, 2, 2, 2, 3, 5)),
        # Poor ones refuse nearly all, and are near the floor; rich ones have much in flight.
        tokens=FLOOR + 5
        if is_pressed
        else chance.choice((FLOOR + 5, rate, 3 * rate, 60 * rate, 60 * rate, 60 * rate)),
        refill_rate=rate,
        first_lump_in_ms=chance.randrange(1_000, 60_000),
        begins_at=_draw_begin(chance, seconds),
        settings={**_draw_settings(chance), **(_PRESSED if is_pressed else {})},
        policies=_draw_policies(chance, rate),
        callers=tuple(_draw_caller(chance, number) for number in range(callers_there)),
        faults=tuple(
            sorted(
                (
                    FaultPlan(
                        f"f{number}", chance.choice(kinds), round(chance.uniform(2, seconds), 3)
                    )
                    for number in range(count)
                ),
                key=lambda fault: fault.at,
            )
        )
        if kinds
        else (),
    )


def _draw_caller(chance: random.Random, number: int) -> CallerPlan:
    kind = chance.choices(list(CALLERS), list(CALLERS.values()))[0]
    service = chance.choice(("pricing", "batch", "audit", "website"))
    if kind == "wrong":
        # They all ask the same, and the books are kept by what is asked.
        service = "website"
    return CallerPlan(f"c{number}", kind, service, chance.choice((0.1, 0.3, 0.5, 1.0, 4.0)))


def _draw_begin(chance: random.Random, seconds: float) -> float:
    year, month, day, hour = chance.choice(_BOUNDARIES)
    boundary = dt.datetime(year, month, day, hour, tzinfo=dt.UTC).timestamp()
    return boundary - round(chance.uniform(5, seconds + 90), 3)


def _draw_settings(chance: random.Random) -> dict[str, Any]:
    return {
        "rate_limit_per_minute": chance.choice((0, 0, "auto", 300, 1200)),
        "max_concurrency": chance.choice((100, 100, 8, 2)),
        "max_queue": chance.choice((2000, 2000, 20)),
        "upstream_retries": chance.choice((0, 1, 3)),
        "balance_max_age_seconds": chance.choice((5, 15, 30)),
        "default_wait_seconds": chance.choice((0, 0, 5)),
    }


def _draw_policies(chance: random.Random, rate: int) -> dict[str, dict[str, Any]]:
    policies: dict[str, dict[str, Any]] = {}
    if chance.random() < 0.5:
        policies["batch"] = {"max_concurrency": chance.choice((1, 2, 5))}
    if chance.random() < 0.4:
        policies["audit"] = {"floor": FLOOR + rate}
    if chance.random() < 0.3:
        policies["website"] = {"tokens_per_hour": max(20, 5 * rate)}
    return policies
