"""What a transition answers, read from Redis' flat list."""

from enum import IntEnum
from typing import Any, NamedTuple

from gateway.balance import NO_EVENTS, Balance, Events
from gateway.ledger.values import Overview, RequestRate, Usage


class Code(IntEnum):
    """First element of every reply; the same numbers stand in `reply.lua`."""

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


_KNOWN_AT, _DOUBTFUL_AT, _NOTICED_AT = 2, 10, 12


def read_reply(raw: list[Any]) -> Reply:
    """Read the list that `report` in `reply.lua` returns."""
    known, tokens, held, rate, flow, lump_us, observed_us, consumed = raw[_KNOWN_AT:_DOUBTFUL_AT]
    doubtful, doubt_at, noticed = raw[_DOUBTFUL_AT : _NOTICED_AT + 1]
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
        doubtful=doubtful,
    )
    events = NO_EVENTS if noticed == 0 else _read_events(noticed)
    return Reply(raw[0], raw[1], balance, events, doubt_at, raw[_NOTICED_AT + 1 :])


def _read_events(noticed: list[Any]) -> Events:
    """Read the list that `take` in `notices.lua` returns."""
    lost, spent, back, reaped, reaped_tokens, overrun, inconsistent = noticed
    return Events(lost, spent, back, reaped, reaped_tokens, overrun, inconsistent.decode())


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
