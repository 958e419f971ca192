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
from gateway.front.answers import refuse
from gateway.front.bodies import MAX_BODY, Bodies
from gateway.front.door import Door, door_of, request_id
from gateway.front.facts import Facts
from gateway.front.heads import check_head
from gateway.front.reply import Reply
from gateway.front.targets import origin_form
from gateway.front.turnstile import Turnstile

Answer = Callable[[web.BaseRequest], Awaitable[Reply]]


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


class Request(web.BaseRequest):
    """One request; its target is a path and a query, whichever way the caller wrote it."""

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays after the answer."""
        return not self._message.should_close and not door_of(self).is_ending


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
        target = origin_form(message.path)
        if target is not message.path:
            message = message._replace(path=target)
        return Request(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY)

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
            reply = refuse(request, refusal, Facts(request_id(request)))
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
