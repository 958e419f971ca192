"""The gateway's own paths; every other path is a call for Keepa."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import orjson

from gateway.call.observer import Observer
from gateway.call.proxy import Proxy
from gateway.call.quotes import Quotes
from gateway.errors import LedgerUnavailable, ReadOnly, Refusal
from gateway.front.own_responses import turn_away
from gateway.front.request import Request
from gateway.front.response import Response
from gateway.front.turnstile import Turnstile
from gateway.lane import in_task
from gateway.ledger import Ledger, Queue
from gateway.metrics import Metrics
from gateway.views.admin import Admin
from gateway.views.dashboard import Dashboard
from gateway.views.status import Status
from gateway.views.usage import UsagePage

_JSON = "application/json"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


Handler = Callable[[Request], Awaitable[Response]]


class Site:
    """Routes every request: the gateway's own paths by name, all others as calls for Keepa.

    A dictionary instead of aiohttp's Application, whose routing takes longer than pricing a call.
    """

    def __init__(
        self,
        *,
        proxy: Proxy,
        quotes: Quotes,
        usage: UsagePage,
        ledger: Ledger,
        queue: Queue,
        observer: Observer,
        metrics: Metrics,
        dashboard: Dashboard,
        status: Status,
        admin: Admin,
        turnstile: Turnstile,
    ) -> None:
        self.queue = queue
        self.dashboard = dashboard
        self._proxy = proxy
        self._quotes = quotes
        self._ledger = ledger
        self._observer = observer
        self._metrics = metrics
        self._status = status
        self._admin = admin
        self._turnstile = turnstile
        self._own: dict[str, Handler] = {
            "/": self.redirect_browser,
            "/healthz": self.show_health,
            "/readyz": self.show_readiness,
            "/status": partial(self._show_to_admin, self.show_status),
            "/metrics": partial(self._show_to_admin, self.show_metrics),
            "/usage": partial(self._show_to_admin, usage.answer),
            "/quote": self._quotes.answer,
            **dashboard.paths,
        }
        # The handlers of these paths look at the method themselves.
        self._any_method = frozenset({"/", "/quote", *dashboard.paths})

    def answer(self, request: Request) -> Coroutine[Any, Any, Response]:
        """Respond to one request."""
        path = request.raw_path.partition("?")[0]
        own = self._own.get(path)
        if own is None:
            return self._proxy.handle(request)
        if request.method not in {"GET", "HEAD"} and path not in self._any_method:
            return _refuse_method(request)
        return _in_task(own(request))

    async def redirect_browser(self, request: Request) -> Response:
        """Redirect a browser to the dashboard; for programs `/` is no path of ours."""
        is_browser = "text/html" in request.headers.get("Accept", "")
        if is_browser and request.method in {"GET", "HEAD"}:
            # Relative, so that it holds below any path that a proxy gives the gateway.
            return Response(303, {"Location": "dashboard", "Cache-Control": "no-store"}, b"")
        return await self._proxy.handle(request)

    async def show_health(self, _: Request) -> Response:
        """Alive, whatever else is down."""
        return _answer({"status": "alive"})

    async def show_readiness(self, _: Request) -> Response:
        """200 when the store answers and a balance is known; else a 503 naming what is missing."""
        missing = []
        if self._turnstile.is_draining:
            missing.append("draining")
        try:
            await self._ledger.is_fresh()
        except LedgerUnavailable:
            missing.append("store")
        if not self._observer.knows:
            missing.append("balance")
        if missing:
            return _answer({"status": "not ready", "missing": missing}, status=503)
        return _answer({"status": "ready"})

    async def _show_to_admin(self, handler: Handler, request: Request) -> Response:
        """Respond with what only the bearer of ADMIN_TOKEN may see, where it is set."""
        try:
            await self._admin.check(request)
            return await handler(request)
        except Refusal as refusal:
            return turn_away(request, refusal)

    async def show_status(self, _: Request) -> Response:
        """The account at a glance.

        Raises:
            LedgerUnavailable: The store does not answer.
        """
        return _answer(self._status.describe(await self._ledger.overview()))

    async def show_metrics(self, _: Request) -> Response:
        """The metrics for Prometheus; the ledger's gauges are read from the store now."""
        try:
            overview = await self._ledger.overview()
            waiting = sum(service.waiting for service in overview.services.values())
            self._metrics.show(overview.balance, waiting)
        except LedgerUnavailable:
            self._metrics.show(None)
        # In a thread: with many services the page takes a tenth of a second to write.
        page = await asyncio.to_thread(self._metrics.expose)
        return Response(200, {"Content-Type": _METRICS}, page)


async def _in_task(answer: Awaitable[Response]) -> Response:
    """Give a task to what is no call, and may wait as it likes."""
    await in_task()
    return await answer


async def _refuse_method(request: Request) -> Response:
    return turn_away(request, ReadOnly())


def _answer(body: dict[str, object], status: int = 200) -> Response:
    return Response(status, {"Content-Type": _JSON}, orjson.dumps(body))
