"""The `key` parameter: the caller's taken out, the real one put in, every other byte left alone.

What callers write instead of `key`, out of habit, is taken for it: a caller's key never leaves.
"""

import asyncio
from collections import Counter
from itertools import product
from typing import AnyStr, Generic, NamedTuple
from urllib.parse import unquote_plus

from gateway.errors import BadRequest

# What other services call theirs. Each ends in `key`, in letters of either case.
_HABITS = ("apikey", "apiKey", "api_key", "api-key")
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
    """Those that have no percent sign come first."""
    habit: tuple[AnyStr, AnyStr]
    """How those out of habit begin; and how one ends that the search for `key` would miss."""


_NAMES = (_SPELLINGS[0], *_HABITS, *_SPELLINGS[1:])
_PLAIN_NAMES = 1 + len(_HABITS)
_LONGEST_NAME = max(map(len, _NAMES))
_TEXT = _Signs("&", "=", "key=", ("%6", "%7"), _NAMES, ("&api", "Key"))
_BYTES = _Signs(
    b"&", b"=", b"key=", (b"%6", b"%7"), tuple(name.encode() for name in _NAMES), (b"&api", b"Key")
)

# Of one spelling, names that only begin like it too. Each takes a step of Python and grows the call
# by the real key, and a form has room for millions.
_KEYS_AT_MOST = 100
# A longer one is nobody's, and takes its time to decode.
_KEY_CHARS_AT_MOST = 8192
# Of a form, what is searched at a time: no more than some six milliseconds.
_STRIDE_BYTES = 256 * 1024


def swap_key(text: AnyStr, real: AnyStr) -> tuple[AnyStr, list[str]]:
    """Put the real key in the place of each `key` pair (`apikey`, ...) of a raw query or form.

    Args:
        text: Pairs as `name=value&name=value`, percent-encoded; of a form, see `swap_key_in_turns`.
        real: The real key, encoded as by `encode_key`, of the same type as `text`.

    Returns:
        The new text, and the callers' keys that stood there, decoded. Where none stood the text is
        returned as it was.

    Raises:
        BadRequest: More keys than anybody sends.
    """
    signs = _BYTES if isinstance(text, bytes) else _TEXT
    plain = signs.start_of_value
    if (
        text.startswith(plain)
        and text.count(plain[:-1]) == 1
        and signs.percents[0][:1] not in text
        and signs.habit[1] not in text
    ):
        # As nearly every client writes it; the search is for all the others.
        end = text.find(signs.ampersand)
        end = len(text) if end < 0 else end
        return plain + real + text[end:], [_value_of(text[:end])]
    search = _Search(text, signs)
    search.look(0, len(text))
    return search.put(real)


async def swap_key_in_turns(form: bytes, real: bytes) -> tuple[bytes, list[str]]:
    """Do what `swap_key` does, of a form of any length, and let others have their turn meanwhile.

    Of 16 MiB the worst take half a second in all.
    """
    search = _Search(form, _BYTES)
    for start in range(0, len(form), _STRIDE_BYTES):
        if start:
            await asyncio.sleep(0)
        search.look(start, start + _STRIDE_BYTES)
    return search.put(real)


class _Search(Generic[AnyStr]):
    """The `key` pairs of one text, and those that are called otherwise out of habit."""

    def __init__(self, text: AnyStr, signs: _Signs[AnyStr]) -> None:
        self._text: AnyStr = text
        self._signs: _Signs[AnyStr] = signs
        self._alike: Counter[AnyStr] = Counter()
        self._found: list[tuple[int, int]] = []

    def look(self, start: int, end: int) -> None:
        """Find the pairs that stand behind an ampersand from `start` to `end`."""
        text = self._text
        ampersand, _, _, percents, names, (habit, _) = self._signs
        if start == 0:
            # The first pair has no ampersand before it.
            for name in names:
                if text.startswith(name):
                    self._note(0, name)
        beyond = end + _LONGEST_NAME
        if all(text.find(percent, start, beyond) < 0 for percent in percents):
            names = names[: 1 if text.find(habit, start, beyond) < 0 else _PLAIN_NAMES]
        # Plain searches, one per spelling: no pattern or split is as fast.
        for name in names:
            stop = end + len(name)
            self._alike[name] += text.count(ampersand + name, start, stop)
            if self._alike[name] > _KEYS_AT_MOST:
                raise BadRequest("The call has more keys than one could need")
            at = text.find(ampersand + name, start, stop)
            while at >= 0:
                self._note(at + 1, name)
                at = text.find(ampersand + name, at + 1, stop)

    def put(self, real: AnyStr) -> tuple[AnyStr, list[str]]:
        """Return the text with the real key in it, and what stood in its place."""
        text = self._text
        if not self._found:
            return text, []
        pieces: list[AnyStr] = []
        keys: list[str] = []
        done = 0
        for at, end in sorted(self._found):
            pieces += (text[done:at], self._signs.start_of_value, real)
            keys.append(_value_of(text[at:end]))
            done = end
        pieces.append(text[done:])
        return text[:0].join(pieces), keys

    def _note(self, at: int, name: AnyStr) -> None:
        """Keep a pair, unless its name only begins like `key`."""
        text, (ampersand, equals, *_) = self._text, self._signs
        after = at + len(name)
        if text[after : after + 1] in (equals, ampersand, text[:0]):
            end = text.find(ampersand, after)
            self._found.append((at, len(text) if end < 0 else end))


def add_key(query: str, real: str) -> str:
    """Add the real key to a query that has no `key`."""
    if not query:
        return f"key={real}"
    return f"{query}{'' if query.endswith('&') else '&'}key={real}"


def _value_of(pair: str | bytes) -> str:
    if len(pair) > _KEY_CHARS_AT_MOST:
        return ""
    text = pair.decode("latin-1") if isinstance(pair, bytes) else pair
    # A line's end comes along where a key is read from a file, or pasted.
    return unquote_plus(text.partition("=")[2]).strip()
