"""Every caller's connection, and what no request on it gets past."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage

from gateway.answers import refuse
from gateway.bodies import MAX_BODY, Bodies
from gateway.door import Door, door_of
from gateway.errors import Refusal
from gateway.facts import Facts
from gateway.headers import request_id
from gateway.heads import check_head
from gateway.reply import Reply
from gateway.turnstile import Turnstile

Answer = Callable[[web.BaseRequest], Awaitable[Reply]]


def open_doors(
    server: web.Server, turnstile: Turnstile, stall_seconds: float
) -> Callable[[], Door]:
    """Return what makes a `Door` for each connection to `server`."""
    return lambda: Door(server, turnstile, stall_seconds)


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


def guard(answer: Answer, bodies: Bodies) -> Answer:
    """Return `answer` behind what no request gets past; a doubtful connection is closed after it.

    Doubtful: its framing, a tunnel that was not opened, a body still to come when the answer is
    there already; and a connection beyond the bound.
    """

    async def answer_guarded(request: web.BaseRequest) -> Reply:
        try:
            check_head(request)
            reply = await answer(request)
        except Refusal as refusal:
            reply = refuse(request, refusal, Facts(request_id(request.headers)))
            reply.force_close()
        finally:
            bodies.release(request)
        door = door_of(request)
        is_doubtful = request.method == "CONNECT" or not request.content.is_eof()
        if is_doubtful or door.is_surplus:
            reply.force_close()
        if door.has_next:
            # Requests sent in one go, and answered without a wait, would keep all others waiting.
            await asyncio.sleep(0)
        return reply

    return answer_guarded
