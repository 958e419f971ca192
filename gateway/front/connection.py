"""One caller's connection: its requests in their order, slow callers, faults, who leaves."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from socket import SO_KEEPALIVE, SOL_SOCKET
from typing import Any

import structlog
from aiohttp.http import (
    HttpProcessingError,
    HttpVersion10,
    RawRequestMessage,
)
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web import RequestPayloadError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.errors import InternalError, Refusal, TooSlow
from gateway.front.bodies import Bodies
from gateway.front.half_closed import HalfClosed
from gateway.front.heads import (
    HeadWatch,
    check_head,
    refusal_of,
)
from gateway.front.own_responses import turn_away
from gateway.front.pipe import AHEAD, BUFFER_BYTES, Pipe
from gateway.front.request import Request
from gateway.front.response import Response
from gateway.front.turnstile import Turnstile
from gateway.lane import Lane, in_task

_log: Any = structlog.get_logger(__name__)

# How long a refused caller is heard out, and how long the rest of a body that nobody reads.
_FAREWELL_SECONDS = 2.0
_LINGER_SECONDS = 10.0

Messages = Sequence[tuple[RawRequestMessage, StreamReader]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True)
class House:
    """What all connections share.

    Attributes:
        handle: Answers a request.
        bodies: Counts request bodies.
        turnstile: Counts connections, and knows whether the gateway is to stop.
        stall_seconds: How long a response may wait for its caller to take more of it.
        keepalive_seconds: How long an idle connection lives.
        new_id: Makes request ids, one gateway's own.
        connections: All that are open.
    """

    handle: Handler
    bodies: Bodies
    turnstile: Turnstile
    stall_seconds: float
    keepalive_seconds: float
    new_id: Callable[[], str]
    connections: "set[Connection]"


# A request that there is none of.
_NO_REQUEST = RawRequestMessage(
    "UNKNOWN", "/", HttpVersion10, CIMultiDictProxy(CIMultiDict()), (), True, None, False, False,
    URL("/"),
)  # fmt: skip


class Connection(Pipe):
    """One caller's connection: what is asked on it, answered in order.

    Faults that never became a call are answered in the one shape. A caller who leaves cancels what
    is done for it only where that was asked for (`cancel_if_left`): a call that Keepa may charge is
    carried to its end.

    Attributes:
        is_surplus: Whether there are too many connections for it to make calls.
        new_id: As of the house.
        request: What is answered now.
    """

    __slots__ = (
        "_ahead", "_body", "_came_at", "_farewell", "_half_closed", "_heads", "_house", "_is_last",
        "_lane", "_leaving_cancels", "_tail", "is_surplus", "new_id", "request",
    )  # fmt: skip

    def __init__(self, house: House) -> None:
        super().__init__(house.stall_seconds, house.keepalive_seconds)
        self.is_surplus = False
        self.new_id = house.new_id
        self.request: Request | None = None
        self._house = house
        self._lane = Lane(self._answered)
        self._heads = HeadWatch(house.turnstile, self._give_up_head)
        self._half_closed: HalfClosed | None = None
        self._ahead: deque[Request | Refusal] = deque()
        # Of the newest request.
        self._body: StreamReader = EMPTY_PAYLOAD
        self._came_at = 0.0
        # Behind a request that asked for another protocol, until that has been answered.
        self._tail: bytes | None = None
        self._is_last = False
        self._leaving_cancels = False
        self._farewell: asyncio.Future[None] | None = None

    # What a request, and who answers it, know of the connection.

    @property
    def is_answering(self) -> bool:
        """Whether a request is answered now."""
        return self._lane.is_busy

    @property
    def is_busy(self) -> bool:
        """Whether the caller waits for a response, or has yet to take all of it."""
        return self._lane.is_busy or self.has_left

    @property
    def has_next(self) -> bool:
        """Whether the caller has sent another request already."""
        return bool(self._ahead)

    @property
    def is_ending(self) -> bool:
        """Whether the response under way is the connection's last."""
        is_over = self._is_last or (self._half_closed is not None and not self._ahead)
        return is_over or self._house.turnstile.is_draining

    @property
    def may_be_spared(self) -> bool:
        """Whether something is spared where the caller has left."""
        return self._leaving_cancels or self.has_next

    def cancel_if_left(self) -> None:
        """From now on, a caller who leaves cancels what is done for it."""
        self._leaving_cancels = True

    def carry_on(self) -> None:
        """From now on, a caller who leaves changes nothing."""
        self._leaving_cancels = False

    def shut(self) -> None:
        """Close, whatever is under way: the gateway ends."""
        self._lane.cancel()
        self.close()

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the caller in; one beyond the bound gets a little time to be told so."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
        house, turnstile = self._house, self._house.turnstile
        house.connections.add(self)
        turnstile.inside += 1
        if turnstile.inside > turnstile.at_most + turnstile.surplus:
            self.abort()
        elif turnstile.inside > turnstile.at_most:
            self.is_surplus = True
            self._heads.wait(_FAREWELL_SECONDS)
        self.become_idle()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the caller out; cancel what is done for it, where that was asked for."""
        super().connection_lost(exc)
        self._house.connections.discard(self)
        self._house.turnstile.inside -= 1
        self._ahead.clear()
        self._heads.end()
        if self._half_closed:
            self._half_closed.end()
        if not self._body.is_eof():
            self._body.set_exception(ConnectionResetError("The caller has left"))
        if self._farewell and not self._farewell.done():
            self._farewell.set_result(None)
        if self._leaving_cancels:
            self._lane.cancel()

    def eof_received(self) -> bool:
        """Answer a caller who only ended its sending side; hang up on who waits for nothing."""
        if self._farewell or not self._lane.is_busy or not self._body.is_eof():
            return False
        if self._half_closed is None:
            self._heads.end()
            if not self._ahead:
                # The response under way is the last, even if its head has told otherwise.
                self._is_last = True
            self._half_closed = HalfClosed(self, self._came_at)
        return True

    def data_received(self, data: bytes) -> None:
        """Parse; bound heads, and what comes before its turn."""
        if self.is_deaf or self._is_last:
            return
        if self._tail is not None:
            self._tail += data
            if len(self._tail) > BUFFER_BYTES:
                self.hold()
            return
        before = self._body
        try:
            messages, is_upgrade, tail = self.requests.feed_data(data)
        except HttpProcessingError as fault:
            if not before.is_eof():
                before.set_exception(RequestPayloadError())
            self._refuse(refusal_of(fault), fault)
            return
        if is_upgrade:
            self._tail = tail
        if messages:
            self._take(messages, data)
        elif data and before.is_eof():
            refusal = self._heads.take(len(data))
            if refusal:
                self._refuse(refusal, refusal)

    # One request after the other.

    def _take(self, messages: Messages, data: bytes) -> None:
        """Answer a request whose head has come, where it is its turn."""
        self._heads.end()
        for message, self._body in messages:
            self._ahead.append(Request(message, self._body, self))
        self._came_at = self.clock.time()
        if data and self._body is EMPTY_PAYLOAD and not data.endswith(b"\r\n\r\n"):
            self._wait_for_head()
        if len(self._ahead) >= AHEAD:
            # The parser takes no more of them either.
            self.hold()
        if not self._lane.is_busy:
            self._begin_next()

    def _begin_next(self) -> None:
        following = self._ahead.popleft()
        self.has_responded = False
        self._leaving_cancels = False
        if isinstance(following, Refusal):
            self._lane.begin_in_task(self._turn_away(following))
            return
        self.request = following
        self.requests.message_consumed()
        self._lane.begin(self._answer(following))
        if self.is_held and self._lane.is_busy:
            self._release()

    async def _answer(self, request: Request) -> None:
        """Answer one request, whatever goes wrong; note where it is the connection's last."""
        response: Response | None
        try:
            check_head(request)
            response = await self._house.handle(request)
        except Refusal as refusal:
            response = turn_away(request, refusal)
            response.close_after()
        except Exception as fault:  # noqa: BLE001 - whatever it was, it is logged
            response = self._explain(request, fault)
        finally:
            self._house.bodies.release(request)
        if response is None:
            self._is_last = True
            return
        is_unread = not request.content.is_eof()
        if is_unread or self.is_surplus or request.method == "CONNECT":
            response.close_after()
        with suppress(ConnectionError):
            response.send(request)
            if not response.has_ended:
                response.end()
            if self.is_full:
                await self.drain()
            if is_unread:
                await self._linger(request)
        self._is_last = self._is_last or response.is_last
        if self._ahead and not self._is_last:
            # Requests sent in one go, and answered without a wait, would keep all others waiting.
            await asyncio.sleep(0)

    def _explain(self, request: Request, fault: Exception) -> Response | None:
        """Return the response to an unexpected error; None: nothing more can be sent."""
        if isinstance(fault, ConnectionError) and self.has_left:
            return None
        _log.error("unhandled", fault=type(fault).__name__, exc_info=fault)
        if self.has_responded:
            self.reset()
            return None
        response = turn_away(request, InternalError())
        response.close_after()
        return response

    def _answered(self, _: object, failure: BaseException | None) -> None:
        """Go on with the next request, or close."""
        self.request = None
        if failure is not None and not isinstance(failure, Exception | asyncio.CancelledError):
            raise failure
        if self.transport is None:
            return
        if failure is not None or self._is_last:
            self.close()
            return
        if self._ahead:
            self._begin_next()
            return
        if self._tail is not None:
            # The other protocol was not taken up: what stands behind the request is the next.
            self.requests.set_upgraded(False)
            tail, self._tail = self._tail, None
            self.data_received(tail)
        if self.is_held and not self._lane.is_busy:
            self._release()
        if self._lane.is_busy:
            return
        if self._ahead:
            self._begin_next()
        elif self._half_closed:
            self.close()
        else:
            self.become_idle()

    async def _turn_away(self, refusal: Refusal) -> None:
        """Answer what never became a request, and hear the caller out."""
        request = self.request = Request(_NO_REQUEST, EMPTY_PAYLOAD, self)
        response = turn_away(request, refusal)
        response.close_after()
        self._is_last = True
        with suppress(ConnectionError):
            response.send(request)
            await self._hear_out()

    async def _hear_out(self) -> None:
        """Drop what the caller still sends: else a reset overtakes its answer (RFC 9112, 9.6)."""
        if self.transport is None or self.transport.is_closing():
            return
        # A caller who has left already is none of our faults.
        with suppress(OSError):
            self.transport.write_eof()
        self.is_held = False
        self.transport.resume_reading()
        self._farewell = self.clock.create_future()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._farewell, _FAREWELL_SECONDS)

    async def _linger(self, request: Request) -> None:
        """Drop the rest of a body that nobody reads: else a reset overtakes the response."""
        await in_task()
        with suppress(TimeoutError, RequestPayloadError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while await request.content.readany():
                    pass

    # Bounds.

    def _refuse(self, refusal: Refusal, fault: Exception) -> None:
        """Answer what never became a request, after all before it."""
        if refusal is fault:
            _log.info("turned_away", reason=refusal.reason)
        else:
            _log.info("malformed_request", fault=type(fault).__name__)
        self._heads.end()
        # Nothing that follows can be told apart any more.
        self.is_deaf = True
        self._ahead.append(refusal)
        if not self._lane.is_busy:
            self._begin_next()

    def _wait_for_head(self) -> None:
        self._heads.wait(_FAREWELL_SECONDS if self.is_surplus else None)

    def _give_up_head(self) -> None:
        if self._lane.is_busy:
            self._wait_for_head()  # the response before has to go first
        elif self._heads.size or not self.is_surplus:
            refusal = TooSlow("The request did not arrive in time")
            self._refuse(refusal, refusal)
        else:
            self.close()

    def _release(self) -> None:
        """Take what was held back: first what the parser has of it."""
        self.is_held = False
        self.data_received(b"")
        if not self.is_held and not self.is_body_full and self.transport is not None:
            self.transport.resume_reading()
