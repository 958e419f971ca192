"""What a transition answers, read from Redis' flat list."""

from enum import IntEnum
from typing import Any, NamedTuple

from gateway.balance import NO_EVENTS, Balance, Events


class Code(IntEnum):
    """First element of every reply; the same numbers stand in `shared.lua`."""

    DONE = 0
    UNKNOWN = 1
    FLOOR = 2
    CAPACITY = 3
    RATE = 4
    RESOLVED = 5


class Reply(NamedTuple):
    """A transition's reply."""

    code: int
    epoch: int
    balance: Balance
    events: Events
    extra: list[Any]


_EVENTS_AT = 10
_EXTRA_AT = 16


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
        Events(*events) if any(events) else NO_EVENTS,
        raw[_EXTRA_AT:],
    )
