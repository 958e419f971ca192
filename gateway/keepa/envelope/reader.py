"""Reading the token fields of an answer: a small one at once, any other while it streams past."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Final, Protocol

from gateway.keepa.envelope.decoding import open_decoder
from gateway.keepa.envelope.fields import Envelope, parse_envelope
from gateway.keepa.envelope.scanner import PIECE_BYTES, Scanner

# A gzip body of 64 KiB holds 200 to 600 KiB of Keepa's JSON; a gzip bomb could hold 64 MiB.
_WHOLE_BODY_BYTES: Final = 2 * 1024 * 1024
# A plain body of no more than this is parsed faster than searched.
_PARSED_BYTES: Final = 4 * 1024
# Of a stream, this much text is searched on the event loop (about 0.1 ms): an answer with its
# fields first never needs a thread.
_INLINE_BYTES: Final = 64 * 1024
# A piece of text counts as this much at least: gzip members may be empty, yet take time.
_LEAST_PIECE_BYTES: Final = 1024
# So much text is searched in the time that one look-alike of a field takes.
_CANDIDATE_BYTES: Final = 1024
# And so much more of plain text in the time that each quote or bracket takes: Keepa's JSON has one
# in some twenty bytes.
_SIGNS: Final = b'"{}[]'
_SIGN_BYTES: Final = 4
# A thread gets work in portions of this much (before decoding): each hand-over costs the event
# loop some 50 us.
_PORTION_BYTES: Final = 256 * 1024
# Of text, in one go: each piece costs a thread two hand-overs of the GIL.
_THREAD_PIECE_BYTES: Final = 256 * 1024
# More than this much (before decoding) is not held: `feed` waits then.
_BACKLOG_BYTES: Final = 1024 * 1024
# A thread that searches holds the GIL, and where it lets go of it for an instant (isal does while
# it inflates) it takes it back before the event loop has woken up. So it works for a stretch and
# then sleeps, the shortest sleep there is.
_STRETCH_SECONDS: Final = 0.02
_REST_SECONDS: Final = 0.00005


def read_envelope(body: bytes, content_encoding: str | None) -> Envelope:
    """The token fields of a whole answer, for small ones: at most 64 KiB before decoding.

    Takes about 20 us for 1 KiB. Looks at the first 2 MiB of the decoded text, less where quotes
    and brackets are dense, or names of fields stand by the thousand. Never raises: what cannot be
    read has no fields.
    """
    if content_encoding is None and len(body) <= _PARSED_BYTES:
        envelope = parse_envelope(body)
        if envelope is not None:
            return envelope
    scanner = Scanner()
    decoder = open_decoder(content_encoding)
    if decoder is None:
        return scanner.finish()
    budget = _WHOLE_BODY_BYTES
    for piece in decoder.pieces(body):
        scanner.feed(piece)
        signs = sum(map(piece.count, _SIGNS))
        budget -= max(len(piece) + _SIGN_BYTES * signs, _LEAST_PIECE_BYTES)
        if scanner.done or budget <= _CANDIDATE_BYTES * scanner.candidates:
            break
    return scanner.finish()


class Watch(Protocol):
    """Sees all of a body, in the order of its bytes, wherever the reader works."""

    def see_wire(self, chunk: bytes) -> None:
        """See a chunk as it came, before its text."""

    def see_text(self, piece: bytes) -> None:
        """See a piece of the decoded text; of data that turned out bad, the chunk as it came."""


class EnvelopeReader:
    """Finds the token fields of an answer whose body streams past, of any size.

    The start is searched on the event loop, all else in a thread of `executor`, which many readers
    may share. Holds little more than 1 MiB, and never raises because of what the body is. To be
    used from one event loop, one call at a time; ends with `finish` or `abandon`.

    Args:
        watch: Sees the whole body, also after the last field was found.
    """

    def __init__(
        self, content_encoding: str | None, executor: Executor, watch: Watch | None = None
    ) -> None:
        self._executor = executor
        self._watch = watch
        self._scanner = Scanner()
        self._decoder = open_decoder(content_encoding)
        self._inline_budget = _INLINE_BYTES
        self._backlog: list[Iterator[bytes]] = []
        self._backlog_bytes = 0
        self._work: asyncio.Future[None] | None = None
        self._work_bytes = 0
        self._is_abandoned = False

    @property
    def done(self) -> bool:
        """Nothing more will be looked for: `envelope` is final and `feed` does nothing."""
        is_over = self._scanner.done and self._watch is None
        return is_over or self._is_abandoned or self._decoder is None

    @property
    def has_all(self) -> bool:
        """No field will be found any more, though more of the body may be looked at."""
        return self._scanner.done

    @property
    def envelope(self) -> Envelope:
        """What is found so far."""
        return self._scanner.envelope

    async def feed(self, chunk: bytes) -> None:
        """Take the next chunk of the body, as it came over the wire.

        Returns at once unless more than 1 MiB waits to be searched. May be cancelled: the chunk is
        taken all the same.
        """
        if self._decoder is None or self.done:
            self._drop_backlog()
            return
        inline = self._inline_budget > 0
        pieces = self._open(chunk, PIECE_BYTES if inline else _THREAD_PIECE_BYTES)
        if inline and self._take_inline(pieces):
            return
        self._backlog.append(pieces)
        self._backlog_bytes += len(chunk)
        self._collect()
        if self._backlog_bytes >= _PORTION_BYTES:
            self._hand_over()
        while not self.done and self._backlog_bytes + self._work_bytes > _BACKLOG_BYTES:
            await self._advance()

    async def catch_up(self) -> bool:
        """Return when all that was fed has been looked at; False: it never will be."""
        while not self.done and (self._work or self._backlog):
            await self._advance()
        return self._decoder is not None and not self._is_abandoned

    async def finish(self) -> Envelope:
        """Search what is left, the body has ended or was cut, and say what was found.

        May be called again, also after it was cancelled.
        """
        await self.catch_up()
        if self.done:
            self._drop_backlog()
            return self.envelope
        return self._scanner.finish()

    def abandon(self) -> None:
        """Look for nothing more; a thread at work stops at its next piece."""
        self._is_abandoned = True
        self._drop_backlog()

    def _take_inline(self, pieces: Iterator[bytes]) -> bool:
        """Search pieces on the event loop while the budget lasts; whether those were all."""
        for piece in pieces:
            self._look(piece)
            self._inline_budget -= max(len(piece), _LEAST_PIECE_BYTES)
            if self.done:
                return True
            if self._inline_budget <= 0:
                return False
        self._note_end()
        return True

    def _open(self, chunk: bytes, most: int) -> Iterator[bytes]:
        """Yield the text of a chunk, in pieces."""
        decoder = self._decoder
        if decoder is None:
            return
        if self._watch:
            self._watch.see_wire(chunk)
        yield from decoder.pieces(chunk, most)
        if self._watch and decoder.has_ended:
            self._watch.see_text(chunk)

    def _look(self, piece: bytes) -> None:
        if not self._scanner.done:
            self._scanner.feed(piece)
        if self._watch:
            self._watch.see_text(piece)

    def _note_end(self) -> None:
        """Search what is left where no more text will come."""
        if self._decoder and self._decoder.has_ended:
            self._scanner.finish()

    async def _advance(self) -> None:
        """Wait for the thread, and give it the backlog."""
        if self._work:
            # Unlike awaiting it, this leaves the work alone when the caller is cancelled.
            await asyncio.wait((self._work,))
        self._collect()
        self._hand_over()

    def _collect(self) -> None:
        """Note that the thread has ended, if it has."""
        if self._work and self._work.done():
            if self._work.cancelled():  # only a shutdown of the executor does that
                self.abandon()
            else:
                self._work.result()
            self._work = None
            self._work_bytes = 0

    def _hand_over(self) -> None:
        """Give the backlog to a thread, unless one is at work."""
        if self._work or self.done or not self._backlog:
            return
        try:
            self._work = asyncio.get_running_loop().run_in_executor(
                self._executor, self._take_in_thread, self._backlog
            )
        except RuntimeError:  # the executor is shut down; the body must flow on all the same
            self.abandon()
            return
        self._work_bytes = self._backlog_bytes
        self._backlog = []
        self._backlog_bytes = 0

    def _take_in_thread(self, portion: list[Iterator[bytes]]) -> None:
        """Search a portion, with a rest now and then."""
        rested = time.perf_counter()
        for pieces in portion:
            for piece in pieces:
                self._look(piece)
                if self.done:
                    return
                if time.perf_counter() - rested > _STRETCH_SECONDS:
                    time.sleep(_REST_SECONDS)
                    rested = time.perf_counter()
        self._note_end()

    def _drop_backlog(self) -> None:
        self._backlog.clear()
        self._backlog_bytes = 0
