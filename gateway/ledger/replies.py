"""What a transition answers, read from Redis' flat list."""

from enum import IntEnum
from typing import Any, NamedTuple

from gateway.balance import NO_EVENTS, Balance, Events
from gateway.ledger.values import Overview, RequestRate, Usage


class Code(IntEnum):
    """First element of every reply; the same numbers stand in `shared.lua`."""

    DONE = 0
    UNKNOWN = 1
    FLOOR = 2
    CAPACITY = 3
    RATE = 4
    RESOLVED = 5
    SERVICE_FLOOR = 6
    QUOTA = 7
    CONCURRENCY = 8


class Reply(NamedTuple):
    """A transition's reply."""

    code: int
    epoch: int
    balance: Balance
    events: Events
    doubt_at: int
    """When the balance last became doubtful, on the store's clock; 0: it is not."""
    extra: list[Any]


_EVENTS_AT = 10
_DOUBT_AT = 16
_INCONSISTENT_AT = 18
_EXTRA_AT = 19


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
        doubtful=raw[_DOUBT_AT],
    )
    events = raw[_EVENTS_AT:_DOUBT_AT]
    noticed = Events(*events) if any(events) else NO_EVENTS
    if inconsistent := raw[_INCONSISTENT_AT]:
        noticed = noticed._replace(inconsistent=inconsistent.decode())
    return Reply(
        raw[0],
        int(raw[1]),
        balance,
        noticed,
        raw[_DOUBT_AT + 1],
        raw[_EXTRA_AT:],
    )


def read_overview(reply: Reply) -> Overview:
    """Read what overview.lua adds."""
    per_minute, burst, used, requests, live_holds, rows = reply.extra
    services = {row[0].decode(): _read_usage(row) for row in rows}
    rate = RequestRate(per_minute, burst)
    return Overview(reply.balance, used, requests, live_holds, services, rate)


def _read_usage(row: list[Any]) -> Usage:
    """Read a service's row of overview.lua."""
    _, used, reserved, holds, this_hour, this_day, waiting, flat = row
    refusals = {reason.decode(): n for reason, n in zip(flat[::2], flat[1::2], strict=True)}
    return Usage(used, reserved, holds, this_hour, this_day, waiting, refusals)
