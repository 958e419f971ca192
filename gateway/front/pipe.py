"""One caller's socket: bytes in by pieces, bytes out with back-pressure, and its idle time."""

import asyncio
import struct
from socket import SO_LINGER, SOL_SOCKET

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.web import RequestPayloadError

from gateway.front.heads import MAX_HEADER_LINES, MAX_HEADERS, MAX_LINE

# What comes of a body before anybody reads it.
BUFFER_BYTES = 64 * 1024
# So many requests are parsed before their turn: what follows them stays with the caller.
AHEAD = 8
# Linger on, for no time: what is not sent is dropped, and the other side hears of a reset.
_RESET = struct.pack("ii", 1, 0)
# What is read at once, into one place: a quarter of what asyncio takes by itself. Of chunks of one
# byte each, more would keep the event loop from everybody else.
_READ = memoryview(bytearray(64 * 1024))


class Pipe(BaseProtocol, asyncio.BufferedProtocol):
    """One caller's socket, and the parser of what comes on it. Nobody else touches the socket.

    Args:
        stall_seconds: How long a response may wait for its caller to take more of it.
        keepalive_seconds: How long an idle connection lives.

    Attributes:
        is_full: Whether the caller has yet to take what was written.
        has_responded: Whether any of the response to the newest request has left.
        clock: The event loop.
        requests: The parser.
        is_body_full: Whether a body that nobody takes holds the caller back.
        is_deaf: Whether what comes is dropped.
        is_held: Whether what comes before its turn is left with the caller.
    """

    __slots__ = (
        "_idle_at", "_idle_timer", "_keepalive_seconds", "_room", "_stall_seconds", "_stall_timer",
        "clock", "has_responded", "is_body_full", "is_deaf", "is_full", "is_held", "requests",
    )  # fmt: skip

    def __init__(self, stall_seconds: float, keepalive_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.requests = HttpRequestParser(
            self,
            loop,
            BUFFER_BYTES,
            max_line_size=MAX_LINE,
            max_field_size=MAX_HEADERS,
            max_headers=MAX_HEADER_LINES,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=AHEAD,
        )
        super().__init__(loop, self.requests)
        self.clock = loop
        self._stall_seconds = stall_seconds
        self._keepalive_seconds = keepalive_seconds
        self.is_full = False
        self.has_responded = False
        self.is_deaf = False
        self.is_body_full = False
        self.is_held = False
        self._room: asyncio.Future[None] | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_at = 0.0

    @property
    def is_answering(self) -> bool:
        """Whether a request is answered now."""
        raise NotImplementedError

    @property
    def has_left(self) -> bool:
        """Whether the caller has gone, or is being left."""
        return self.transport is None or self.transport.is_closing()

    @property
    def remote(self) -> str | None:
        """The caller's address."""
        name = self.transport.get_extra_info("peername") if self.transport else None
        return str(name[0]) if isinstance(name, tuple) else name

    def write(self, data: bytes) -> None:
        """Write a part of a response; raises ConnectionError where the caller has left."""
        wire = self.transport
        if wire is None or wire.is_closing():
            raise ConnectionResetError("The caller has left")
        self.has_responded = True
        wire.write(data)

    def write_interim(self, data: bytes) -> None:
        """Write what comes before a response (RFC 9110, 15.2); not to who has left."""
        if self.transport is not None:
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the caller has taken enough; raises ConnectionError where it has left."""
        while self.is_full:
            if self.transport is None:
                raise ConnectionResetError("The caller has left")
            self._room = self.clock.create_future()
            await self._room

    def abort(self) -> None:
        """Close at once; what is not sent is dropped."""
        if self.transport is not None:
            self.transport.abort()

    def reset(self) -> None:
        """Abort so that the caller hears of it: to HTTP/1.0, a plain close ends a body properly."""
        if self.transport is not None:
            self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
            self.transport.abort()

    def pause_writing(self) -> None:
        """Give a caller who does not take its response so long, and no longer."""
        self.is_full = True
        self._wait_for_taking()

    def resume_writing(self) -> None:
        """Go on: the caller took enough of it."""
        self.is_full = False
        self._taken()
        if self._room and not self._room.done():
            self._room.set_result(None)

    def pause_reading(self) -> None:
        """Read no more of a body that nobody takes."""
        self.is_body_full = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on where a body has room again, and nothing else is in the way."""
        self.is_body_full = False
        super().resume_reading(resume_parser)
        if self.is_held and self.transport is not None:
            self.transport.pause_reading()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as much as is read at once
        """Return where the next bytes go."""
        return _READ

    def buffer_updated(self, nbytes: int) -> None:
        """Take them."""
        self.data_received(bytes(_READ[:nbytes]))

    def hold(self) -> None:
        """Leave with the caller what it sends before its turn."""
        if not self.is_held and self.transport is not None:
            self.is_held = True
            self.transport.pause_reading()

    def become_idle(self) -> None:
        """Close in time, unless another request comes."""
        self._idle_at = self.clock.time() + self._keepalive_seconds
        if self._idle_timer is None:
            self._idle_timer = self.clock.call_at(self._idle_at, self._close_idle)

    def _close_idle(self) -> None:
        self._idle_timer = None
        if self.is_answering:
            return
        if self.clock.time() < self._idle_at:
            self._idle_timer = self.clock.call_at(self._idle_at, self._close_idle)
        else:
            self.close()

    def close(self) -> None:
        """Close, and give what is still to be sent its time."""
        if self.transport is not None:
            self.is_deaf = True
            self.transport.close()
            self._wait_for_taking()

    def _wait_for_taking(self) -> None:
        wire = self.transport
        if wire and not self._stall_timer and wire.get_write_buffer_size():
            self._stall_timer = self.clock.call_later(self._stall_seconds, wire.abort)

    def _taken(self) -> None:
        if self._stall_timer:
            self._stall_timer.cancel()
            self._stall_timer = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what waits for the caller."""
        super().connection_lost(exc)
        self._taken()
        if self._idle_timer:
            self._idle_timer.cancel()
        if self._room and not self._room.done():
            self._room.set_result(None)
