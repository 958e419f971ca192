"""The `key` parameter: the caller's taken out, the real one put in, every other byte left alone."""

from itertools import product
from typing import AnyStr, Generic, NamedTuple
from urllib.parse import quote, quote_plus, unquote_plus

from gateway.errors import BadRequest

# Every way to spell the name: a percent-encoded letter is still that letter to Keepa.
_SPELLINGS = tuple(
    "".join(letters) for letters in product(("k", "%6b", "%6B"), ("e", "%65"), ("y", "%79"))
)


class _Signs(NamedTuple, Generic[AnyStr]):
    """What is searched for, as text or as bytes."""

    ampersand: AnyStr
    equals: AnyStr
    start_of_value: AnyStr
    percents: tuple[AnyStr, AnyStr]
    """How each percent-encoded letter of the name begins."""
    names: tuple[AnyStr, ...]


_TEXT = _Signs("&", "=", "key=", ("%6", "%7"), _SPELLINGS)
_BYTES = _Signs(b"&", b"=", b"key=", (b"%6", b"%7"), tuple(name.encode() for name in _SPELLINGS))

# Of one spelling, names that only begin like it too. Each takes a step of Python and grows the call
# by the real key, and a form has room for millions.
_KEYS_AT_MOST = 100
# A longer one is nobody's, and takes its time to decode.
_KEY_CHARS_AT_MOST = 8192


def encode_key(key: str) -> str:
    """Return the key as it stands in a query or form."""
    return quote(key, safe="")


_SECRET_CHARS_AT_LEAST = 6


class RealKey:
    """The one real key, and every spelling in which an answer might repeat it.

    Attributes:
        encoded: As it stands in a query or form.
        shown: What must not be shown: the key, but for one as short as a word (Keepa's have 64
            characters, a simulator takes any), which would spoil answers that merely contain it.
    """

    def __init__(self, text: str) -> None:
        self.encoded = encode_key(text)
        self.shown = text if len(text) >= _SECRET_CHARS_AT_LEAST else ""
        spellings = dict.fromkeys((text, self.encoded, quote_plus(text))) if self.shown else ()
        self._spellings = tuple(spelling.encode() for spelling in spellings)

    def hide_in(self, body: bytes) -> bytes:
        """Return the body with the key starred out (an error page repeats the URL); same length."""
        for spelling in self._spellings:
            if spelling in body:
                body = body.replace(spelling, b"*" * len(spelling))
        return body


def swap_key(text: AnyStr, real: AnyStr) -> tuple[AnyStr, list[str]]:
    """Put the real key in the place of each `key` pair of a raw query or form.

    Args:
        text: Pairs as `name=value&name=value`, percent-encoded, any length.
        real: The real key, encoded as by `encode_key`, of the same type as `text`.

    Returns:
        The new text, and the callers' keys that stood there, decoded. Where none stood the text is
        returned as it was.

    Raises:
        BadRequest: More keys than anybody sends.
    """
    signs = _BYTES if isinstance(text, bytes) else _TEXT
    ampersand, equals, start_of_value, percents, names = signs
    found: list[tuple[int, int]] = []
    # Plain searches, one per spelling: 16 MiB take milliseconds, which no pattern or split does.
    for name in names if percents[0] in text or percents[1] in text else names[:1]:
        if text.count(ampersand + name) > _KEYS_AT_MOST:
            raise BadRequest("The call has more keys than one could need")
        at = 0 if text.startswith(name) else _next(text, ampersand + name, 0)
        while at >= 0:
            end = text.find(ampersand, at)
            end = len(text) if end < 0 else end
            if text[at + len(name) : at + len(name) + 1] in (equals, ampersand, text[:0]):
                found.append((at, end))
            at = _next(text, ampersand + name, end)
    if not found:
        return text, []
    pieces: list[AnyStr] = []
    keys: list[str] = []
    done = 0
    for at, end in sorted(found):
        pieces += (text[done:at], start_of_value, real)
        keys.append(_value_of(text[at:end]))
        done = end
    pieces.append(text[done:])
    return text[:0].join(pieces), keys


def add_key(query: str, real: str) -> str:
    """Add the real key to a query that has no `key`."""
    if not query:
        return f"key={real}"
    return f"{query}{'' if query.endswith('&') else '&'}key={real}"


def _next(text: AnyStr, ampersand_and_name: AnyStr, start: int) -> int:
    at = text.find(ampersand_and_name, start)
    return at + 1 if at >= 0 else -1


def _value_of(pair: str | bytes) -> str:
    if len(pair) > _KEY_CHARS_AT_MOST:
        return ""
    text = pair.decode("latin-1") if isinstance(pair, bytes) else pair
    return unquote_plus(text.partition("=")[2])
