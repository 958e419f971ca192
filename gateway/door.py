"""Every caller's connection: malformed requests, faults of our own, callers who leave."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage

from gateway.answers import refuse
from gateway.errors import BadRequest, InternalError, Refusal, RefusedCall, UriTooLong
from gateway.headers import request_id

# Of a request; longer ones are refused.
MAX_BODY = 16 * 1024 * 1024

_log: Any = structlog.get_logger(__name__)
# Above the longest URL that a call may have, so that the intake refuses it and not the parser.
_MAX_LINE = 136 * 1024
# As long as callers and balancers commonly keep an idle connection.
_IDLE_SECONDS = 75


class Door(web.RequestHandler):
    """One caller's connection.

    Faults that never became a call are answered in the one shape. A caller who leaves cancels what
    is done for it only where that was asked for (`cancel_if_left`): a call that Keepa may charge is
    carried to its end.
    """

    __slots__ = ("leaving_cancels",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.leaving_cancels = False

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel what is done for the caller, where that was asked for."""
        # aiohttp awaits the answer in this task, so that cancelling one cancels the other.
        task = self._task_handler
        super().connection_lost(exc)
        if self.leaving_cancels and task is not None:
            task.cancel()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's text quotes the request line
    ) -> web.StreamResponse:
        """Answer a malformed request, or a fault of our own; aiohttp's own texts have the URL."""
        refusal: Refusal
        if status == BadRequest.status:
            refusal = UriTooLong() if isinstance(exc, LineTooLong) else BadRequest()
            _log.info("malformed_request", fault=type(exc).__name__)
        else:
            refusal = InternalError()
            _log.error("unhandled", fault=type(exc).__name__, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError
        response = refuse(request, refusal, RefusedCall(request_id(request.headers)))
        response.force_close()
        return response


def request_maker() -> Callable[..., web.BaseRequest]:
    """Return what makes requests that may have the largest body a call may have."""
    loop = asyncio.get_running_loop()

    def make(
        message: RawRequestMessage,
        payload: aiohttp.StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY
        )

    return make


def open_doors(server: web.Server) -> Callable[[], Door]:
    """Return what makes a `Door` for each connection to `server`."""
    loop = asyncio.get_running_loop()

    def make() -> Door:
        return Door(
            server,
            loop=loop,
            access_log=None,
            keepalive_timeout=_IDLE_SECONDS,
            auto_decompress=False,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
        )

    return make


def cancel_if_left(request: web.BaseRequest) -> None:
    """From now on, a caller who leaves cancels what is done for it."""
    _door_of(request).leaving_cancels = True


def carry_on(request: web.BaseRequest) -> None:
    """From now on, a caller who leaves changes nothing."""
    _door_of(request).leaving_cancels = False


def _door_of(request: web.BaseRequest) -> Door:
    door = request.protocol
    if not isinstance(door, Door):
        raise TypeError("callers come through a Door")
    return door
