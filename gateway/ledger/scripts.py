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


RESERVE = _compose("waiting", "reserve")
SETTLE = _compose("settle")
RELEASE = _compose("release")
KEEP = _compose("keep")
OBSERVE = _compose("observe")
CLAIM = _compose("claim")
LOOK = _compose("waiting", "look")
LINE = _compose("waiting", "line")
COUNT = _compose("count")

ALL = (RESERVE, SETTLE, RELEASE, KEEP, OBSERVE, CLAIM, LOOK, LINE, COUNT)


def name_keys(account: str) -> tuple[str, ...]:
    """Return the ledger's keys in the order of `shared.lua`.

    The braces are one hash tag, so a cluster keeps them together. `account` is a digest of the
    account's key, never the key.
    """
    return tuple(
        f"keepa-gateway:{{{account}}}:{part}"
        for part in ("ledger", "holds", "expiries", "starts", "services", "line", "gateways")
    )
