"""The Lua transitions, composed and named once."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

_TEXTS = files("gateway.ledger") / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One transition: the shared steps, then its own files. `sha` is what EVALSHA calls it by."""

    name: str
    text: str
    sha: str


def _compose(*parts: str) -> Script:
    name = parts[-1]
    text = "\n".join(
        (_TEXTS / f"{part}.lua").read_text(encoding="utf-8") for part in ("shared", *parts)
    )
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _stand_alone(name: str) -> Script:
    """Return a script that has keys of its own, and no part in the accounting."""
    text = (_TEXTS / f"{name}.lua").read_text(encoding="utf-8")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


RESERVE = _compose("waiting", "reserve")
SETTLE = _compose("settle")
RELEASE = _compose("release")
KEEP = _compose("keep")
OBSERVE = _compose("observe")
CLAIM = _compose("claim")
LOOK = _compose("waiting", "look")
LINE = _compose("waiting", "line")
COUNT = _compose("count")
FEED = _stand_alone("feed")
ALARM = _stand_alone("alarm")
TOLD = _stand_alone("told")
USAGE = _stand_alone("usage")

ALL = (RESERVE, SETTLE, RELEASE, KEEP, OBSERVE, CLAIM, LOOK, LINE, COUNT, FEED, ALARM, TOLD, USAGE)


def name_keys(account: str) -> tuple[str, ...]:
    """Return the ledger's keys in the order of `shared.lua`.

    The braces are one hash tag, so a cluster keeps them together. `account` is a digest of the
    account's key, never the key.
    """
    return tuple(
        f"keepa-gateway:{{{account}}}:{part}"
        for part in ("ledger", "holds", "expiries", "starts", "services", "line", "gateways")
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
    """Return the keys of `alarm.lua` and `told.lua`, in their order."""
    return (f"keepa-gateway:{{{account}}}:alarms",)
