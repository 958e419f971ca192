"""The Lua transitions, composed and named once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

_TEXTS = files("gateway.ledger") / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One transition. `sha` is what EVALSHA calls its text by."""

    name: str
    text: str
    sha: str
    is_of_batch: bool = False
    """Whether its text runs any number of transitions in one go, and is told which (batch.lua)."""


def _read(name: str, parts: tuple[str, ...], *, is_of_batch: bool = False) -> Script:
    text = "\n".join((_TEXTS / f"{part}.lua").read_text(encoding="utf-8") for part in parts)
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha, is_of_batch)


def _compose(*parts: str) -> Script:
    """Return the transition of the last part, which stands behind the shared steps."""
    return _read(parts[-1], ("shared", "begin", *parts))


def _of_batch(name: str) -> Script:
    """Return one of the transitions that each call to Keepa takes."""
    parts = ("shared", "begin", "queue", "reserve", "settle", "release", "batch")
    return _read(name, parts, is_of_batch=True)


def _stand_alone(name: str) -> Script:
    """Return a script that has keys of its own, and no part in the accounting."""
    return _read(name, (name,))


RESERVE = _of_batch("reserve")
SETTLE = _of_batch("settle")
RELEASE = _of_batch("release")
RESTORE_HOLDS = _compose("restore_holds")
OBSERVE = _compose("refresh", "observe")
CLAIM_REFRESH = _compose("refresh", "claim_refresh")
OVERVIEW = _compose("queue", "overview")
NEXT_IN_QUEUE = _compose("queue", "next_in_queue")
COUNT_REFUSALS = _compose("count_refusals")
CHRONICLE = _stand_alone("chronicle")
ALARM_SEEN = _stand_alone("alarm_seen")
ALARM_POSTED = _stand_alone("alarm_posted")
OPEN_OUTAGES = _stand_alone("open_outages")
READ_USAGE = _stand_alone("read_usage")

ALL = (
    RESERVE,
    SETTLE,
    RELEASE,
    RESTORE_HOLDS,
    OBSERVE,
    CLAIM_REFRESH,
    OVERVIEW,
    NEXT_IN_QUEUE,
    COUNT_REFUSALS,
    CHRONICLE,
    ALARM_SEEN,
    ALARM_POSTED,
    OPEN_OUTAGES,
    READ_USAGE,
)
TEXTS = tuple(dict.fromkeys(script.text for script in ALL))
"""What a server has to load."""


def words_of(calls: Sequence[tuple[Script, Sequence[str | int]]]) -> Sequence[str | int]:
    """Return the arguments of one command: of any number of scripts of a batch, or of one other."""
    script, arguments = calls[0]
    if not script.is_of_batch:
        return arguments
    words: list[str | int] = [len(calls)]
    for script, arguments in calls:
        words += (script.name, len(arguments), *arguments)
    return words


def name_keys(account: str) -> tuple[str, ...]:
    """Return the ledger's keys in the order of `shared.lua`.

    The braces are one hash tag, so a cluster keeps them together. `account` is a digest of the
    account's key, never the key.
    """
    return tuple(
        f"keepa-gateway:{{{account}}}:{part}"
        for part in (
            "ledger",
            "holds",
            "expiries",
            "starts",
            "services",
            "queue",
            "gateways",
            "markers",
        )
    )


def name_usage_key(account: str, hour: int) -> str:
    """Return the key that goes behind those, of an hour counted from 1970."""
    return f"keepa-gateway:{{{account}}}:usage:{hour}"


def name_chronicle_keys(account: str) -> tuple[str, ...]:
    """Return the keys of `chronicle.lua`, in its order."""
    return tuple(
        f"keepa-gateway:{{{account}}}:feed-{part}" for part in ("samples", "refusals", "present")
    )


def name_alarm_keys(account: str) -> tuple[str, ...]:
    """Return the keys of the scripts of alarms, in their order."""
    return (f"keepa-gateway:{{{account}}}:alarms",)
