"""A call's parameters, read the dearest way Keepa could read them.

Nobody outside Keepa knows which of two equal names counts, how a malformed number is taken, or
whether names are case-sensitive. Money decides each doubt, for a token reserved too many comes back
with the answer, while one too few crosses the floor:

- a name given twice, or in query and body: lists add up, the dearest number counts, a flag is on
  when it is on once;
- a number that cannot be read (blank ones too) stands for its dearest value;
- a flag is off when it says `0` or `false`, and on however else it is given;
- what is too much to read is taken for the worst that it may hold.

Nothing here raises, whatever is sent, and no input takes much more than ten milliseconds: a call is
priced on the event loop, where every other caller waits.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

UNREADABLE: Final = object()
"""Stands for a JSON text that is none, or is too much to be parsed."""

MAX_BYTES = 1024 * 1024
"""A longer call is not read: a body may have 16 MiB, whose parsing would stop the event loop for
seconds, while the largest genuine one, a thousand trackings, has half a MiB."""

MAX_FIELDS = 256
"""More `name=value` fields than this are not read: no call of Keepa's has forty."""

MAX_LIST_CHARS = 8192
"""A longer list is full: a hundred ASINs are 1 300 characters, percent-encoded commas included."""

MAX_SCALAR_CHARS = 64
"""A longer number, flag or word is none."""

MAX_JSON_SIGNS = 50_000
"""JSON with more of the signs that take time (`[`, `{`, `,` and the `%` of what is encoded) is not
parsed. A thousand trackings have about half as many, a selection has a few dozen."""

_MAX_NAME_CHARS = 3 * len("historical-variations")  # every letter of the longest name as %XX
_INTEGER = re.compile(r"[+-]?\d+")  # `\d` is any script's digit, as in Java's Integer.parseInt
_OFF = ("0", "false")


class Parameters:
    """The parameters of one call, gathered from its query string and its body.

    A body is always read as a form, since Keepa may do so, too, whatever it looks like; `documents`
    reads it as JSON besides. Names are asked for in lower case, and match however they are written
    or percent-encoded.

    Args:
        query: the raw query string, percent-encoded, without `?`.
        body: the request body, not compressed; empty for none.

    Attributes:
        unread: whether the call is too much to read: all that is asked of it is then the worst.
    """

    __slots__ = ("_body", "_fields", "unread")

    def __init__(self, query: str, body: bytes) -> None:
        self._body = body
        self._fields = _fields(query, body)
        self.unread = self._fields is None

    def has(self, name: str) -> bool:
        """Return whether `name` is given, with any value or none."""
        return self._fields is None or name in self._fields

    def words(self, name: str) -> list[str]:
        """Return each value of `name`, decoded, without blanks at its ends; too long: empty."""
        if self._fields is None:
            return [""]
        values = self._fields.get(name)
        return [_word(value) for value in values] if values else []

    def flag(self, name: str) -> bool:
        """Return whether `name` is given and not clearly off every time."""
        if self._fields is not None and name not in self._fields:
            return False
        return any(word.lower() not in _OFF for word in self.words(name))

    def numbers(self, name: str) -> list[int | None]:
        """Return each value of `name` as an integer, None where it cannot be read as one."""
        if self._fields is not None and name not in self._fields:
            return []
        return [whole(word) for word in self.words(name)]

    def items(self, name: str, limit: int) -> int:
        """Return how many elements the comma-separated list `name` has, 0 to `limit`.

        Blank elements count only in a list too long to be looked at.
        """
        if self._fields is None:
            return limit
        values = self._fields.get(name)
        if not values:
            return 0
        text = ",".join(values)
        if len(text) > MAX_LIST_CHARS:
            return limit
        return min(limit, len(list(filter(str.strip, _decoded(text).split(",")))))

    def documents(self, name: str) -> list[object]:
        """Return the JSON texts of the call, parsed: the values of `name` and a body that is JSON.

        An object becomes a tuple of (key, value) pairs, so that a key given twice is there twice;
        an array is a list, an integer stays text. What cannot be parsed is UNREADABLE. The label of
        a body says nothing (Keepa's PHP client calls JSON a form): it is JSON when it begins like
        it, or when there is no other text.
        """
        if self._fields is None:
            return [UNREADABLE]
        values = self._fields.get(name, ())
        raw = [value.encode("utf-8", "surrogatepass") for value in values]
        if sum(map(b"".join([*raw, self._body]).count, b"%[{,")) > MAX_JSON_SIGNS:
            return [UNREADABLE]
        texts = [unquote_to_bytes(text.replace(b"+", b" ")) for text in raw]
        if not texts or self._body.lstrip()[:1] in (b"{", b"["):
            texts.append(self._body)
        return [_parsed(text) for text in texts if text.strip()]


def whole(value: object) -> int | None:
    """Return a word, or a value out of `documents`, as an integer; None when it is no number.

    Fractions, which only JSON has, are rounded up.
    """
    try:
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            return int(value)
        if isinstance(value, float):
            return math.ceil(value)
    except (ValueError, OverflowError):  # NaN, or more digits than Python converts; infinity
        pass
    return None


def dearest(numbers: Iterable[int | None], low: int, high: int) -> int:
    """Return the largest of `numbers` (one at least) within `low..high`; None counts as `high`."""
    return max(high if number is None else min(max(number, low), high) for number in numbers)


def _fields(query: str, body: bytes) -> dict[str, list[str]] | None:
    """Return the raw values of each name; None when there is too much to read."""
    if len(query) + len(body) > MAX_BYTES:
        return None
    fields = query.split("&", MAX_FIELDS)
    if body:
        # Latin-1 takes any bytes, and all that is looked at (names, digits, commas) is ASCII.
        fields += body.decode("latin-1").split("&", MAX_FIELDS)
    if len(fields) > MAX_FIELDS:
        return None
    values: dict[str, list[str]] = {}
    for field in fields:
        name, _, value = field.partition("=")
        if len(name) > _MAX_NAME_CHARS:
            continue
        if not name.isalpha():
            name = _decoded(name)
        name = name.lower()
        if name in values:
            values[name].append(value)
        else:
            values[name] = [value]
    return values


def _decoded(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    # `unquote_plus` says the same, three times as slowly where escapes and others alternate.
    raw = text.replace("+", " ").encode("utf-8", "surrogatepass")
    return unquote_to_bytes(raw).decode("utf-8", "replace")


def _word(value: str) -> str:
    return _decoded(value).strip() if len(value) <= MAX_SCALAR_CHARS else ""


def _parsed(text: bytes) -> object:
    try:
        # Integers stay text: to convert one of thousands of digits takes longer than all the rest.
        return json.loads(text, object_pairs_hook=tuple, parse_int=str)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, an endless number; too deep
        return UNREADABLE
