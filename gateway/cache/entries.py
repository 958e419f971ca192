"""What is kept of an answer: one product, or a whole answer, deflated behind a head of 40 bytes.

The deflated text ends with a full flush: it stands on a byte's edge and looks back at nothing, so
`assembly` puts entries side by side into one gzip member without touching them.
"""

from __future__ import annotations

import enum
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ENTRY_BYTES: Final = 8 * 1024 * 1024
"""The text of one product, or of one member of a whole answer."""
MAX_WHOLE_BYTES: Final = 32 * 1024 * 1024
"""The text of a whole answer."""

_LEVEL: Final = 1  # of deflate: higher ones take several times as long
_PIECE_BYTES: Final = 256 * 1024
_MAGIC: Final = b"KGC\x01"  # and the version of what follows
# Magic, kind, hours; life, age, age of the data; thousandths of a token. Then length and crc of the
# text, and the crc of all of the value but itself.
_HEAD: Final = struct.Struct("<4sBxhQIII")
_TEXT: Final = struct.Struct("<II")
_CRC: Final = struct.Struct("<I")
_CRC_AT: Final = _HEAD.size + _TEXT.size
HEAD_BYTES: Final = _CRC_AT + _CRC.size
_UNKNOWN: Final = 0xFFFFFFFF
_MOST: Final = 0xFFFFFFFE
_INFINITE_HOURS: Final = -1
_MOST_HOURS: Final = 0x7FFF
_BAD_DATA: Final[type[Exception]] = isal_zlib.error  # type: ignore[assignment] # its stub says instance


class Kind(enum.IntEnum):
    """What an entry's text is."""

    PRODUCT = 1  # a JSON object
    WHOLE = 2  # the root's own members, with their names, without braces
    PICTURE = 3  # a PNG


class BadEntryError(Exception):
    """Kept bytes that are no entry, or not all of one."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A text, deflated.

    Attributes:
        deflated: raw deflate without a last block, flushed to a byte's edge.
        length: of the text, in bytes.
        crc: CRC-32 of the text.
    """

    deflated: bytes
    length: int
    crc: int

    def unpack(self) -> Iterator[bytes]:
        """Inflate it piece by piece, in about a millisecond each: work for a thread.

        Raises:
            BadEntryError: at its end, or before: it is not what was packed.
        """
        inflater = isal_zlib.decompressobj(wbits=-isal_zlib.MAX_WBITS)
        data, left, crc = self.deflated, self.length, 0
        while left > 0:
            try:
                piece = inflater.decompress(data, min(left, _PIECE_BYTES))
            except _BAD_DATA:
                raise BadEntryError("its data cannot be inflated") from None
            data = inflater.unconsumed_tail
            if not piece:
                break
            left -= len(piece)
            crc = isal_zlib.crc32(piece, crc)
            yield piece
        if left or crc != self.crc:
            raise BadEntryError("its data is not what was packed")


class Packer:
    """Deflates a text that comes in pieces; isal lets go of the GIL meanwhile."""

    def __init__(self) -> None:
        self._stream: Any = isal_zlib.compressobj(_LEVEL, wbits=-isal_zlib.MAX_WBITS)
        self._parts: list[bytes] = []
        self._crc = 0
        self.length = 0
        self.deflated_bytes = 0

    def add(self, text: bytes) -> None:
        """Take the next piece of the text."""
        self.length += len(text)
        self._crc = isal_zlib.crc32(text, self._crc)
        self._put(self._stream.compress(text))

    def finish(self) -> Packed:
        """Return all of it."""
        self._put(self._stream.flush(isal_zlib.Z_FULL_FLUSH))
        return Packed(b"".join(self._parts), self.length, self._crc)

    def _put(self, part: bytes) -> None:
        if part:
            self.deflated_bytes += len(part)
            self._parts.append(part)


def pack(text: bytes) -> Packed:
    """Deflate a text that is there."""
    packer = Packer()
    packer.add(text)
    return packer.finish()


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of an entry besides its text.

    Attributes:
        kind: what its text is.
        hours: those under which it was fetched (`Question.hours`); infinite: however old.
        life_ms: how long a store keeps it, from when it was written.
        age_ms: how old it was then, since its question was sent.
        data_age: how old Keepa's data was when Keepa answered, in seconds; None: not known.
        millitokens: what it had cost, in thousandths of a token.
    """

    kind: Kind
    hours: float
    life_ms: int
    age_ms: int
    data_age: int | None
    millitokens: int

    def pack(self) -> bytes:
        """Write it; what is too large for its field is written as the least favourable value.

        Raises:
            OverflowError: an age of more than 49 days, which no entry is written at.
        """
        if self.age_ms > _MOST:
            raise OverflowError(f"an entry cannot be written at an age of {self.age_ms} ms")
        hours = _INFINITE_HOURS if self.hours > _MOST_HOURS else int(self.hours)
        return _HEAD.pack(
            _MAGIC,
            self.kind,
            hours,
            self.life_ms,
            self.age_ms,
            _UNKNOWN if self.data_age is None else min(self.data_age, _MOST),
            min(self.millitokens, _MOST),
        )


def read_head(value: bytes) -> Head:
    """Read the head of a kept value, of which the first 40 bytes are enough.

    Raises:
        BadEntryError: it is none.
    """
    if len(value) < HEAD_BYTES or not value.startswith(_MAGIC):
        raise BadEntryError("no entry, or of another version")
    _, kind, hours, life_ms, age_ms, data_age, millitokens = _HEAD.unpack_from(value)
    try:
        known = Kind(kind)
    except ValueError:
        raise BadEntryError("of an unknown kind") from None
    return Head(
        known,
        math.inf if hours == _INFINITE_HOURS else hours,
        life_ms,
        age_ms,
        None if data_age == _UNKNOWN else data_age,
        millitokens,
    )


def write_value(head: Head, body: Packed) -> bytes:
    """Write an entry as a store keeps it."""
    front = head.pack() + _TEXT.pack(body.length, body.crc)
    crc = isal_zlib.crc32(body.deflated, isal_zlib.crc32(front))
    return b"".join((front, _CRC.pack(crc), body.deflated))


def read_value(value: bytes) -> tuple[Head, Packed]:
    """Read a kept entry, and make sure that no bit of it has changed.

    Raises:
        BadEntryError: it is none, cut short, or damaged.
    """
    head = read_head(value)
    deflated = value[HEAD_BYTES:]
    (crc,) = _CRC.unpack_from(value, _CRC_AT)
    if isal_zlib.crc32(deflated, isal_zlib.crc32(value[:_CRC_AT])) != crc:
        raise BadEntryError("damaged")
    return head, Packed(deflated, *_TEXT.unpack_from(value, _HEAD.size))
