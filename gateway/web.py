"""The gateway's own paths, and the door that every request comes through."""

import asyncio
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from gateway import __version__
from gateway.answers import refuse
from gateway.errors import (
    BadRequest,
    InternalError,
    LedgerUnavailable,
    Refusal,
    RefusedCall,
    Unauthorized,
    UriTooLong,
)
from gateway.headers import credentials_of, request_id
from gateway.intake import MAX_URL
from gateway.ledger import Ledger, Look
from gateway.metrics import Metrics
from gateway.observer import Observer
from gateway.proxy import Proxy

_log: Any = structlog.get_logger(__name__)
_JSON = "application/json"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
# Above what a call may have, so that the intake refuses a long URL and not the parser.
_MAX_LINE = MAX_URL + 8_192
# As long as callers and balancers commonly keep an idle connection.
_IDLE_SECONDS = 75
_SERVER = re.compile("python|aiohttp", re.IGNORECASE)


@dataclass(slots=True)
class Standing:
    """What `/readyz` and `/status` tell beside the ledger."""

    floor: int
    safety_buffer: int
    admin_token: str
    draining: bool = False


LEDGER = web.AppKey("ledger", Ledger)
METRICS = web.AppKey("metrics", Metrics)
OBSERVER = web.AppKey("observer", Observer)
PROXY = web.AppKey("proxy", Proxy)
STANDING = web.AppKey("standing", Standing)


def add_routes(app: web.Application) -> None:
    """Give the application its paths; every other one is a call for Keepa."""
    app.add_routes(
        [
            web.get("/healthz", tell_health),
            web.get("/readyz", tell_readiness),
            web.get("/status", tell_status),
            web.get("/metrics", tell_metrics),
            web.route("*", "/{call:.*}", handle_call),
        ]
    )
    app.on_response_prepare.append(drop_software_names)


async def handle_call(request: web.Request) -> web.StreamResponse:
    """A call for Keepa."""
    return await request.app[PROXY].handle(request)


async def tell_health(_: web.Request) -> web.Response:
    """Alive, whatever else is down."""
    return _answer({"status": "alive"})


async def tell_readiness(request: web.Request) -> web.Response:
    """Ready when the store answers and a balance is known; else 503 naming what is missing."""
    missing = []
    if request.app[STANDING].draining:
        missing.append("draining")
    try:
        await request.app[LEDGER].is_fresh()
    except LedgerUnavailable:
        missing.append("store")
    if not request.app[OBSERVER].knows:
        missing.append("balance")
    if missing:
        return _answer({"status": "not ready", "missing": missing}, status=503)
    return _answer({"status": "ready"})


async def tell_status(request: web.Request) -> web.Response:
    """The account at a glance."""
    denial = _check_admin(request)
    if denial:
        return denial
    try:
        look = await request.app[LEDGER].look()
    except LedgerUnavailable as refusal:
        return refuse(request, refusal, RefusedCall(request_id(request.headers)))
    standing = request.app[STANDING]
    return _answer(
        {
            "tokens": _tokens(look, standing),
            "services": {
                name: {
                    "used": usage.used,
                    "denied": usage.denied,
                    "reserved": usage.reserved,
                    "floor": standing.floor,
                }
                for name, usage in sorted(look.services.items())
            },
            "store": request.app[LEDGER].store.kind,
            "version": __version__,
        }
    )


async def tell_metrics(request: web.Request) -> web.Response:
    """What Prometheus scrapes; the ledger's gauges are read from the store now."""
    denial = _check_admin(request)
    if denial:
        return denial
    metrics = request.app[METRICS]
    try:
        metrics.show((await request.app[LEDGER].look()).balance)
    except LedgerUnavailable:
        metrics.show(None)
    return web.Response(body=metrics.expose(), headers={"Content-Type": _METRICS})


async def drop_software_names(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Leave out the Server header that aiohttp adds where Keepa sent none."""
    if _SERVER.match(response.headers.get("Server", "")):
        del response.headers["Server"]


class Door(web.RequestHandler):
    """One caller's connection; faults that never became a call are answered in the one shape."""

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


def open_door(runner: web.AppRunner) -> Callable[[], Door]:
    """Return what makes a `Door` for each connection to the application that `runner` runs."""
    loop = asyncio.get_running_loop()
    server = runner.server
    if server is None:
        raise RuntimeError("the runner is not set up")

    def make() -> Door:
        return Door(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # None is documented, not typed
            keepalive_timeout=_IDLE_SECONDS,
            auto_decompress=False,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
        )

    return make


def _tokens(look: Look, standing: Standing) -> dict[str, object]:
    balance = look.balance
    known = balance.known
    return {
        "remaining": balance.tokens if known else None,
        "reserved": balance.held,
        "available": balance.available if known else None,
        "floor": standing.floor,
        "safety_buffer": standing.safety_buffer,
        "capacity": balance.capacity,
        "refill_rate": balance.refill_rate,
        "refill_in_ms": balance.lump_in_ms if known else None,
        "refill_in_minutes": round(balance.lump_in_ms / 60_000, 2) if known else None,
        "flow_reduction": balance.flow_reduction,
        "observed_seconds_ago": round(balance.observed_ms_ago / 1000, 1) if known else None,
        "total_used": look.used,
        "requests_made": look.requests,
    }


def _check_admin(request: web.Request) -> web.Response | None:
    token = request.app[STANDING].admin_token
    if not token:
        return None
    for credential in credentials_of(request.headers):
        if hmac.compare_digest(credential.encode(), token.encode()):
            return None
    return refuse(request, Unauthorized(), RefusedCall(request_id(request.headers)))


def _answer(body: dict[str, object], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), headers={"Content-Type": _JSON})
