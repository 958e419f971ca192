"""A call's parameters, read the dearest way Keepa could read them.

Nobody outside Keepa knows which of two equal names counts, how a malformed number is taken, or
whether names are case-sensitive. Money decides each doubt, for a token reserved too many comes back
with the answer, while one too few crosses the floor:

- a name given twice, or in query and body: lists add up, the dearest number counts, a flag is on
  when it is on once;
- a number that cannot be read stands for its dearest value, one that is not said (`offers=`,
  `offers=false`) for its smallest;
- a flag is off when it says `0` or `false`, and on however else it is given;
- a list is split at all that its reader might split it at;
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

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable

UNREADABLE: Final = object()
"""Stands for a JSON text that is none, or is too much to be parsed."""

MAX_BYTES = 3 * 1024 * 1024
"""A longer call is not read: a body may have 16 MiB, whose parsing would stop the event loop for
seconds, while the largest genuine one, three thousand rich trackings, has less than 2 MiB."""

MAX_FIELDS = 256
"""More `name=value` fields than this are not read: no call of Keepa's has forty."""

MAX_LIST_CHARS = 8192
"""A longer list is full: a hundred ASINs are 1 300 characters, percent-encoded commas included."""

MAX_SCALAR_CHARS = 64
"""A longer number, flag or word is none."""

MAX_JSON_BYTES = 1024 * 1024
MAX_JSON_SIGNS = 50_000
"""JSON with more of the signs that take time (`[`, `{`, `,` and the `%` of what is encoded) is not
looked into. A selection has a few dozen."""

MAX_COUNTED_SIGNS = 125_000
MAX_COUNTED_NAMES = 75_000
"""JSON with more of them, or with more `:`, is not even counted. Three thousand rich trackings have
108 000 and 69 000."""

_MAX_NAME_CHARS = 3 * len("historical-variations")  # every letter of the longest name as %XX
_INTEGER = re.compile(r"[+-]?\d+")  # `\d` is any script's digit, as in Java's Integer.parseInt
_OFF = ("0", "false")
_UNSAID = frozenset({"", "false", "true", "none", "null", "undefined"})
"""What a client writes for a number that it was not given. No reader finds a large number in it."""
_TOO_LONG = "?"
_SEPARATORS = re.compile(r"[\s,;|+%]+")


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
        """Return each value of `name`, decoded, without blanks at its ends; too long: `?`."""
        if self._fields is None:
            return [_TOO_LONG]
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

    def numbers_said(self, name: str, unsaid: int) -> list[int | None]:
        """Return `numbers`, with `unsaid` for a value that says none, as `offers=` or `null`."""
        if self._fields is not None and name not in self._fields:
            return []
        return [unsaid if word.lower() in _UNSAID else whole(word) for word in self.words(name)]

    def items(self, name: str, limit: int) -> int:
        """Return how many elements the list `name` has, 0 to `limit`.

        Keepa's lists have commas; a line or a cell pasted out of somewhere has other separators,
        and nobody knows whether Keepa splits there, too. Blank elements count only in a list too
        long to be looked at.
        """
        if self._fields is None:
            return limit
        values = self._fields.get(name)
        if not values:
            return 0
        text = ",".join(values)
        if len(text) > MAX_LIST_CHARS:
            return limit
        return min(limit, len(list(filter(None, _SEPARATORS.split(_decoded(text))))))

    def documents(self, name: str) -> list[object]:
        """Return the JSON texts of the call, parsed: the values of `name` and a body that is JSON.

        An object becomes a tuple of (key, value) pairs, so that a key given twice is there twice;
        an array is a list, an integer stays text. What cannot be parsed is UNREADABLE. The label of
        a body says nothing (Keepa's PHP client calls JSON a form): it is JSON when it begins like
        it, or when there is no other text.
        """
        texts = self._texts(name, MAX_JSON_SIGNS)
        return [UNREADABLE] if texts is None else [_parsed(text) for text in texts]

    def lengths(self, name: str) -> list[int | None]:
        """Return how many elements each of the same texts has: an array's, 1 for an object.

        None: it is neither, or cannot be read. Far larger texts than by `documents` can.
        """
        texts = self._texts(name, MAX_COUNTED_SIGNS)
        return [None] if texts is None else [_length(text) for text in texts]

    def _texts(self, name: str, most_signs: int) -> list[bytes] | None:
        """Return the JSON texts of the call, percent-decoded; None: too much to be parsed."""
        if self._fields is None:
            return None
        raw = [value.encode("utf-8", "surrogatepass") for value in self._fields.get(name, ())]
        if sum(map(b"".join([*raw, self._body]).count, b"%[{,")) > most_signs:
            return None
        texts = [unquote_to_bytes(text.replace(b"+", b" ")) for text in raw]
        if not texts or self._body.lstrip()[:1] in (b"{", b"["):
            texts.append(self._body)
        return [text for text in texts if text.strip()]


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
    return _decoded(value).strip() if len(value) <= MAX_SCALAR_CHARS else _TOO_LONG


def _length(text: bytes) -> int | None:
    if text.count(b":") > MAX_COUNTED_NAMES:
        return None
    try:
        # Six times as fast as `_parsed`, but for what only a lenient reader takes.
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        document = _parsed(text)
    if isinstance(document, list):
        return len(document)
    return 1 if isinstance(document, (dict, tuple)) else None


def _parsed(text: bytes) -> object:
    if len(text) > MAX_JSON_BYTES or sum(map(text.count, b"[{,")) > MAX_JSON_SIGNS:
        return UNREADABLE
    try:
        # Integers stay text: to convert one of thousands of digits takes longer than all the rest.
        return json.loads(text, object_pairs_hook=tuple, parse_int=str)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, an endless number; too deep
        return UNREADABLE
