"""Answers as pieces: what never changes is made, and deflated, once and sent many times.

A benchmark must measure the gateway, not the simulator, and an answer of 100 MB must not be held in
memory. So a body is a list of pieces, a large one the same few pieces many times over, and gzip is
put together from ready-made deflate blocks instead of being computed for each answer.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator

GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
LAST_BLOCK = b"\x03\x00"
"""An empty final block: what ends a deflate stream whose blocks so far were none of them final."""
MOST_STORED = 0xFFFF
"""A stored (uncompressed) deflate block holds at most this many bytes (RFC 1951, 3.2.4)."""


class Piece:
    """Bytes that go into many answers."""

    __slots__ = ("_deflated", "plain")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self._deflated: bytes | None = None

    def __len__(self) -> int:
        return len(self.plain)

    @property
    def deflated(self) -> bytes:
        """The same as deflate blocks, complete in themselves, ending on a byte (a full flush)."""
        if self._deflated is None:
            deflate = zlib.compressobj(wbits=-15)
            self._deflated = deflate.compress(self.plain) + deflate.flush(zlib.Z_FULL_FLUSH)
        return self._deflated


Part = bytes | Piece
"""A part of a body: `bytes` where it is made for this answer, a `Piece` where it is kept."""


def write_plain(parts: Iterable[Part]) -> Iterator[bytes]:
    """Write parts as they are."""
    for part in parts:
        yield part if isinstance(part, bytes) else part.plain


def write_gzip(parts: Iterable[Part], *, whole: bool = True) -> Iterator[bytes]:
    """Write parts as one gzip member; `whole=False` leaves out its end, as a cut answer does."""
    yield GZIP_HEAD
    checksum = size = 0
    for part in parts:
        if isinstance(part, bytes):
            plain = part
            yield _store(part)
        else:
            plain = part.plain
            yield part.deflated
        checksum = zlib.crc32(plain, checksum)
        size += len(plain)
    if whole:
        yield LAST_BLOCK + struct.pack("<II", checksum, size & 0xFFFFFFFF)


def _store(plain: bytes) -> bytes:
    """Wrap bytes in stored blocks: cheaper than deflating the few hundred new ones of a call."""
    if len(plain) <= MOST_STORED:
        return _head_of_stored(len(plain)) + plain
    blocks = (plain[at : at + MOST_STORED] for at in range(0, len(plain), MOST_STORED))
    return b"".join(_head_of_stored(len(block)) + block for block in blocks)


def _head_of_stored(size: int) -> bytes:
    return struct.pack("<BHH", 0, size, size ^ 0xFFFF)
