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
    is_of_many: bool = False
    """Whether its text runs any number of transitions in one go, and is told which (many.lua)."""


def _read(name: str, parts: tuple[str, ...], *, is_of_many: bool = False) -> Script:
    text = "\n".join((_TEXTS / f"{part}.lua").read_text(encoding="utf-8") for part in parts)
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha, is_of_many)


def _compose(*parts: str) -> Script:
    """Return the transition of the last part, which stands behind the shared steps."""
    return _read(parts[-1], ("shared", "begin", *parts))


def _of_many(name: str) -> Script:
    """Return one of the transitions that each call to Keepa takes."""
    parts = ("shared", "begin", "waiting", "reserve", "settle", "release", "many")
    return _read(name, parts, is_of_many=True)


def _stand_alone(name: str) -> Script:
    """Return a script that has keys of its own, and no part in the accounting."""
    return _read(name, (name,))


RESERVE = _of_many("reserve")
SETTLE = _of_many("settle")
RELEASE = _of_many("release")
KEEP = _compose("keep")
OBSERVE = _compose("refresh", "observe")
CLAIM = _compose("refresh", "claim")
LOOK = _compose("waiting", "look")
LINE = _compose("waiting", "line")
COUNT = _compose("count")
FEED = _stand_alone("feed")
ALARM = _stand_alone("alarm")
TOLD = _stand_alone("told")
OUTAGES = _stand_alone("outages")
USAGE = _stand_alone("usage")

ALL = (
    RESERVE,
    SETTLE,
    RELEASE,
    KEEP,
    OBSERVE,
    CLAIM,
    LOOK,
    LINE,
    COUNT,
    FEED,
    ALARM,
    TOLD,
    OUTAGES,
    USAGE,
)
TEXTS = tuple(dict.fromkeys(script.text for script in ALL))
"""What a server has to load."""


def words_of(calls: Sequence[tuple[Script, Sequence[str | int]]]) -> Sequence[str | int]:
    """Return the arguments of one command: of any number of scripts of many, or of one other."""
    script, arguments = calls[0]
    if not script.is_of_many:
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
            "line",
            "gateways",
            "markers",
        )
    )


def name_usage_key(account: str, hour: int) -> str:
    """Return the key that goes behind those, of an hour counted from 1970."""
    return f"keepa-gateway:{{{account}}}:usage:{hour}"


def name_feed_keys(account: str) -> tuple[str, ...]:
    """Return the keys of `feed.lua`, in its order."""
    return tuple(
        f"keepa-gateway:{{{account}}}:feed-{part}" for part in ("samples", "refusals", "present")
    )


def name_alarm_keys(account: str) -> tuple[str, ...]:
    """Return the keys of `alarm.lua`, `told.lua` and `outages.lua`, in their order."""
    return (f"keepa-gateway:{{{account}}}:alarms",)
