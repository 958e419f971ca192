"""What a transition answers, read from Redis' flat list."""

from enum import IntEnum
from typing import Any, NamedTuple

from gateway.balance import Balance


class Code(IntEnum):
    """First element of every reply; the same numbers stand in `shared.lua`."""

    DONE = 0
    UNKNOWN = 1
    FLOOR = 2
    CAPACITY = 3
    RATE = 4
    RESOLVED = 5


class Events(NamedTuple):
    """What this one transition noticed, in tokens but for `reaped`; counters add these up."""

    lost: int
    """Expired unused: a lump met a full bucket."""
    spent: int
    """Drift: gone by somebody else's calls."""
    back: int
    """Drift: given back, or never charged."""
    reaped: int
    """Holds that nobody resolved in time."""
    reaped_tokens: int
    overrun: int
    """Charged above the reservation."""


class Reply(NamedTuple):
    """A transition's reply."""

    code: int
    epoch: int
    balance: Balance
    events: Events
    extra: list[Any]


_EVENTS_AT = 10
_EXTRA_AT = 16
_NOTHING = Events(0, 0, 0, 0, 0, 0)


def read_reply(raw: list[Any]) -> Reply:
    """Read the list that `reply` in `shared.lua` returns."""
    known, tokens, held, rate, flow, lump_us, observed_us, consumed = raw[2:_EVENTS_AT]
    balance = Balance(
        known=known == 1,
        tokens=tokens,
        held=held,
        refill_rate=rate,
        flow_micro=flow,
        # Rounded up: who waits for the lump must not come a fraction too early.
        lump_in_ms=-(-lump_us // 1000),
        observed_ms_ago=observed_us // 1000,
        consumed=consumed,
    )
    events = raw[_EVENTS_AT:_EXTRA_AT]
    return Reply(
        raw[0],
        int(raw[1]),
        balance,
        Events(*events) if any(events) else _NOTHING,
        raw[_EXTRA_AT:],
    )
