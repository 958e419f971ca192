"""Makes an answer of kept entries: as text, or as one gzip member without deflating anything anew.

A gzip member (RFC 1952) is a header, blocks of deflate (RFC 1951), the CRC-32 and the length of the
text. Each entry's blocks are kept flushed to a byte's edge and look back at nothing, so they may
stand side by side, with what is between them as stored blocks. Several members would be simpler,
but not every client reads on after the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from isal import isal_zlib

from gateway.cache.entries import Packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# Deflate, no flags, no time, no hint, system not known.
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK: Final = b"\x03\x00"  # an empty one
_MOST_STORED: Final = 0xFFFF
_PIECE_BYTES: Final = 64 * 1024

Part = bytes | Packed


class TokenFields(NamedTuple):
    """What a hit says of the bucket, as `/token` tells it; whole tokens, milliseconds.

    Never 0, 60 000 and a rate of 1 while nothing was observed: clients divide by the rate.
    """

    timestamp: int
    tokens_left: int = 0
    refill_in: int = 60_000
    refill_rate: int = 1
    flow_reduction: float = 0.0


def list_products(products: Iterable[Part]) -> list[Part]:
    """Put commas between products."""
    parts: list[Part] = []
    for product in products:
        if parts:
            parts.append(b",")
        parts.append(product)
    return parts


def answer_of_products(products: Iterable[Part], fields: TokenFields) -> list[Part]:
    """Write an answer that cost nothing, in Keepa's own order: sorted."""
    return [
        b'{"processingTimeInMs":0,"products":[',
        *list_products(products),
        b"]," + _write_fields(fields) + b"}",
    ]


def answer_of_whole(whole: Packed, fields: TokenFields) -> list[Part]:
    """Write an answer that cost nothing: its own members in their old order, then the fields."""
    return [b"{", whole, b',"processingTimeInMs":0,' + _write_fields(fields) + b"}"]


def _write_fields(fields: TokenFields) -> bytes:
    return (
        b'"refillIn":%d,"refillRate":%d,"timestamp":%d,"tokenFlowReduction":%s,'
        b'"tokensConsumed":0,"tokensLeft":%d'
    ) % (
        fields.refill_in,
        fields.refill_rate,
        fields.timestamp,
        repr(fields.flow_reduction).encode(),
        fields.tokens_left,
    )


def write_plain(parts: Iterable[Part]) -> Iterator[bytes]:
    """Write a body as text, small parts joined: each piece is about a millisecond of a thread's.

    Raises:
        BadEntryError: an entry is damaged; what was written before is part of no answer.
    """
    return _gather(_unpack(parts))


def write_gzip(parts: Sequence[Part]) -> Iterator[bytes]:
    """Write a body as one gzip member; nothing is deflated, so it takes no time to speak of."""
    return _gather(_write_member(parts))


def _unpack(parts: Iterable[Part]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, Packed):
            yield from part.unpack()
        else:
            yield part


def _write_member(parts: Iterable[Part]) -> Iterator[bytes]:
    crc = length = 0
    yield _GZIP_HEADER
    for part in parts:
        if isinstance(part, Packed):
            crc = isal_zlib.crc32_combine(crc, part.crc, part.length)
            length += part.length
            yield part.deflated
        else:
            crc = isal_zlib.crc32(part, crc)
            length += len(part)
            yield from _store(part)
    yield _LAST_BLOCK + crc.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little")


def _store(text: bytes) -> Iterator[bytes]:
    """Write text as stored blocks, none of them the last."""
    for at in range(0, len(text), _MOST_STORED):
        block = text[at : at + _MOST_STORED]
        size = len(block)
        yield b"\x00" + size.to_bytes(2, "little") + (size ^ _MOST_STORED).to_bytes(2, "little")
        yield block


def _gather(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces, so that each write to a socket is worth it; never all of them."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _PIECE_BYTES:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)
