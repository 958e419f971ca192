"""Answers the dashboard's paths."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import parse_qs

import orjson
import structlog
from aiohttp import web

from gateway.answers import refuse
from gateway.dashboard.assets import GUARDS, read_asset, serve_asset, serve_page
from gateway.dashboard.sessions import Sessions
from gateway.door import cancel_if_left, door_of
from gateway.errors import MethodNotAllowed, Overloaded, Refusal, TooLarge, TooSlow, Unauthorized
from gateway.facts import Facts
from gateway.feed import Feed
from gateway.headers import request_id
from gateway.reply import Reply

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_ASSETS = (
    "dashboard.css", "dashboard.js", "charts.js", "tables.js", "icon.png", "uplot.css", "uplot.js",
    "uplot.LICENSE.txt",
)  # fmt: skip
_FORM_BYTES = 4096
_FORM_SECONDS = 10.0
# A wrong token is answered so late, to so many at a time: four guesses a second at most.
_WRONG_SECONDS = 1.0
_WRONG_AT_MOST = 4
# A day, for whoever has no session that ends.
_LONGEST_SECONDS = 24 * 3600.0
_BEARER = {"WWW-Authenticate": 'Bearer realm="keepa-gateway"'}
_STREAM = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    # nginx would keep back what is smaller than its buffer.
    "X-Accel-Buffering": "no",
    **GUARDS,
}
# How soon a browser comes again by itself, milliseconds.
_AGAIN_MS = 2000

Answer = Callable[[web.BaseRequest], Awaitable[Reply]]


class _OtherMethod(MethodNotAllowed):
    """The page, its parts and its stream are read only."""

    message = "The dashboard's paths take GET; /dashboard/login and /dashboard/logout take POST"


class Dashboard:
    """Serves the page, its stream, and the way in."""

    def __init__(self, feed: Feed, admin_token: str) -> None:
        self.feed = feed
        self._sessions = Sessions(admin_token)
        self._page = read_asset("dashboard.html")
        self._login = read_asset("login.html")
        self._wrong = read_asset("wrong.html")
        self._assets = {f"/dashboard/{name}": read_asset(name) for name in _ASSETS}
        self._posts: dict[str, Answer] = {
            "/dashboard/login": self._log_in,
            "/dashboard/logout": self._log_out,
        }
        self._guessing = 0

    @property
    def paths(self) -> dict[str, Answer]:
        """What is answered here, by path."""
        names = ("/dashboard", "/dashboard/", "/dashboard/events", *self._posts, *self._assets)
        return dict.fromkeys(names, self.answer)

    async def answer(self, request: web.BaseRequest) -> Reply:
        """Answer a request for one of the dashboard's paths."""
        path = request.raw_path.partition("?")[0]
        try:
            if path in self._posts and request.method == "POST":
                # Of a form on another site's page nothing comes.
                return await self._posts[path](request) if _is_ours(request) else _go_to_page()
            if request.method not in {"GET", "HEAD"}:
                raise _OtherMethod
            return await self._show(request, path)
        except Refusal as refusal:
            reply = refuse(request, refusal, Facts(request_id(request.headers)))
            reply.fields = {**reply.fields, "Cache-Control": "no-store", **GUARDS}
            return reply

    async def _show(self, request: web.BaseRequest, path: str) -> Reply:
        if path == "/dashboard/events":
            return await self._stream(request)
        if path in self._assets:
            return serve_asset(request, self._assets[path])
        if path != "/dashboard":
            return _go_to_page()
        if self._sessions.end_of(request) is None:
            return serve_page(request, self._login, 401, _BEARER)
        return serve_page(request, self._page, 200, {})

    async def _stream(self, request: web.BaseRequest) -> Reply:
        """Send the account's state, each second, until the reader leaves or the session ends."""
        ends_at = self._sessions.end_of(request)
        if ends_at is None:
            raise Unauthorized
        if request.method == "HEAD":
            # A page whose stream was refused asks whether it may look.
            return Reply(200, _STREAM, b"")
        if door_of(request).is_surplus:
            # It would keep a place that calls have to share.
            raise Overloaded("Too many connections are open for one more dashboard")
        watcher = self.feed.open(partial(_abort, request))
        reply = Reply(200, _STREAM, None)
        reply.force_close()
        cancel_if_left(request)
        try:
            await reply.prepare(request)
            await reply.write(_write_opening(ends_at))
            async with asyncio.timeout(min(ends_at - time.time(), _LONGEST_SECONDS)):
                await watcher.receive(reply.write)
        except (TimeoutError, ConnectionError):
            # Its session has ended, or its reader has left.
            pass
        finally:
            self.feed.close(watcher)
        return reply

    async def _log_in(self, request: web.BaseRequest) -> Reply:
        """Give whoever knows the token a cookie, and lead it to the page."""
        if not self._sessions.are_needed:
            return _go_to_page()
        token = await _read_token(request)
        if self._guessing >= _WRONG_AT_MOST:
            return serve_page(request, self._wrong, 429, {"Retry-After": "2"})
        if not self._sessions.knows(token):
            _log.warning("dashboard_login_failed", address=request.remote)
            self._guessing += 1
            try:
                await asyncio.sleep(_WRONG_SECONDS)
            finally:
                self._guessing -= 1
            return serve_page(request, self._wrong, 401, _BEARER)
        return _go_to_page(self._sessions.begin(is_secure=_is_secure(request)))

    async def _log_out(self, request: web.BaseRequest) -> Reply:
        return _go_to_page(self._sessions.finish(is_secure=_is_secure(request)))


def _go_to_page(cookie: str = "") -> Reply:
    # Relative, so that it holds behind whatever path a proxy has put the gateway.
    fields = {"Location": "../dashboard", "Cache-Control": "no-store", **GUARDS}
    if cookie:
        fields["Set-Cookie"] = cookie
    return Reply(303, fields, b"")


def _write_opening(ends_at: float) -> bytes:
    """Return the stream's first event: until when it may be read; null: no session, no end."""
    ends = None if ends_at == math.inf else ends_at
    session = orjson.dumps({"ends": ends})
    return b"retry: %d\nevent: session\ndata: %b\n\n" % (_AGAIN_MS, session)


def _is_ours(request: web.BaseRequest) -> bool:
    """Say whether a form was sent from the page itself, as far as the browser tells."""
    return request.headers.get("Sec-Fetch-Site", "none") in {"same-origin", "none"}


def _is_secure(request: web.BaseRequest) -> bool:
    """Say whether the browser spoke https, to whoever stands in front of the gateway."""
    return request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip() == "https"


async def _read_token(request: web.BaseRequest) -> bytes:
    """Return what the login form's field holds.

    Raises:
        TooLarge, TooSlow: No form of ours.
    """
    body = b""
    try:
        async with asyncio.timeout(_FORM_SECONDS):
            while piece := await request.content.readany():
                body += piece
                if len(body) > _FORM_BYTES:
                    raise TooLarge("The login form is larger than 4 KiB")
    except TimeoutError:
        raise TooSlow from None
    fields = parse_qs(body.decode("latin-1"), encoding="utf-8", errors="surrogateescape")
    return fields.get("token", [""])[0].encode("utf-8", "surrogateescape")


def _abort(request: web.BaseRequest) -> None:
    if request.transport:
        request.transport.abort()
