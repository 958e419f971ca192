"""One connection to a server: a request is written once, and its answer handed on as it comes."""

import asyncio
import time
from http import HTTPStatus

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpResponseParser, RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from gateway.lane import Pause

# What of a body waits to be read before the server is held back.
_BUFFER_BYTES = 262_144
_MAX_HEAD_BYTES = 65_536
# A larger body goes out in slices of this, each when there is room for it.
_SLICE_BYTES = 65_536
# RFC 9110, 15.2: an answer follows.
_INTERIM = range(100, 200)
# RFC 9110, 8.6: whatever their headers announce.
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
# What is read at once, into one place: each piece of a large body costs a turn of the loop.
_READ = memoryview(bytearray(524_288))


class Connection(BaseProtocol, asyncio.BufferedProtocol):
    """One connection, on aiohttp's parser; one request at a time.

    Attributes:
        idle_since: When its last answer ended, monotonic seconds.
        head_at: When the head of its last answer came, monotonic seconds.
    """

    __slots__ = (
        "_answers", "_content", "_events", "_is_clean", "_is_full", "_is_spent", "_pause", "_room",
        "head_at", "idle_since",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._events = loop
        self._answers = self._make_parser()
        # Whether the last answer came whole, and nothing behind it.
        self._is_clean = True
        self._is_spent = False
        self._is_full = False
        self._content: StreamReader = EMPTY_PAYLOAD
        self._pause: Pause | None = None
        self._room: asyncio.Future[None] | None = None
        self.idle_since = 0.0
        self.head_at = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether another request may be written."""
        wire = self.transport
        return not self._is_spent and wire is not None and not wire.is_closing()

    def ask(self) -> Pause:
        """Return what is awaited for the answer to a request: its head, and its body to come.

        Raises:
            aiohttp.ClientError, HttpProcessingError: When awaited: no answer came, or none of HTTP.
        """
        if not self._is_clean:
            self._answers = self._make_parser()
        self._is_clean = False
        pause = self._pause = Pause()
        if self.transport is None:
            self._fail(aiohttp.ServerDisconnectedError())
        return pause

    async def write(self, head: bytes, body: bytes) -> None:
        """Write head and body, a small body in one go with the head."""
        wire = self.transport
        if wire is None:
            raise aiohttp.ServerDisconnectedError
        if len(body) <= _SLICE_BYTES:
            wire.write(head + body)
            return
        wire.write(head)
        for start in range(0, len(body), _SLICE_BYTES):
            wire.write(body[start : start + _SLICE_BYTES])
            await self._drain()

    def abort(self) -> None:
        """Close at once."""
        self._is_spent = True
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what is under way; what came of a body is there to be read."""
        super().connection_lost(exc)
        self._is_spent = True
        try:
            self._answers.feed_eof()
        except Exception as fault:  # noqa: BLE001 - the parser's own errors, for wrong bytes
            self._cut(fault)
        if self._room and not self._room.done():
            self._room.set_result(None)
        if isinstance(exc, OSError):
            self._fail(aiohttp.ClientOSError(*exc.args))
        else:
            self._fail(aiohttp.ServerDisconnectedError())

    def pause_writing(self) -> None:
        """Wait before the next slice."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_full = False
        if self._room and not self._room.done():
            self._room.set_result(None)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as much as is read at once
        """Return where the next bytes go."""
        return _READ

    def buffer_updated(self, nbytes: int) -> None:
        """Take them."""
        self.data_received(bytes(_READ[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Parse; hand on the head of an answer that was asked for."""
        if data and self._pause is None and self._content.is_eof():
            # Nobody asked for it.
            self._is_spent = True
            return
        try:
            messages, _, _ = self._answers.feed_data(data)
        except Exception as fault:  # noqa: BLE001 - the parser's own, which quote bytes
            self._break(fault)
            return
        final = None
        for message, content in messages:
            is_http = message.version.major == 1 and message.code >= _INTERIM.start
            if not is_http or message.code == HTTPStatus.SWITCHING_PROTOCOLS:
                # Nobody asked for another protocol, and what follows is no HTTP.
                self._break(aiohttp.ClientConnectionError())
                return
            if message.code in _INTERIM:
                continue
            if final or self._pause is None:
                # Nobody asked for it: what else comes is nobody's either.
                self._is_spent = True
            else:
                final = message, EMPTY_PAYLOAD if message.code in _BODILESS else content
        if final:
            self._hand_on(*final, data)

    def _hand_on(self, message: RawResponseMessage, content: StreamReader, data: bytes) -> None:
        """Resume who waits for the head."""
        self._content = content
        self.head_at = time.monotonic()
        if message.should_close:
            self._is_spent = True
        if content.is_eof():
            # Nearly all small answers come whole, in one go.
            end = data.find(b"\r\n\r\n") + 4 + content.total_bytes
            self._is_clean = end == len(data)
        pause, self._pause = self._pause, None
        if pause:
            pause.set_result((message, content))

    def _break(self, fault: Exception) -> None:
        """Give up a connection that does not speak HTTP."""
        self._is_spent = True
        if self.transport is not None:
            self.transport.close()
        self._cut(fault)
        self._fail(fault if isinstance(fault, aiohttp.ClientError) else HttpProcessingError())

    def _cut(self, fault: Exception) -> None:
        """Tell who reads the body that there is no more of it; the fault's text quotes bytes."""
        if not self._content.is_eof():
            self._content.set_exception(aiohttp.ClientPayloadError(type(fault).__name__))

    def _fail(self, fault: Exception) -> None:
        """Tell who waits for a head that none will come."""
        pause, self._pause = self._pause, None
        if pause:
            pause.set_exception(fault)

    async def _drain(self) -> None:
        while self._is_full:
            if self.transport is None:
                raise aiohttp.ServerDisconnectedError
            self._room = self._events.create_future()
            await self._room

    def _make_parser(self) -> HttpResponseParser:
        parser = self._parser = HttpResponseParser(
            self,
            self._events,
            _BUFFER_BYTES,
            payload_exception=aiohttp.ClientPayloadError,
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=_MAX_HEAD_BYTES,
            max_field_size=_MAX_HEAD_BYTES,
        )
        return parser
