"""The JSON of an event, with one sentence for people."""

from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.alerts.conditions import Alarm
from gateway.balance import Balance


@dataclass(frozen=True, slots=True)
class Origin:
    """Where events come from.

    Attributes:
        account: The ledger's name; never the key.
        gateway: The process, as `host:pid`.
        floor: Tokens.
    """

    account: str
    gateway: str
    floor: int


_BEGUN = {
    Alarm.BALANCE_LOW: "the balance is {balance} tokens, below the alert level of {threshold}, and "
    "{gain} come each minute: look at /status for who spends them, and give that service a floor "
    "or a cap",
    Alarm.BELOW_FLOOR: "the balance is {balance} tokens, below the floor of {threshold}, so calls "
    "are refused until it has risen: find out whether somebody else spends the key or a call was "
    "let through on purpose (OVERDRAFT, ENFORCE=false)",
    Alarm.DRIFT: "somebody else has spent {tokens} tokens with the same key: find who uses it "
    "beside the gateway, and have them call the gateway or get a new key",
    Alarm.KEEPA_OUTAGE: "Keepa does not answer and calls are refused with 503 circuit_open: see "
    "whether Keepa can be reached, the gateway goes on by itself when it answers",
    Alarm.REDIS_OUTAGE: "Redis is away from {gateway} and calls there are refused with 503 "
    "ledger_unavailable: see that Redis runs, can be reached and takes writes, log event "
    "store_down says why; the gateway goes on by itself",
}
_GOES_ON = (
    "somebody else goes on spending with the same key, {more} tokens since the last alert, "
    "{tokens} in all: find who uses it beside the gateway, and have them call the gateway or get a "
    "new key"
)
_STOPPED = "{gateway} has stopped, so Redis is not away from it any more: nothing is left to do"
_TEST = "this is a test from {gateway}: nothing is wrong, and nothing is left to do"
_ENDED = {
    Alarm.BALANCE_LOW: "the balance is back at {balance} tokens, above the alert level of "
    "{threshold}: nothing is left to do",
    Alarm.BELOW_FLOOR: "the balance is back at {balance} tokens, above the floor of {threshold}: "
    "calls run again",
    Alarm.DRIFT: "nobody else has spent tokens for ten minutes, {tokens} in all: nothing is left "
    "to do if you know who it was",
    Alarm.KEEPA_OUTAGE: "no gateway refuses calls for Keepa's failures any more: nothing is left "
    "to do",
    Alarm.REDIS_OUTAGE: "{gateway} has Redis back and calls run again: nothing is left to do",
}


def describe_event(
    alarm: Alarm,
    origin: Origin,
    *,
    is_on: bool,
    balance: Balance | None,
    since: float,
    at: float,
    threshold: int | None = None,
    tokens: int = 0,
    tokens_told: int = 0,
    has_stopped: bool = False,
) -> dict[str, object]:
    """Return an event; fields that are not known are None.

    Args:
        alarm: Its name.
        origin: Account and gateway.
        is_on: True: it has begun; False: it has ended.
        balance: The last known one.
        since: When it began, Unix seconds; 0: not known.
        at: When this was found, Unix seconds.
        threshold: Tokens that the balance was compared with.
        tokens: Spent by others.
        tokens_told: How many of them earlier events have reported.
        has_stopped: Whether it ends because its gateway stops.
    """
    known = balance if balance and balance.known else None
    is_drift = alarm is Alarm.DRIFT
    sentence = (_BEGUN if is_on else _ENDED)[alarm]
    if tokens_told and is_on:
        sentence = _GOES_ON
    elif has_stopped:
        sentence = _STOPPED
    sentence = sentence.format(
        balance=known.tokens if known else "?",
        gain=known.gain if known else "?",
        gateway=origin.gateway,
        threshold=threshold,
        tokens=tokens,
        more=tokens - tokens_told,
    )
    return {
        "text": f"Keepa account {origin.account}: {sentence}.",
        "name": alarm.value,
        "state": "firing" if is_on else "resolved",
        "account": origin.account,
        "gateway": origin.gateway,
        "balance": known.tokens if known else None,
        "available": known.available if known else None,
        "floor": origin.floor,
        "threshold": threshold,
        "tokens": tokens if is_drift else None,
        "since": _iso(since) if since else None,
        "at": _iso(at),
    }


def describe_test(origin: Origin, *, at: float) -> dict[str, object]:
    """Return a test event, with the fields of all events; `at` in Unix seconds."""
    return {
        "text": f"Keepa account {origin.account}: {_TEST.format(gateway=origin.gateway)}.",
        "name": "test",
        "state": "firing",
        "account": origin.account,
        "gateway": origin.gateway,
        "balance": None,
        "available": None,
        "floor": origin.floor,
        "threshold": None,
        "tokens": None,
        "since": None,
        "at": _iso(at),
    }


def _iso(seconds: float) -> str:
    return (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
