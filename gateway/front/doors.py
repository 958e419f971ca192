"""Every caller's connection, and what no request on it gets past."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage

from gateway.errors import Refusal
from gateway.front.bodies import MAX_BODY, Bodies
from gateway.front.door import Door
from gateway.front.heads import check_head
from gateway.front.own_responses import turn_away
from gateway.front.request import Request
from gateway.front.response import Response
from gateway.front.targets import origin_form
from gateway.front.turnstile import Turnstile

Handler = Callable[[Request], Awaitable[Response]]


_LOOK_AGAIN_SECONDS = 0.02


def open_doors(
    server: web.Server,
    turnstile: Turnstile,
    stall_seconds: float,
    keepalive_seconds: float,
    new_id: Callable[[], str],
) -> Callable[[], Door]:
    """Return what makes a `Door` for each connection to `server`."""
    return lambda: Door(server, turnstile, stall_seconds, keepalive_seconds, new_id)


async def last_answers(server: web.Server, at_most_seconds: float) -> None:
    """Wait until no caller waits for an answer any more; idle connections are left open."""
    with suppress(TimeoutError):
        async with asyncio.timeout(at_most_seconds):
            # aiohttp does not tell when a connection becomes idle.
            while any(cast("Door", door).is_busy for door in server.connections):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def make_server(handle: Handler) -> web.Server:
    """Return what hands the requests of all connections to `handle`."""
    # Requests are made by `_request_maker`.
    return web.Server(handle, request_factory=_request_maker())  # type: ignore[arg-type]


def _request_maker() -> Callable[..., Request]:
    """Return what makes requests that may have the largest body a call may have."""
    loop = asyncio.get_running_loop()

    def make(
        message: RawRequestMessage,
        payload: aiohttp.StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> Request:
        target = origin_form(message.path)
        if target is not message.path:
            message = message._replace(path=target)
        return Request(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY)

    return make


def guard(handle: Handler, bodies: Bodies) -> Handler:
    """Return `handle` behind what no request gets past; a doubtful connection is closed after it.

    Doubtful: its framing, a tunnel that was not opened, a body still to come when the response is
    there already; and a connection beyond the bound.
    """

    async def handle_guarded(request: Request) -> Response:
        try:
            check_head(request)
            response = await handle(request)
        except Refusal as refusal:
            response = turn_away(request, refusal)
            response.force_close()
        finally:
            bodies.release(request)
        door = cast("Door", request.connection)
        is_doubtful = request.method == "CONNECT" or not request.content.is_eof()
        if is_doubtful or door.is_surplus:
            response.force_close()
        if door.has_next:
            # Requests sent in one go, and answered without a wait, would keep all others waiting.
            await asyncio.sleep(0)
        return response

    return handle_guarded
