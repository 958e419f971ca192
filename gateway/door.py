"""Every caller's connection: malformed requests, faults of our own, callers who leave."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import SERVER_SOFTWARE
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

    __slots__ = ("on_leave",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.on_leave: Callable[[], object] | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let the one who asked know that the caller has left."""
        super().connection_lost(exc)
        if self.on_leave:
            self.on_leave()

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


class Request(web.BaseRequest):
    """One request; its answer has the headers it was given and no more than Date beside them."""

    untyped = False
    """Whether Keepa's answer to it came without a Content-Type."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        """Take back what aiohttp adds by itself; a test guards this hook without a public name."""
        if response.headers.get("Server") == SERVER_SOFTWARE:
            del response.headers["Server"]
        if self.untyped:
            response.headers.popall("Content-Type", None)


def request_maker() -> Callable[..., Request]:
    """Return what makes requests that may have the largest body a call may have."""
    loop = asyncio.get_running_loop()

    def make(
        message: RawRequestMessage,
        payload: aiohttp.StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> Request:
        return Request(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY)

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


def cancel_if_left(request: Request) -> None:
    """From now on, cancel the current task when the caller leaves."""
    _door_of(request).on_leave = _current_task().cancel


def carry_on(request: Request) -> None:
    """From now on, a caller who leaves changes nothing."""
    _door_of(request).on_leave = None


def _door_of(request: Request) -> Door:
    door = request.protocol
    if not isinstance(door, Door):
        raise TypeError("callers come through a Door")
    return door


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("no task is running")
    return task
