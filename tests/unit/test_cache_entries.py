"""An entry as it is kept: its head, its deflated text, and what damage is noticed."""

import dataclasses
import math
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cache.entries import (
    HEAD_BYTES,
    BadEntryError,
    Head,
    Kind,
    Packed,
    Packer,
    pack,
    read_head,
    read_value,
    write_value,
)

HEAD = Head(Kind.PRODUCT, 1, 60_000, 250, 3_600, 1_500)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(Kind),
    st.integers(0, 0x7FFF) | st.just(math.inf),
    st.integers(0, 60 * 86_400_000),
    st.integers(0, 2**32 - 2),
    st.none() | st.integers(0, 2**32 - 2),
    st.integers(0, 2**32 - 2),
    st.binary(max_size=300),
)
def test_what_is_written_is_read(kind, hours, life_ms, age_ms, data_age, millitokens, text):
    """Head and text come back; the head of them out of its 40 bytes alone."""
    head, body = Head(kind, hours, life_ms, age_ms, data_age, millitokens), pack(text)
    value = write_value(head, body)
    assert len(value) == HEAD_BYTES + len(body.deflated) == 40 + len(body.deflated)
    assert read_value(value) == (head, body)
    assert read_head(value[:HEAD_BYTES]) == head
    assert b"".join(body.unpack()) == text
    assert body.crc == zlib.crc32(text)


def test_any_bit_and_any_cut_is_noticed():
    """A value that changed by one bit, or lost its end, is no entry; nothing raises otherwise."""
    value = write_value(HEAD, pack(b'{"asin":"B000000001"}'))
    for at in range(len(value)):
        with pytest.raises(BadEntryError):
            read_value(value[:at])
        for bit in range(8):
            changed = bytearray(value)
            changed[at] ^= 1 << bit
            with pytest.raises(BadEntryError):
                read_value(bytes(changed))
    with pytest.raises(BadEntryError):
        read_value(value + b"\x00")


def test_what_does_not_fit_is_never_made_fresher():
    """Hours beyond the field are without end, older data stays old, an age of weeks is refused."""
    entry = dataclasses.replace(HEAD, hours=40_000, data_age=2**40, millitokens=2**40)
    head = read_head(write_value(entry, pack(b"")))
    assert math.isinf(head.hours)
    assert head.data_age == head.millitokens == 2**32 - 2
    with pytest.raises(OverflowError):
        dataclasses.replace(HEAD, age_ms=2**32).pack()


def test_a_packer_takes_pieces():
    """Deflated in pieces or at once, it is the same text, and it counts both lengths."""
    packer = Packer()
    for piece in (b"a" * 70_000, b"", b"bc" * 999):
        packer.add(piece)
    whole = packer.finish()
    assert b"".join(whole.unpack()) == b"a" * 70_000 + b"bc" * 999
    assert whole.length == packer.length == 71_998
    assert len(whole.deflated) == packer.deflated_bytes


def test_large_texts_are_inflated_in_pieces():
    """No piece is larger than 256 KiB, however well the text was deflated."""
    pieces = list(pack(bytes(3_000_000)).unpack())
    assert max(map(len, pieces)) <= 256 * 1024
    assert sum(map(len, pieces)) == 3_000_000


@pytest.mark.parametrize(
    "bad",
    [
        Packed(b"\xff\xff\xff", 3, 0),
        Packed(b"", 3, 0),
        dataclasses.replace(pack(b"abc"), length=4),
        dataclasses.replace(pack(b"abc"), length=2),
        dataclasses.replace(pack(b"abc"), crc=1),
    ],
)
def test_a_text_that_is_not_what_was_packed(bad):
    """Its end is not reached quietly."""
    with pytest.raises(BadEntryError):
        list(bad.unpack())
