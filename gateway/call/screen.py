"""Holds an answer's bytes back until it is sure that none of them shows the real key."""

from typing import Any, Final

import structlog
from isal import igzip, isal_zlib

from gateway.keepa.envelope.decoding import open_decoder
from gateway.keepa.real_key import KeyWatch, RealKey

_log: Any = structlog.get_logger(__name__)

# A compressed answer is held whole to be packed anew: its text may have so much.
_REPACKED_BYTES: Final = 1024 * 1024
# Compressed chunks wait for the text after them no longer than this: only a made-up stream gives so
# little text for so many bytes.
_WAITING_BYTES: Final = 1024 * 1024


class NotPassable(Exception):
    """The answer shows the real key, or may: no more of it may go out."""


def report_key(where: str, outcome: str, request_id: str | None) -> None:
    """Log that an answer showed the real key, and what became of it."""
    _log.error(
        "real_key_in_answer",
        where=where,
        outcome=outcome,
        request_id=request_id,
        hint="Keepa, or what stands before it, repeats our URL; no caller has seen the key",
    )


class Screen:
    """Lets one answer's bytes pass, chunk by chunk.

    In a body that is not compressed the key is starred out. A compressed one cannot be changed on
    its way: it ends there.

    Args:
        is_plain: Whether the body is not compressed.
        request_id: For the log.
    """

    def __init__(self, key: RealKey, *, is_plain: bool, request_id: str | None) -> None:
        self._key = key
        self._is_plain = is_plain
        self._request_id = request_id
        self._watch = KeyWatch(key)
        self._new_text_bytes = 0
        self._wire_end = b""
        self._is_on_wire = False
        self._waiting = b""

    @property
    def is_found(self) -> bool:
        """Whether what was seen so far shows the key."""
        return self._watch.is_found or self._is_on_wire

    def see_wire(self, chunk: bytes) -> None:
        """Look at a chunk as it came. As `see_text`, called where the reader works."""
        if not self._is_plain:
            # Labelled as compressed, and perhaps not: what nobody can inflate is still readable.
            bytes_ = self._wire_end + chunk
            self._is_on_wire = self._is_on_wire or self._key.is_plainly_in(bytes_)
            self._wire_end = bytes_[-256:]

    def see_text(self, piece: bytes) -> None:
        """Look at the chunk's text, piece by piece."""
        self._watch.see(piece)
        self._new_text_bytes += len(piece)

    def take(self, chunk: bytes, *, is_seen: bool) -> bytes:
        """Return what may go out now.

        Args:
            chunk: The next one.
            is_seen: Whether the reader has been through it; False: nobody here can read it.

        Raises:
            NotPassable: Nothing more may.
        """
        if not is_seen:
            raise NotPassable
        chunk_text_bytes, self._new_text_bytes = self._new_text_bytes, 0
        open_bytes = self._watch.open_bytes
        waiting = self._waiting + chunk if self._waiting else chunk
        if self._is_plain:
            if self._watch.is_found:
                waiting = self._star_out(waiting)
            passes = len(waiting) - open_bytes
        elif self.is_found:
            report_key("body", "cut", self._request_id)
            raise NotPassable
        elif not open_bytes:
            passes = len(waiting)
        elif open_bytes <= chunk_text_bytes:
            # What may be the key's beginning is in this chunk's text.
            passes = len(waiting) - len(chunk)
        elif len(waiting) <= _WAITING_BYTES:
            passes = 0
        else:
            raise NotPassable
        self._waiting = waiting[passes:]
        return waiting[:passes]

    def rest(self) -> bytes:
        """Return what still waits at the body's end: what might have become the key did not."""
        rest, self._waiting = self._waiting, b""
        return rest

    def _star_out(self, text: bytes) -> bytes:
        report_key("body", "starred out", self._request_id)
        self._watch.is_found = False
        return self._key.hide_in(text)


def repack(body: bytes, encoding: str, key: RealKey) -> bytes:
    """Return a small compressed body that shows the key without it.

    Raises:
        NotPassable: Its text is too large, or nobody can read it.
    """
    decoder = open_decoder(encoding)
    if decoder is None:
        raise NotPassable
    text = bytearray()
    for piece in decoder.pieces(body):
        text += piece
        if len(text) > _REPACKED_BYTES:
            raise NotPassable
    hidden = key.hide_in(bytes(text))
    if hidden != text:
        return isal_zlib.compress(hidden) if encoding == "deflate" else igzip.compress(hidden)
    # It is not what it is labelled as.
    hidden = key.hide_in(body)
    if hidden is body:
        raise NotPassable
    return hidden
