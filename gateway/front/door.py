"""One caller's connection: malformed requests, slow callers, faults of our own, who leaves."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from socket import SO_ERROR, SO_LINGER, SOL_SOCKET
from typing import Any, cast

import structlog
from aiohttp import HttpVersion11, web
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from gateway.errors import InternalError, Overloaded, Refusal, TooSlow
from gateway.front.heads import (
    MAX_HEADER_LINES,
    MAX_HEADERS,
    MAX_LINE,
    refusal_of,
    too_large_headers,
)
from gateway.front.own_responses import turn_away
from gateway.front.request import Request
from gateway.front.turnstile import Turnstile

# What heads that are not whole may have in sum: nearly all others come in one packet, and are none
# of these.
_ALL_HEADS = 64 * 1024 * 1024

_log: Any = structlog.get_logger(__name__)
# From a request's first byte to its head's end, however it drips.
_HEAD_SECONDS = 30
_READ_BYTES = 64 * 1024
# How long a refused caller is heard out, and one beyond the bound may take for its request.
_FAREWELL_SECONDS = 2.0
# Nobody leaves so soon after its request.
_AT_ONCE_SECONDS = 0.0005
# How long a caller who ended its sending side may wait before it is probed; how soon a reset is
# looked for then, and after that less and less often.
_PATIENCE_SECONDS = 1.0
_LOOK_SECONDS = 0.005
# RFC 9110, 15.2: a client reads past interim answers, also those that it did not ask for.
_PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"

# Linger on, for no time: what is not sent is dropped, and the other side hears of a reset.
_RESET = struct.pack("ii", 1, 0)


class Door(web.RequestHandler):
    """One caller's connection.

    Faults that never became a call are answered in the one shape. A caller who leaves cancels what
    is done for it only where that was asked for (`cancel_if_left`): a call that Keepa may charge is
    carried to its end. Nobody else touches the socket.

    Args:
        server: Who answers.
        turnstile: Who counts.
        stall_seconds: How long an answer may wait for its caller to take more of it.
        keepalive_seconds: How long an idle connection lives.
        new_id: Makes request ids, one gateway's own.
    """

    __slots__ = (
        "_body",
        "_came_at",
        "_farewell",
        "_head_bytes",
        "_head_timer",
        "_is_deaf",
        "_is_half_closed",
        "_is_probed",
        "_leaving_cancels",
        "_look_timer",
        "_stall_seconds",
        "_stall_timer",
        "_turnstile",
        "_wire",
        "is_surplus",
        "new_id",
    )  # fmt: skip

    def __init__(
        self,
        server: web.Server,
        turnstile: Turnstile,
        stall_seconds: float,
        keepalive_seconds: float,
        new_id: Callable[[], str],
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # none: it would tell URLs
            keepalive_timeout=keepalive_seconds,
            auto_decompress=False,
            max_line_size=MAX_LINE,
            max_field_size=MAX_HEADERS,
            max_headers=MAX_HEADER_LINES,
            # What comes of a body before anybody reads it.
            read_bufsize=64 * 1024,
        )
        self._leaving_cancels = False
        self.is_surplus = False
        self.new_id = new_id
        self._turnstile = turnstile
        self._stall_seconds = stall_seconds
        self._wire: asyncio.Transport | None = None
        self._body: StreamReader = EMPTY_PAYLOAD
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._is_deaf = False
        self._is_half_closed = False
        self._is_probed = False
        self._came_at = 0.0
        self._look_timer: asyncio.TimerHandle | None = None
        self._farewell: asyncio.Future[None] | None = None

    @property
    def has_left(self) -> bool:
        """Whether the caller has gone."""
        return self.transport is None

    @property
    def has_next(self) -> bool:
        """Whether the caller has sent another request already."""
        return bool(self._messages)

    @property
    def is_busy(self) -> bool:
        """Whether the caller waits for an answer, or has yet to take all of it."""
        return self._request_count > 0 and (self._waiter is None or self._waiter.done())

    @property
    def is_ending(self) -> bool:
        """Whether the answer under way is the connection's last."""
        return self._turnstile.is_draining or (self._is_half_closed and not self._messages)

    def cancel_if_left(self) -> None:
        """From now on, a caller who leaves cancels what is done for it."""
        self._leaving_cancels = True

    def carry_on(self) -> None:
        """From now on, a caller who leaves changes nothing."""
        self._leaving_cancels = False

    def abort(self) -> None:
        """Close at once; what is not sent is dropped."""
        if self.transport is not None:
            self.transport.abort()

    def reset(self) -> None:
        """Abort so that the caller hears of it: to HTTP/1.0, a plain close ends a body properly."""
        if self.transport is not None:
            self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the caller in; one beyond the bound gets a little time to be told so."""
        super().connection_made(transport)
        # aiohttp forgets the transport when it closes it, though there may be much to send still.
        self._wire = cast("asyncio.Transport", transport)
        # A quarter of what asyncio reads at once: of chunks of one byte each, more would keep the
        # event loop from everybody else.
        vars(transport)["max_size"] = _READ_BYTES
        turnstile = self._turnstile
        turnstile.inside += 1
        if turnstile.inside > turnstile.at_most + turnstile.surplus:
            self._wire.abort()
        elif turnstile.inside > turnstile.at_most:
            self.is_surplus = True
            self._wait_for_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the caller out; cancel what is done for it, where that was asked for."""
        # aiohttp awaits the answer in this task, so that cancelling one cancels the other.
        task = self._task_handler
        super().connection_lost(exc)
        self._turnstile.inside -= 1
        self._wire = None
        self._head_ended()
        self._taken()
        if self._look_timer:
            self._look_timer.cancel()
        if not self._body.is_eof():
            # For who comes to read it: aiohttp tells only who reads it now, and to others it raises
            # a RuntimeError, as a fault of ours would.
            self._body.set_exception(ConnectionResetError("The caller has left"))
        if self._farewell and not self._farewell.done():
            self._farewell.set_result(None)
        if self._leaving_cancels and task is not None:
            task.cancel()

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's own asks for one
        """Answer a caller who only ended its sending side; hang up on who waits for nothing.

        One who has left looks the same, until it is sent a byte: then its system answers with a
        reset. Nobody leaves in one go with its request; any other is probed at once, but for those
        of HTTP/1.0, who cannot be sent a byte before their answer.
        """
        if self._farewell or not self.is_busy or not self._body.is_eof():
            return False
        if not self._is_half_closed:
            self._is_half_closed = True
            self._head_ended()
            if not self._messages:
                # The answer under way is the last, even if its head has told otherwise.
                self.close()
            request = self._current_request
            is_at_once = self._loop.time() - self._came_at < _AT_ONCE_SECONDS
            if request is None or is_at_once or request.version < HttpVersion11:
                self._look_timer = self._loop.call_later(_PATIENCE_SECONDS, self._look)
            else:
                self._look()
        return True

    def _look(self, after_seconds: float = _LOOK_SECONDS) -> None:
        """Hang up on a caller who has left; else look again."""
        wire, request = self._wire, self._current_request
        if wire is None:
            return
        # Where nothing can be spared any more, nobody has to be probed.
        is_open = self._leaving_cancels or self.has_next
        if is_open and request is not None and not request.writer.output_size:
            if request.version >= HttpVersion11:
                if not self._is_probed:
                    self._is_probed = True
                    wire.write(_PROBE)
            else:
                wire.abort()
                return
        if wire.get_extra_info("socket").getsockopt(SOL_SOCKET, SO_ERROR):
            wire.abort()
            return
        again_seconds = min(2 * after_seconds, _PATIENCE_SECONDS)
        self._look_timer = self._loop.call_later(after_seconds, self._look, again_seconds)

    def data_received(self, data: bytes) -> None:
        """Parse; bound heads, and what comes before its turn."""
        if self._is_deaf:
            return
        body, seen = self._body, self._request_count
        is_head = body.is_eof()
        super().data_received(data)
        if self._request_count != seen:
            self._head_ended()
            self._note_newest(data, body)
        elif data and is_head:
            self._count_head(len(data))

    def _note_newest(self, data: bytes, before: StreamReader) -> None:
        """Note the newest request, whose head ended in `data`; `before`: the body that was due."""
        message, self._body = self._messages[-1]
        self._came_at = self._loop.time()
        if isinstance(message, _ErrInfo):
            # Nothing that follows can be told apart any more.
            self._is_deaf = True
            if not before.is_eof():
                before.set_exception(web.RequestPayloadError())
        elif data and self._body is EMPTY_PAYLOAD and not data.endswith(b"\r\n\r\n"):
            self._wait_for_head()
        if len(self._messages) > 1 or self._request_in_progress:
            # Sent before its turn: what follows stays with the caller.
            self._pause_reading_for_buffer()

    def _count_head(self, size: int) -> None:
        """Bound a head that comes in pieces: by itself, with all others, in time."""
        self._head_bytes += size
        self._turnstile.head_bytes += size
        if self._head_bytes > MAX_LINE + MAX_HEADERS:
            self._refuse(too_large_headers())
        elif self._turnstile.head_bytes > _ALL_HEADS:
            self._refuse(Overloaded("Too many requests are only half here"))
        elif self._head_timer is None:
            self._wait_for_head()

    def pause_writing(self) -> None:
        """Give a caller who does not take its answer so long, and no longer."""
        super().pause_writing()
        self._wait_for_taking()

    def resume_writing(self) -> None:
        """Go on: the caller took enough of it."""
        super().resume_writing()
        self._taken()

    def force_close(self) -> None:
        """Close, and give what is still to be sent its time."""
        super().force_close()
        self._wait_for_taking()

    async def start(self) -> None:
        """Answer requests until the connection is to close, and give the last answer its time."""
        await super().start()
        self._wait_for_taking()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's text quotes the request line
    ) -> web.StreamResponse:
        """Answer a malformed request, or a fault of our own; aiohttp's own texts have the URL."""
        if self._is_left_by(exc):
            raise ConnectionError
        refusal = refusal_of(status, exc)
        if isinstance(refusal, InternalError):
            _log.error("unhandled", fault=type(exc).__name__, exc_info=exc)
        elif refusal is exc:
            _log.info("turned_away", reason=refusal.reason)
        else:
            _log.info("malformed_request", fault=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError
        response = turn_away(_ours(request), refusal)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log a fault; that a refused caller left before its body had come is none."""
        if not self._is_left_by(kw.get("exc_info")):
            super().log_exception(*args, **kw)

    def _is_left_by(self, fault: object) -> bool:
        """Whether the caller has left, which is all that the fault says."""
        return self.transport is None and isinstance(fault, ConnectionError)

    def _make_error_handler(
        self, err_info: _ErrInfo
    ) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            response = self.handle_error(request, err_info.status, err_info.exc)
            with suppress(ConnectionError):
                await response.prepare(request)
                await self._hear_out()
            return response

        return answer

    async def _hear_out(self) -> None:
        """Drop what the caller still sends: else a reset overtakes its answer (RFC 9112, 9.6)."""
        if self._wire is None or self._wire.is_closing():
            return
        self._is_deaf = True
        # A caller who has left already is none of our faults.
        with suppress(OSError):
            self._wire.write_eof()
        self._resume_transport_reading()
        self._farewell = self._loop.create_future()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._farewell, _FAREWELL_SECONDS)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what never became a request."""
        self._head_ended()
        self._is_deaf = True
        self._request_count += 1
        self._messages.append((_ErrInfo(refusal.status, refusal, ""), EMPTY_PAYLOAD))
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _wait_for_head(self) -> None:
        seconds = _FAREWELL_SECONDS if self.is_surplus else _HEAD_SECONDS
        self._head_timer = self._loop.call_later(seconds, self._give_up_head)

    def _give_up_head(self) -> None:
        if self._request_in_progress or self._messages:
            self._wait_for_head()  # the answer before has to go first
        elif self._head_bytes or not self.is_surplus:
            self._refuse(TooSlow("The request did not arrive in time"))
        else:
            self.force_close()

    def _head_ended(self) -> None:
        self._turnstile.head_bytes -= self._head_bytes
        self._head_bytes = 0
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _wait_for_taking(self) -> None:
        wire = self._wire
        if wire and not self._stall_timer and wire.get_write_buffer_size():
            self._stall_timer = self._loop.call_later(self._stall_seconds, wire.abort)

    def _taken(self) -> None:
        if self._stall_timer:
            self._stall_timer.cancel()
            self._stall_timer = None


def _ours(request: web.BaseRequest) -> Request:
    if not isinstance(request, Request):
        raise TypeError("requests are made by doors.py")
    return request
