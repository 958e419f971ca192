"""Where in a JSON text a place is, and where a bracket closes, without a look at each byte.

Only quotes and brackets decide it. C-level calls throw everything else away, then whole strings,
and what little remains is counted.
"""

import re
from itertools import accumulate
from typing import Final, NamedTuple

# An array nests just as an object does: both kinds of bracket become braces.
_AS_BRACES: Final = bytes.maketrans(b"[]", b"{}")
_NOISE: Final = bytes(set(range(256)) - set(b'"{}[]'))
_SIGNS: Final = (b'"', b"{", b"}", b"[", b"]", b"\\")
_BACKSLASH: Final = ord("\\")
# Where signs stand closer than this on average, looking at each byte finds them faster.
_BYTES_A_SIGN: Final = 512
_CANCELLING_PASSES: Final = 4  # Keepa's answers nest about this deep, between two keys of the root
_BETWEEN_BRACES: Final = (ord("{") + ord("}")) // 2  # less a brace: 1 for an opening one, else -1

# An end is looked for in steps, each twice the one before: what has 200 KiB takes ten of them, what
# has 1 KiB two.
_FIRST_STEP: Final = 512
_LARGEST_STEP: Final = 64 * 1024
# A stretch that holds the end is halved down to this, which one regular expression reads faster.
_SHORT: Final = 2048
# What brackets and quotes close by themselves, so many levels deep. Repeats are possessive: what
# does not match is not tried in other ways.
_LEVELS: Final = 6
_PLAIN: Final = rb'[^"{}\[\]]*+'
_REST: Final = rb'(?:[^"\\]++|\\.)*+"'
_REST_OF_STRING: Final = re.compile(_REST, re.DOTALL)


def _balanced(levels: int) -> bytes:
    flat = _PLAIN + rb'(?:"' + _REST + _PLAIN + rb")*+"
    if not levels:
        return flat
    return flat + rb"(?:[{\[]" + _balanced(levels - 1) + rb"[}\]]" + flat + rb")*+"


_BALANCED: Final = re.compile(_balanced(_LEVELS), re.DOTALL)


class Place(NamedTuple):
    """A place between two bytes of a JSON text.

    Attributes:
        depth: how many brackets are open.
        lowest: the least depth on the way here from the place before. Above 1 it may be
            understated, but is above 1 all the same.
        in_string: the place is inside a string.
        is_escaped: the byte before is a backslash that belongs to the byte after.
    """

    depth: int = 0
    lowest: int = 0
    in_string: bool = False
    is_escaped: bool = False


def walk(place: Place, text: bytes) -> Place:
    """The place after `text`, which starts at `place`.

    Takes time linear in the text, whatever is in it. A text that is not JSON gives some place or
    other, never an error.
    """
    if place.is_escaped:
        text = b"\\" + text
    text = _squeeze(text)
    is_escaped = False
    if b"\\" in text:
        # In this order: pairs are found from the left, so that `\\"` ends a string.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
        is_escaped = text.endswith(b"\\")
    marks = text.translate(_AS_BRACES, _NOISE)
    if not marks:
        return Place(place.depth, place.depth, place.in_string, is_escaped)
    if place.in_string:
        marks = b'"' + marks
    in_string = False
    if b'"' in marks:
        # Strings without brackets inside, nearly all, are gone with the first call. Where it takes
        # the end of one string and the start of the next, it joins two strings to one: still right.
        outside_and_inside = marks.replace(b'""', b"").split(b'"')
        marks = b"".join(outside_and_inside[::2])
        in_string = len(outside_and_inside) % 2 == 0
    closing = marks.count(b"}")
    depth = place.depth + len(marks) - 2 * closing
    lowest = place.depth - closing
    if closing and lowest <= 1:
        lowest = place.depth + _dip(marks)
    return Place(depth, lowest, in_string, is_escaped)


def find_end(place: Place, text: bytes, at: int) -> tuple[Place, int]:
    """Return the place where the depth first is 0, and where in `text` that is; -1: not in it.

    Searches from `at`, where `place` is, and takes time linear in what it passes over: little more
    than `walk` does.
    """
    step = _FIRST_STEP
    while at < len(text):
        stretch = text[at : at + step]
        after = walk(place, stretch)
        if after.lowest > 0:
            place = after
            at += len(stretch)
            step = min(2 * step, _LARGEST_STEP)
            continue
        while len(stretch) > _SHORT:
            half = len(stretch) // 2
            after = walk(place, stretch[:half])
            if after.lowest > 0:
                place = after
                at += half
                stretch = stretch[half:]
            else:
                stretch = stretch[:half]
        return Place(), at + _close(place, stretch)
    return place, -1


def _close(place: Place, text: bytes) -> int:
    """Return where the depth is 0, in a text in which it comes to that; its end if it is no JSON.

    A backslash outside of strings, which is none, is not told from others by `walk`.
    """
    depth, at = place.depth, 0
    if place.in_string:
        # What is left of the string; an escape that began before is not another one.
        rest = _REST_OF_STRING.match(text, 1 if place.is_escaped else 0)
        at = rest.end() if rest else len(text)
    while at < len(text):
        run = _BALANCED.match(text, at)
        at = run.end() if run else at
        depth += 1 if text[at : at + 1] in {b"{", b"["} else -1
        at += 1
        if depth == 0:
            return at
    return len(text)


def _squeeze(text: bytes) -> bytes:
    """Only the signs of a text that has few, with what an escape escapes; else the text.

    Price histories are long runs of numbers: a search per sign passes over them many times faster
    than a call that looks up each byte.
    """
    found: list[int] = []
    few = len(text) // _BYTES_A_SIGN
    for sign in _SIGNS:
        at = text.find(sign)
        while at >= 0:
            found.append(at)
            at = text.find(sign, at + 1)
            if len(found) > few:
                return text
    found.sort()
    signs = bytearray()
    done = 0
    for at in found:
        if at >= done:
            done = at + (2 if text[at] == _BACKSLASH else 1)
            signs += text[at:done]
    return bytes(signs)


def _dip(braces: bytes) -> int:
    """How far the depth falls at most below that at the start; 0 or less."""
    for _ in range(_CANCELLING_PASSES):
        braces = braces.replace(b"{}", b"")
    if b"}" not in braces:
        return 0
    return min(accumulate((_BETWEEN_BRACES - brace for brace in braces), initial=0))
