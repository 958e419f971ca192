"""The bytes of an answer as they were before they were compressed, piece by piece."""

from collections.abc import Iterator
from typing import Final, Protocol

from isal import isal_zlib

from gateway.keepa.envelope.scanner import PIECE_BYTES

# What inflating is given at a time, for so many times its size of text: what it cannot take at once
# it copies, over and over.
_TEXT_PER_BYTE: Final = 4
_GZIP: Final = 31  # zlib's window bits: 15, and how the data is wrapped
_ZLIB: Final = 15
_RAW: Final = -15
_BAD_DATA: Final[type[Exception]] = isal_zlib.error  # type: ignore[assignment] # its stub says instance


class Decoder(Protocol):
    """Turns the chunks of one body, in their order, into text.

    Attributes:
        has_ended: no text will come any more: the data turned out bad, or its stream is over.
    """

    has_ended: bool

    def pieces(self, chunk: bytes, most: int = PIECE_BYTES) -> Iterator[bytes]:
        """The text of a chunk, in pieces of at most `most` bytes, decoded as they are asked for.

        A chunk's pieces must be exhausted before those of the next are asked for. Data that cannot
        be decoded ends the text. A piece may be empty.
        """
        ...


def open_decoder(content_encoding: str | None) -> Decoder | None:
    """The decoder for a `Content-Encoding` (RFC 9110, 8.4); `None`: one that nobody here reads."""
    match (content_encoding or "identity").strip().lower():
        case "identity":
            return _Plain()
        case "gzip" | "x-gzip":
            return _Inflater(is_gzip=True)
        case "deflate":
            return _Inflater(is_gzip=False)
        case _:
            return None


class _Plain:
    """A body that is not compressed."""

    has_ended = False

    def pieces(self, chunk: bytes, most: int = PIECE_BYTES) -> Iterator[bytes]:
        for start in range(0, len(chunk), most):
            yield chunk[start : start + most]


class _Inflater:
    """A gzip body of one or more members (RFC 1952, 2.2), or one zlib or raw deflate stream.

    isal releases the GIL while it inflates. It holds a window of 32 KiB, whatever the ratio is.
    """

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._stream: isal_zlib.Decompress | None = None
        self.has_ended = False

    def pieces(self, chunk: bytes, most: int = PIECE_BYTES) -> Iterator[bytes]:
        slice_bytes = most // _TEXT_PER_BYTE
        for start in range(0, len(chunk), slice_bytes):
            rest: bytes | None = chunk[start : start + slice_bytes]
            while rest is not None and not self.has_ended:
                piece, rest = self._inflate(rest, most)
                yield piece

    def _inflate(self, data: bytes, most: int) -> tuple[bytes, bytes | None]:
        """The next piece, and the data after it; `None`: that was all of it."""
        if self._stream is None:
            self._stream = isal_zlib.decompressobj(wbits=self._window_bits(data))
        try:
            piece = self._stream.decompress(data, most)
        except _BAD_DATA:
            self.has_ended = True
            return b"", None
        if self._stream.eof:
            # What follows is another member, or else bad data at the next turn.
            rest = self._stream.unused_data
            self._stream = None
            self.has_ended = not self._is_gzip
            return piece, rest or None
        if len(piece) < most:
            return piece, None
        # A full piece: more of the text may be waiting, even if all the data has been taken.
        return piece, self._stream.unconsumed_tail

    def _window_bits(self, data: bytes) -> int:
        """How to read a stream that starts with `data`.

        Some servers send raw deflate under the name that means zlib (RFC 9110, 8.4.1.2). In zlib
        the low half of the first byte is 8 (RFC 1950, 2.2); no encoder starts raw data with that.
        """
        if self._is_gzip:
            return _GZIP
        return _ZLIB if data[0] & 0x0F == 8 else _RAW  # noqa: PLR2004 # explained above
