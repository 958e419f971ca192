"""How old an answer a call takes, and whether an entry is young enough for it.

One consent rules everything: the allowed age, in seconds. It is said by the call, in
`Cache-Control` (RFC 9111, 5.2.1; RFC 5861, 4), or else by the policy of its service; 0, the
default, is a call that is answered by Keepa alone.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from gateway.cache.questions import LIVE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.cache.questions import Question

AS_KEEPA: Final = "as_keepa"
"""A policy's word: as old as Keepa itself would have left it."""

_HOUR: Final = 3600
# RFC 9111, 1.2.2: what is larger stands for this.
_MOST_SECONDS: Final = 2**31
_MOST_DIGITS: Final = 20
# A token, and after `=` a token or a quoted string (RFC 9110, 5.6).
_WORD = r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)"
_NAME: Final = re.compile(rf"[ \t]*{_WORD}")
_DIRECTIVE: Final = re.compile(rf'[ \t]*{_WORD}(?:=(?:{_WORD}|"((?:[^"\\]|\\.)*)"))?[ \t]*(?:,|$)')
_SECONDS: Final = re.compile("[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Directives:
    """What a call says of ages; seconds, None where it says nothing.

    Attributes:
        max_age: at most so old.
        max_stale: so much older than the gateway gives out; infinite where no number is said.
        min_fresh: must stay within the gateway's age for so long.
        no_cache: answered by Keepa alone.
        no_store: the same, and its answer is not kept.
        only_if_cached: answered from what is kept, or not at all.
        stale_if_error: so much older than `max_age` where there would be no answer else.
    """

    max_age: float | None = None
    max_stale: float = 0
    min_fresh: float = 0
    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    stale_if_error: float | None = None


NOTHING_SAID: Final = Directives()


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator says of ages, in seconds.

    Attributes:
        most: no answer is given again when older.
        stale: so much longer entries are kept, for calls that take a stale answer over none.
        usual: what a call of this service and endpoint takes where it does not say.
        stale_if_error: as the directive, where the call does not say.
        shares: False: nothing of the service's is kept, and it is given nothing.
    """

    most: float = 0
    stale: float = 0
    usual: float | Literal["as_keepa"] = 0
    stale_if_error: float = 0
    shares: bool = True


@dataclass(frozen=True, slots=True)
class Allowance:
    """How old an answer one call takes.

    Attributes:
        seconds: the most; 0: Keepa alone answers it.
        stale_seconds: the most where there would be no answer else, at least as much.
        may_keep: whether its own answer may be kept.
        only_if_cached: it is not to be forwarded.
    """

    seconds: float
    stale_seconds: float
    may_keep: bool
    only_if_cached: bool
    _of_products: bool
    _asked_hours: float
    # How old Keepa's data may be besides; infinite: the call does not say.
    _data_seconds: float
    _more_stale: float

    def takes(self, age: float, hours: float, data_age: float | None) -> bool:
        """Return whether an entry is young enough.

        Args:
            age: seconds since its question was sent.
            hours: those under which it was fetched, `Question.hours`.
            data_age: how old Keepa's data was then, in seconds; None: not known.
        """
        return 0 < self.seconds >= age and self._suits(age, hours, data_age, self._data_seconds)

    def takes_stale(self, age: float, hours: float, data_age: float | None) -> bool:
        """Return whether an entry is young enough where there would be no answer else."""
        most = self._data_seconds + self._more_stale
        return 0 < self.stale_seconds >= age and self._suits(age, hours, data_age, most)

    def _suits(self, age: float, hours: float, data_age: float | None, most: float) -> bool:
        asked = self._asked_hours
        if hours > asked and (data_age is None or data_age > asked * _HOUR):
            # Fetched for who takes older data from Keepa than this call would be given.
            return False
        if math.isinf(most):
            return True
        if self._of_products:
            return data_age is not None and data_age + age <= most
        return age <= most


def read_directives(cache_control: Iterable[str], pragma: Iterable[str] = ()) -> Directives:
    """Read what a call says, header line by header line; never raises.

    Of a directive that stands twice the stricter counts, one whose number cannot be read stands for
    its strictest, an unknown one is ignored (RFC 9111, 4.2.1, 5.2.3). `Pragma: no-cache` counts
    only without `Cache-Control` (5.4).
    """
    lines = list(cache_control)
    if not lines:
        asked = any("no-cache" in map(str.strip, line.lower().split(",")) for line in pragma)
        return Directives(no_cache=True) if asked else NOTHING_SAID
    said: dict[str, list[str | None]] = {}
    for line in lines:
        for name, argument in _split(line):
            said.setdefault(name, []).append(argument)
    max_stale = [
        math.inf if argument is None else _read_seconds(argument, 0)
        for argument in said.get("max-stale", ())
    ]
    return Directives(
        max_age=min(_numbers(said, "max-age", 0), default=None),
        max_stale=min(max_stale, default=0),
        min_fresh=max(_numbers(said, "min-fresh", math.inf), default=0),
        no_cache="no-cache" in said,
        no_store="no-store" in said,
        only_if_cached="only-if-cached" in said,
        stale_if_error=min(_numbers(said, "stale-if-error", 0), default=None),
    )


def allow(question: Question | None, said: Directives, terms: Terms) -> Allowance:
    """Work out how old an answer a call takes.

    Args:
        question: what it asks; None: it is not shareable.
        said: by the call.
        terms: of its service and endpoint.
    """
    is_on = question is not None and terms.most > 0 and terms.shares
    may_keep = is_on and not said.no_store
    is_live = question is not None and question.update == LIVE
    if not is_on or question is None or is_live or said.no_cache or said.no_store:
        return Allowance(0, 0, may_keep, said.only_if_cached, False, 0, math.inf, 0)
    wanted, data_seconds = _want(question, said, terms)
    seconds = max(0.0, min(wanted, terms.most - said.min_fresh)) + min(said.max_stale, terms.stale)
    more = terms.stale_if_error if said.stale_if_error is None else said.stale_if_error
    return Allowance(
        seconds,
        max(seconds, min(wanted + more, terms.most + terms.stale)),
        may_keep,
        said.only_if_cached,
        question.is_of_products,
        question.hours,
        data_seconds,
        more,
    )


def _want(question: Question, said: Directives, terms: Terms) -> tuple[float, float]:
    """Return the age that a call asks for, and how old Keepa's data may be besides; seconds."""
    data_seconds = math.inf
    if question.update is not None and question.update > 0:
        data_seconds = question.update * _HOUR
    if said.max_age is not None:
        return said.max_age, data_seconds
    if terms.usual != AS_KEEPA:
        return terms.usual, data_seconds
    if not question.is_of_products or not 0 < question.hours < math.inf:
        return 0, data_seconds
    return math.inf, question.hours * _HOUR


def _split(line: str) -> Iterable[tuple[str, str | None]]:
    """Return the directives of a line, in lower case, each with its argument; malformed: empty.

    A quoted argument is unquoted: the two forms mean the same (RFC 9111, 5.2).
    """
    at = 0
    while at < len(line):
        match = _DIRECTIVE.match(line, at)
        if match is None:
            if named := _NAME.match(line, at):
                yield named[1].lower(), ""
            at = line.find(",", at) + 1 or len(line)
            continue
        at = match.end()
        name, token, quoted = match.groups()
        yield name.lower(), token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)


def _numbers(said: dict[str, list[str | None]], name: str, strictest: float) -> list[float]:
    return [_read_seconds(argument, strictest) for argument in said.get(name, ())]


def _read_seconds(text: str | None, strictest: float) -> float:
    if text is None or not _SECONDS.fullmatch(text):
        return strictest
    # More digits than Python would convert are as good as the most that counts.
    return min(int(text), _MOST_SECONDS) if len(text) <= _MOST_DIGITS else _MOST_SECONDS
