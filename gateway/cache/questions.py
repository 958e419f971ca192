"""Which calls ask the same: a closed table of what is fully understood.

Keepa ignores unknown parameters silently, so nobody knows what two spellings of one call mean to
it, and a wrong "equal" would give one service another's answer. So a call is recognised only where
each of its parameters is known, written once, in lower case, with a value of its documented form.
Every other call is not shareable, and forwarded as it always was.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from gateway.cache.rules import POSTED, PRODUCT_DEFAULTS, RULES, SELECTION, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_QUERY_CHARS: Final = 64 * 1024
MAX_SELECTION_BYTES: Final = 16 * 1024
"""What is longer is not looked at: it would take milliseconds on the event loop."""

USUAL_HOURS: Final = 1
"""Keepa refreshes a product older than this where a call does not say `update`."""
LIVE: Final = 0
NEVER: Final = -1
"""Values of `update`: refresh whatever its age, and never."""

_VARIANT_DIGITS: Final = 16
_WHOLE_DIGITS: Final = 32
_NO_VARIANT: Final = frozenset({"asin", "domain", "update"})
_BAD_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")


class Question(NamedTuple):
    """What a shareable call asks, whoever asks it.

    Attributes:
        endpoint: Keepa's name of it.
        digest: of what is asked, but for `domain` and ASINs where these are entries of their own:
            hexadecimal, so that no search term is shown by a key.
        domain: where its entries are products; else 0.
        asins: in the caller's order, distinct; empty: the answer is one entry.
        update: as the call says it, in hours.
        has_offers: Keepa fetches offers for it, live where `update` is not said.
    """

    endpoint: str
    digest: str
    domain: int = 0
    asins: tuple[str, ...] = ()
    update: int | None = None
    has_offers: bool = False

    @property
    def is_of_products(self) -> bool:
        """Each product of the answer is an entry; else the whole answer is one."""
        return bool(self.asins)

    @property
    def is_picture(self) -> bool:
        """The answer is a PNG, without token fields."""
        return self.endpoint == "graphimage"

    @property
    def hours(self) -> float:
        """How old Keepa's data may be before Keepa itself refreshes it, in hours.

        Under these an entry is fetched, and for these a call asks: 0 is always live, infinity is
        never refreshed. Offers without `update` are always live.
        """
        if self.update is None:
            return LIVE if self.has_offers else USUAL_HOURS
        return math.inf if self.update == NEVER else self.update

    @property
    def members(self) -> frozenset[str]:
        """The names that the answer has at its root, besides the token fields and `error`."""
        return RULES[self.endpoint].members

    def name_entry(self, asin: str = "") -> str:
        """Return the key of one product, or of the whole answer; unique within an account."""
        if asin:
            return f"p:{self.digest}:{self.domain}:{asin}"
        return f"w:{self.endpoint}:{self.digest}"

    def name_entries(self) -> list[str]:
        """Return the keys of all that the call asks for, in its order."""
        if not self.asins:
            return [self.name_entry()]
        prefix = f"p:{self.digest}:{self.domain}:"
        return [prefix + asin for asin in self.asins]


def read_question(method: str, endpoint: str, query: str, body: bytes = b"") -> Question | None:
    """Return what a call asks; None: it is not shareable.

    Args:
        method: of HTTP.
        endpoint: the path's one word, as sent.
        query: the raw query string, percent-encoded, without `?`.
        body: as it reads, not compressed.
    """
    rule = RULES.get(endpoint)
    if rule is None or not _suits(method, endpoint, body):
        return None
    fields = _read_fields(query, body)
    if fields is None or not _is_understood(fields, rule):
        return None
    return _of_products(fields) if endpoint == "product" else _of_whole(endpoint, fields)


def _suits(method: str, endpoint: str, body: bytes) -> bool:
    if method == "GET":
        return not body
    # JSON by its first byte, as Keepa's PHP client labels it a form.
    return method == "POST" and endpoint in POSTED and body.lstrip()[:1] == b"{"


def _read_fields(query: str, body: bytes) -> dict[str, str] | None:
    """Return the decoded fields but `key`; None where one stands twice or cannot be decoded."""
    if len(query) > MAX_QUERY_CHARS or not query.isascii():
        return None
    fields: dict[str, str] = {}
    for field in filter(None, query.split("&")):
        name, equals, value = field.partition("=")
        if "%" in field or "+" in field:
            decoded_name, decoded_value = _decode(name), _decode(value)
            if decoded_name is None or decoded_value is None:
                return None
            name, value = decoded_name, decoded_value
        if not equals or name in fields:
            return None
        fields[name] = value
    fields.pop("key", None)  # whose call it is, not what it asks
    if body:
        document = _decode_bytes(body)
        if SELECTION in fields or document is None:
            return None
        fields[SELECTION] = document
    return fields


def _is_understood(fields: dict[str, str], rule: Rule) -> bool:
    forms = rule.forms
    if not (fields.keys() <= forms.keys() and fields.keys() >= rule.needed):
        return False
    if not all(forms[name].fullmatch(value) for name, value in fields.items()):
        return False
    return SELECTION not in fields or _canonicalise(fields)


def _decode(text: str) -> str | None:
    if _BAD_ESCAPE.search(text):
        return None
    return _decode_bytes(unquote_to_bytes(text.replace("+", " ")))


def _decode_bytes(text: bytes) -> str | None:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


def _of_products(fields: dict[str, str]) -> Question | None:
    update = fields.get("update")
    hours = None if update is None else int(update)
    has_offers = "offers" in fields
    said = [item for item in fields.items() if item not in PRODUCT_DEFAULTS]
    if "code" in fields:
        if "asin" in fields or _has_doubles(fields["code"]):
            return None
        return _make_whole("product", said, hours, has_offers=has_offers)
    if "asin" not in fields or "code-limit" in fields:
        return None
    asins = tuple(fields["asin"].split(","))
    if len(set(asins)) < len(asins):
        return None
    variant = tuple([item for item in said if item[0] not in _NO_VARIANT])
    digest = _digest_variant(variant)
    return Question("product", digest, int(fields["domain"]), asins, hours, has_offers)


def _of_whole(endpoint: str, fields: dict[str, str]) -> Question | None:
    for name in ("asin", "seller", "category"):
        if name in fields and _has_doubles(fields[name]):
            return None
    update = fields.get("update")
    return _make_whole(endpoint, list(fields.items()), None if update is None else int(update))


def _make_whole(
    endpoint: str, said: list[tuple[str, str]], update: int | None, *, has_offers: bool = False
) -> Question:
    digest = _digest(said)[:_WHOLE_DIGITS]
    return Question(endpoint, digest, update=update, has_offers=has_offers)


@lru_cache(maxsize=256)  # services ask with a few, over and over
def _digest_variant(variant: tuple[tuple[str, str], ...]) -> str:
    return _digest(variant)[:_VARIANT_DIGITS]


def _digest(fields: Iterable[tuple[str, str]]) -> str:
    # No form lets a newline into a value, so no two questions are written alike.
    text = "\n".join(f"{name}={value}" for name, value in sorted(fields))
    return sha256(text.encode()).hexdigest()


def _has_doubles(text: str) -> bool:
    items = text.split(",")
    return len(set(items)) < len(items)


def _canonicalise(fields: dict[str, str]) -> bool:
    """Write the selection in the one form that equal ones have; False: it is none."""
    text = fields[SELECTION]
    if len(text) > MAX_SELECTION_BYTES:
        return False
    try:
        selection = json.loads(
            text,
            object_pairs_hook=_read_object,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse,
        )
        # Of literals only: numbers as they were written, text with its quotes, escaped.
        fields[SELECTION] = ascii(selection)
    except (ValueError, RecursionError):  # no JSON, a name twice, too deep
        return False
    return type(selection) is _Object


class _Number:
    """A number as it was written: `1` and `1.0` may not be the same to Keepa."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class _Object(tuple[tuple[str, Any], ...]):
    """An object's members, sorted; unlike an array's brackets it has parentheses."""

    __slots__ = ()


def _read_object(pairs: list[tuple[str, Any]]) -> _Object:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name stands twice")
    return _Object(sorted(members.items()))


def _refuse(_text: str) -> None:
    raise ValueError("no number of JSON's")
