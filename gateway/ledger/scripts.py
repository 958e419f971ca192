"""The Lua transitions, composed and named once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

_FOLDER = files("gateway.ledger") / "lua"
_INCLUDE, _INCLUDE_RARE = "-- include: ", "-- include when needed: "
_WHEN_NEEDED = """\
local function when_needed(make)
  local made
  return function()
    made = made or make()
    return made
  end
end
"""


@dataclass(frozen=True, slots=True)
class Script:
    """One transition. `sha` is what EVALSHA calls its text by."""

    name: str
    text: str
    sha: str
    is_of_batch: bool = False
    """Whether its text runs any number of transitions in one go, and is told which (batch.lua)."""


def _compose(name: str) -> str:
    """Return the text of a script, behind the modules that it includes, each once.

    A module is a file that returns a table or a function, which goes by the file's name in those
    that include it. Lua makes all of it anew each time that the script runs: what is rarely needed
    is included so, and made when `name()` is called first.
    """
    modules: dict[str, str] = {}

    def include(name: str) -> str:
        text = (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
        for other, is_rare in includes_of(text).items():
            if other not in modules:
                made = f"function()\n{include(other)}end"
                value = f"when_needed({made})" if is_rare else f"({made})()"
                modules[other] = f"local {other} = {value}\n"
        return text

    text = include(name)
    return (_WHEN_NEEDED if modules else "") + "".join(modules.values()) + text


def includes_of(text: str) -> dict[str, bool]:
    """Return the names of the modules that a file includes, and whether each is rarely needed."""
    return {
        name: head == _INCLUDE_RARE
        for head in (_INCLUDE, _INCLUDE_RARE)
        for line in text.splitlines()
        if line.startswith(head)
        for name in line.removeprefix(head).split(", ")
    }


def _read(name: str, file: str = "", *, is_of_batch: bool = False) -> Script:
    text = _compose(file or name)
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha, is_of_batch)


# The transitions that each call to Keepa takes.
RESERVE = _read("reserve", "batch", is_of_batch=True)
SETTLE = _read("settle", "batch", is_of_batch=True)
RELEASE = _read("release", "batch", is_of_batch=True)
RESTORE_HOLDS = _read("restore_holds")
OBSERVE = _read("observe")
CLAIM_REFRESH = _read("claim_refresh")
OVERVIEW = _read("overview")
NEXT_IN_QUEUE = _read("next_in_queue")
COUNT_REFUSALS = _read("count_refusals")
# These have keys of their own, and no part in the accounting.
CHRONICLE = _read("chronicle")
ALARM_SEEN = _read("alarm_seen")
ALARM_POSTED = _read("alarm_posted")
OPEN_OUTAGES = _read("open_outages")
READ_USAGE = _read("read_usage")

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
    words: list[str | int] = []
    for script, arguments in calls:
        words += (script.name, *arguments)
    return words


def name_keys(account: str) -> tuple[str, ...]:
    """Return the ledger's keys in the order of `keys.lua`.

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
