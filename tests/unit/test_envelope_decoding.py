"""Turning the bytes of a body back into text, whatever a server or a wire did to them."""

import gzip
import json
import tracemalloc
import zlib

import pytest

from gateway.keepa.envelope import Envelope, read_envelope
from gateway.keepa.envelope.decoding import open_decoder
from gateway.keepa.envelope.scanner import PIECE_BYTES

FIELDS = {"tokensLeft": -12, "refillIn": 53_441, "refillRate": 20, "tokensConsumed": 123}
ENVELOPE = Envelope(-12, 53_441, 20, None, 123)
TEXT = json.dumps({"products": ["x{" * 300], **FIELDS, "z": [1, 2, 3]}).encode()


def raw_deflate(text: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(text) + packer.flush()


def decode(body: bytes, encoding: str | None, size: int) -> bytes:
    """The text of a body that comes in chunks of one size."""
    decoder = open_decoder(encoding)
    chunks = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(piece for chunk in chunks for piece in decoder.pieces(chunk))


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        (None, bytes),
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
    ],
)
def test_a_body_in_any_chunks_gives_its_text(encoding, encode):
    """Down to single bytes, so that the header and the trailer of gzip are split as well."""
    body = encode(TEXT)
    for size in (*range(1, 40), 200, len(body)):
        assert decode(body, encoding, size) == TEXT
    assert read_envelope(body, encoding) == ENVELOPE


def test_a_gzip_header_with_a_file_name_is_read():
    """The optional parts of a gzip header (RFC 1952, 2.3) may be split too."""
    plain = gzip.compress(TEXT)
    named = plain[:3] + b"\x08" + plain[4:10] + b"products.json\0" + plain[10:]
    for size in range(1, 40):
        assert decode(named, "gzip", size) == TEXT


def test_gzip_members_are_one_text_and_garbage_ends_it():
    """Members follow each other, empty ones too; padding and junk after them do no harm."""
    empty = gzip.compress(b"")
    members = [gzip.compress(TEXT[:40]), empty, empty, gzip.compress(TEXT[40:])]
    body = b"".join([*members, b"\0" * 30, b"junk"])
    for size in (*range(1, 80), len(body)):
        assert decode(body, "gzip", size) == TEXT
    assert read_envelope(body, "gzip") == ENVELOPE


def test_nothing_follows_a_deflate_stream():
    """What comes after its end is not read as another stream."""
    for body in (zlib.compress(TEXT), raw_deflate(TEXT)):
        assert decode(body + zlib.compress(b"more"), "deflate", 7) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_bad_data_ends_the_text(encoding):
    """The decoder says so, and gives nothing from then on."""
    decoder = open_decoder(encoding)
    assert not decoder.has_ended
    assert b"".join(decoder.pieces(b"\xff" * 100)) == b""
    assert decoder.has_ended
    assert b"".join(decoder.pieces(zlib.compress(TEXT))) == b""


def test_an_encoding_that_nobody_reads_has_no_decoder():
    """Brotli, zstd, a list of encodings: told apart from what can be read."""
    for encoding in ("br", "zstd", "gzip, gzip", "nonsense"):
        assert open_decoder(encoding) is None


def test_a_cut_gzip_body_never_gives_a_wrong_value():
    """At every length: the true value or none; and most of it is read before the trailer comes."""
    body = gzip.compress(TEXT)
    for end in range(len(body)):
        found = read_envelope(body[:end], "gzip")
        for field in Envelope.__slots__:
            assert getattr(found, field) in (None, getattr(ENVELOPE, field))
    assert read_envelope(body[:-8], "gzip") == ENVELOPE


def test_pieces_of_a_bomb_are_bounded_and_made_only_when_asked_for():
    """60 MB out of 60 KB come in pieces of 64 KiB, one at a time."""
    bomb = gzip.compress(b"x" * 60_000_000)
    tracemalloc.start()
    try:
        sizes = [len(piece) for piece in open_decoder("gzip").pieces(bomb)]
        assert max(sizes) <= PIECE_BYTES
        assert sum(sizes) == 60_000_000
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_inflated_to_a_bound_only():
    """A small body that inflates to 60 MB is given up after 2 MiB."""
    bomb = gzip.compress(b'{"a":"' + b"x" * 60_000_000 + b'","tokensLeft":1}')
    assert len(bomb) <= 64 * 1024
    tracemalloc.start()
    try:
        assert read_envelope(bomb, "gzip").is_empty
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()
