"""The dashboard's paths."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar
from urllib.parse import parse_qs

import orjson

from gateway.balance import HOUR_SECONDS
from gateway.errors import (
    NotAdmin,
    Overloaded,
    ReadOnly,
    Refusal,
    TooLarge,
    TooManyGuesses,
    TooSlow,
)
from gateway.front.own_responses import turn_away
from gateway.front.request import Request
from gateway.front.response import Response
from gateway.views.admin import Admin
from gateway.views.dashboard.assets import (
    GUARDS,
    read_asset,
    read_login_page,
    serve_asset,
    serve_page,
)
from gateway.views.dashboard.live import LiveView
from gateway.views.dashboard.sessions import Sessions

_ASSETS = (
    "dashboard.css", "dashboard.js", "charts.js", "tables.js", "icon.png", "uplot.css", "uplot.js",
    "uplot.LICENSE.txt",
)  # fmt: skip
_FORM_BYTES = 4096
_FORM_SECONDS = 10.0
# Of a stream without a session that ends: a day.
_LONGEST_SECONDS = 24.0 * HOUR_SECONDS
_BEARER = {"WWW-Authenticate": 'Bearer realm="keepa-gateway"'}
_STREAM = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    # nginx would keep back what is smaller than its buffer.
    "X-Accel-Buffering": "no",
    **GUARDS,
}
# After which a browser reconnects by itself, milliseconds.
_AGAIN_MS = 2000

Answer = Callable[[Request], Awaitable[Response]]


class _FormOnly(ReadOnly):
    """The paths that log in and out take a POST; a GET is redirected to the page."""

    message = "This path takes the dashboard's form, by POST"
    headers: ClassVar[dict[str, str]] = {"Allow": "GET, HEAD, POST"}


class Dashboard:
    """Serves the page, its event stream, login and logout."""

    def __init__(self, live: LiveView, admin: Admin, sessions: Sessions) -> None:
        self.live = live
        self._admin = admin
        self._sessions = sessions
        self._page = read_asset("dashboard.html")
        self._login = read_login_page(is_wrong=False)
        self._wrong = read_login_page(is_wrong=True)
        self._assets = {f"/dashboard/{name}": read_asset(name) for name in _ASSETS}
        self._posts: dict[str, Answer] = {
            "/dashboard/login": self._log_in,
            "/dashboard/logout": self._log_out,
        }

    @property
    def paths(self) -> dict[str, Answer]:
        """The handler of each path."""
        names = ("/dashboard", "/dashboard/", "/dashboard/events", *self._posts, *self._assets)
        return dict.fromkeys(names, self.answer)

    async def answer(self, request: Request) -> Response:
        """Respond to a request for one of the dashboard's paths."""
        path = request.raw_path.partition("?")[0]
        try:
            if path in self._posts and request.method == "POST":
                # A form on another site's page has no effect.
                return await self._posts[path](request) if _is_ours(request) else _go_to_page()
            if request.method not in {"GET", "HEAD"}:
                raise _FormOnly if path in self._posts else ReadOnly
            return await self._show(request, path)
        except Refusal as refusal:
            response = turn_away(request, refusal)
            response.fields = {**response.fields, "Cache-Control": "no-store", **GUARDS}
            return response

    async def _show(self, request: Request, path: str) -> Response:
        if path == "/dashboard/events":
            return await self._stream(request)
        if path in self._assets:
            return serve_asset(request, self._assets[path])
        if path != "/dashboard":
            return _go_to_page()
        try:
            if await self._end_of(request) is not None:
                return serve_page(request, self._page, 200, {})
        except TooManyGuesses as refusal:
            return serve_page(request, self._login, refusal.status, {"Retry-After": "2"})
        except NotAdmin:
            pass
        return serve_page(request, self._login, 401, _BEARER)

    async def _end_of(self, request: Request) -> float | None:
        """Return when the caller's access ends, seconds since 1970; None: it has none.

        Raises:
            NotAdmin, TooManyGuesses: It shows a wrong token.
        """
        if not self._admin.is_needed:
            return math.inf
        # Beside its cookie a browser may send the Basic password of a proxy in front.
        end = self._sessions.end_of(request)
        if end is None and await self._admin.is_shown(request):
            end = math.inf
        return end

    async def _stream(self, request: Request) -> Response:
        """Send the account's state each second until the browser leaves or the session ends."""
        ends_at = await self._end_of(request)
        if ends_at is None:
            raise NotAdmin
        if request.method == "HEAD":
            # A page whose stream was refused checks whether its session has ended.
            return Response(200, _STREAM, b"")
        if request.connection.is_surplus:
            # The stream would occupy a connection that calls need.
            raise Overloaded("Too many connections are open for one more dashboard")
        watcher = self.live.open(request.connection.abort)
        response = Response(200, _STREAM, None)
        response.close_after()
        request.connection.cancel_if_left()
        try:
            response.send(request)
            await response.write(_write_opening(ends_at))
            async with asyncio.timeout(min(ends_at - time.time(), _LONGEST_SECONDS)):
                await watcher.receive(response.write)
        except (TimeoutError, ConnectionError):
            # The session has ended, or the browser has left.
            pass
        finally:
            self.live.close(watcher)
        return response

    async def _log_in(self, request: Request) -> Response:
        """Set a session cookie where the token is right, and redirect to the page."""
        if not self._admin.is_needed:
            return _go_to_page()
        if not self._admin.knows(await _read_token(request)):
            refusal = await self._admin.refuse(request)
            extra = dict(refusal.headers)
            if refusal.retry_after_seconds is not None:
                extra["Retry-After"] = str(refusal.retry_after_seconds)
            return serve_page(request, self._wrong, refusal.status, extra)
        return _go_to_page(self._sessions.begin(is_secure=_is_secure(request)))

    async def _log_out(self, request: Request) -> Response:
        return _go_to_page(self._sessions.finish(is_secure=_is_secure(request)))


def _go_to_page(cookie: str = "") -> Response:
    # Relative, so that it holds below any path that a proxy gives the gateway.
    fields = {"Location": "../dashboard", "Cache-Control": "no-store", **GUARDS}
    if cookie:
        fields["Set-Cookie"] = cookie
    return Response(303, fields, b"")


def _write_opening(ends_at: float) -> bytes:
    """Return the stream's first event: when the session ends; null: there is none."""
    ends = None if ends_at == math.inf else ends_at
    session = orjson.dumps({"ends": ends})
    return b"retry: %d\nevent: session\ndata: %b\n\n" % (_AGAIN_MS, session)


def _is_ours(request: Request) -> bool:
    """Say whether a form was sent from our own page, as far as the browser says."""
    return request.headers.get("Sec-Fetch-Site", "none") in {"same-origin", "none"}


def _is_secure(request: Request) -> bool:
    """Say whether the browser used https, to a proxy in front of the gateway."""
    return request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip() == "https"


async def _read_token(request: Request) -> str:
    """Return what the login form's field holds.

    Raises:
        TooLarge, TooSlow: It is not our form.
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
    return fields.get("token", [""])[0].strip()
