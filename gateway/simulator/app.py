"""The simulated Keepa as a web application; a newcomer to the simulator begins here.

A call is received, charged at once (as Keepa does: the tokens are gone before the work begins),
worked on for the latency, and answered with the token fields as they are when the answer's head is
built. So answers overtake each other and tell of balances that later calls have already drawn on.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable

from aiohttp import hdrs, web

from gateway.simulator.account import WRONG_KEY, Account, Received, Reply
from gateway.simulator.answers import describe_error, draw_picture
from gateway.simulator.config import SimulatorConfig
from gateway.simulator.control import ACCOUNT, add_control, refuse
from gateway.simulator.delivery import (
    HTML,
    JSON,
    Message,
    accepts_gzip,
    hang_up,
    send,
    send_cut,
    send_slowly,
)
from gateway.simulator.fields import compose
from gateway.simulator.steering import UNCHARGED, Fault, Steering, read_steering

LARGEST_BODY = 32 * 1024 * 1024
NO_BODY_SHA256 = hashlib.sha256().hexdigest()
OK = 200
PAGE = b"<html><head><title>Error</title></head><body><h1>Please try again later</h1></body></html>"
SERVER_ERROR = Reply(500, describe_error("serverError", "something went wrong"))
INTERNAL_ERROR = describe_error("internalError", "the request could not be processed")
KEEPA_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_POST})

DROPS = frozenset({Fault.DROP, Fault.CHARGE_AND_DROP})
CUTS = frozenset({Fault.CUT_BODY, Fault.CUT_BODY_EARLY, Fault.CUT_BODY_LATE})
PAGES = {Fault.HTML_503: 503, Fault.CHARGE_THEN_HTML: 500}
AFTER_A_CHARGE = frozenset({Fault.CHARGE_AND_DROP, Fault.CHARGE_THEN_HTML, Fault.ERROR_IN_200})
"""Faults that take the place of what was paid for; a call that is refused is just refused."""


def create_simulator(
    config: SimulatorConfig, clock: Callable[[], float] = time.time
) -> web.Application:
    """Create the application.

    Run it with a `max_line_size` that finder selections in a GET fit in and with
    `auto_decompress=False`, or let `start_simulator` do so.

    Args:
        config: the account it simulates.
        clock: the time in seconds since 1970; tests bring their own.
    """
    app = web.Application(client_max_size=LARGEST_BODY)
    app[ACCOUNT] = Account(config, clock)
    app.on_response_prepare.append(_sign)
    add_control(app)
    app.router.add_route(hdrs.METH_ANY, "/{path:.*}", answer_call)
    return app


async def _sign(_request: web.Request, response: web.StreamResponse) -> None:
    """Say in each answer that no real Keepa gave it."""
    response.headers[hdrs.SERVER] = "keepa-simulator"


async def answer_call(request: web.Request) -> web.StreamResponse:
    """Answer any call but the control paths, as Keepa would or as its headers steer it."""
    account = request.app[ACCOUNT]
    account.in_flight += 1
    try:
        return await _answer_call(request, account)
    finally:
        account.in_flight -= 1


async def _answer_call(request: web.Request, account: Account) -> web.StreamResponse:
    if request.method not in KEEPA_METHODS:
        raise web.HTTPMethodNotAllowed(request.method, KEEPA_METHODS)
    try:
        steering = read_steering(request.headers)
    except ValueError as problem:
        raise refuse(str(problem)) from None
    body = await request.read() if request.body_exists else b""
    received_ms = account.now_ms()
    path, _, query = request.raw_path.partition("?")
    endpoint = path.removeprefix("/").removesuffix("/")
    account.note(endpoint, _note_down(request, body))
    fault = account.choose_fault(steering.fault)
    if fault in UNCHARGED:
        reply = WRONG_KEY if fault is Fault.ALL_ZERO else SERVER_ERROR
    else:
        reply = account.run(endpoint, query, body, steering.padding, steering.odd)
        if reply.status != OK and fault in AFTER_A_CHARGE:
            fault = None
    await _work(account, steering, fault)
    if fault in DROPS:
        return hang_up(request)
    message = _build_message(request, reply, fault, steering, received_ms)
    if fault in CUTS:
        return await send_cut(request, message, fault)
    if fault is Fault.SLOW_BODY:
        return await send_slowly(request, message, steering.slow_seconds)
    return await send(request, message)


def _note_down(request: web.Request, body: bytes) -> Received:
    digest = hashlib.sha256(body).hexdigest() if body else NO_BODY_SHA256
    return Received(request.method, request.raw_path, request.raw_headers, len(body), digest)


async def _work(account: Account, steering: Steering, fault: Fault | None) -> None:
    """Take the time that Keepa's work takes."""
    seconds = steering.latency_seconds
    if seconds is None:
        seconds = account.config.latency_seconds
    if fault is Fault.SLOW_HEAD:
        seconds += steering.slow_seconds
    if seconds:
        await asyncio.sleep(seconds)


def _build_message(
    request: web.Request,
    reply: Reply,
    fault: Fault | None,
    steering: Steering,
    received_ms: int,
) -> Message:
    """Build the answer as things are now."""
    if fault in PAGES:
        return Message(PAGES[fault], HTML, [PAGE])
    if fault is Fault.EMPTY_502:
        return Message(502, HTML, [])
    data = INTERNAL_ERROR if fault is Fault.ERROR_IN_200 else reply.data
    if data is None:
        return Message(reply.status, "image/png", [draw_picture()])
    account = request.app[ACCOUNT]
    order = account.choose_order(steering.order)
    parts, fields_at = compose(data, account.read_fields(reply, received_ms), order)
    gzip = accepts_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, ""))
    return Message(reply.status, JSON, parts, fields_at, gzip)
