"""Following the structure of a JSON text with C-level calls, against a byte-by-byte reference."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.structure import Place, find_end, walk

TEXTS = st.lists(
    st.sampled_from(
        [b'"', b'""', b"{", b"}", b"[", b"]", b"\\", b"\\\\", b'\\"', b"a", b",1", b"n"]
    ),
    max_size=40,
).map(b"".join)
START = Place(depth=3, lowest=3)


def plod(place: Place, text: bytes) -> Place:
    """The same as `walk`, a byte at a time, with an exact `lowest`."""
    depth, lowest, in_string, is_escaped = place.depth, place.depth, *place[2:]
    for byte in text:
        if is_escaped and byte in b'"\\':
            is_escaped = False
            continue
        is_escaped = byte == ord("\\")
        if byte == ord('"'):
            in_string = not in_string
        elif not in_string:
            depth += (byte in b"{[") - (byte in b"}]")
            lowest = min(lowest, depth)
    return Place(depth, lowest, in_string, is_escaped)


def same(walked: Place, plodded: Place) -> bool:
    """Equal, where a `lowest` above 1 need only be above 1."""
    return walked._replace(lowest=min(walked.lowest, 2)) == plodded._replace(
        lowest=min(plodded.lowest, 2)
    )


@pytest.mark.long
@settings(max_examples=600, deadline=None)
@given(TEXTS, st.booleans(), st.booleans(), st.integers(-2, 8))
def test_walking_is_plodding(text, in_string, is_escaped, depth):
    """From any place, over any text, it comes to the place that a byte-by-byte walk comes to."""
    start = Place(depth, depth, in_string, is_escaped)
    assert same(walk(start, text), plod(start, text))


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_a_walk_may_be_interrupted_anywhere(first, second):
    """Two legs lead where one long walk leads, also with the cut inside an escape or a string."""
    halfway = walk(START, first)
    assert walk(halfway, second)[2:] == walk(START, first + second)[2:]
    assert walk(halfway, second).depth == walk(START, first + second).depth


def test_arbitrary_bytes_are_walked():
    """Bytes that are no JSON at all, with zeros and non-ASCII, do no harm."""
    noise = bytes(range(256)) * 3
    assert same(walk(START, noise), plod(START, noise))


def test_deep_and_unbalanced_nesting_is_counted():
    """64 KiB of brackets, deeper than any parser's stack, are counted exactly."""
    half = 32 * 1024
    assert walk(Place(1, 1), b"[" * half + b"]" * half) == Place(1, 1)
    assert walk(Place(1, 1), b"[" * half).depth == half + 1
    assert walk(Place(1, 1), b"]" * half + b"[" * half) == Place(1, 1 - half)


@pytest.mark.parametrize(
    "inside",
    [
        b"", b"1" * 5000, b'"}]"', b'"\\""', b'"\\\\"', b'"a":{"b":[{},[],"]"]}',
        b"[" * 99 + b"]" * 99,
        b'"' + b"\\u005d" * 300 + b'"', b'{"a":' * 40 + b"1" + b"}" * 40, b'"",' * 700 + b"0",
        b'"' + b"x" * 600 + b'}",' + b'"\\"}"' * 40 + b"[[[[[[[[[[]]]]]]]]]]",
    ],
)  # fmt: skip
def test_an_end_is_found_from_anywhere(inside):
    """Where the bracket closes, however far in the search begins, and whatever follows."""
    text = inside + b'}]{"a":"}"}'
    for start in range(0, len(inside) + 1, max(1, len(inside) // 50)):
        place = walk(Place(1, 1), text[:start])
        assert find_end(place, text, start) == (Place(), len(inside) + 1)
    before, after = find_end(Place(1, 1), inside, 0)
    assert (before[2:], after) == (walk(Place(1, 1), inside)[2:], -1)
    assert before.depth == 1
