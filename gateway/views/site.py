"""The gateway's own paths; every other one is a call for Keepa."""

import asyncio
from collections.abc import Awaitable, Collection
from dataclasses import dataclass

import orjson

from gateway import __version__
from gateway.call.allowances import Allowances
from gateway.call.observer import Observer
from gateway.call.proxy import Proxy
from gateway.call.quotes import Quotes
from gateway.errors import LedgerUnavailable, ReadOnly, Refusal
from gateway.front.own_responses import turn_away
from gateway.front.request import Request
from gateway.front.response import Response
from gateway.front.turnstile import Turnstile
from gateway.keepa.breaker import Breaker
from gateway.ledger import Ledger, Queue
from gateway.metrics import Metrics
from gateway.views.admin import Admin
from gateway.views.dashboard import Dashboard
from gateway.views.status import (
    Thresholds,
    describe_request_rate,
    describe_services,
    describe_tokens,
)
from gateway.views.usage import UsagePage

_JSON = "application/json"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Standing:
    """What `/status` tells beside the ledger."""

    thresholds: Thresholds
    services: Collection[str]
    """Those that have a policy of their own."""
    enforces: bool


class Site:
    """Answers every request: the gateway's own paths by name, all others as calls for Keepa.

    A plain look-up instead of aiohttp's Application: its routing costs a call more than the look at
    its price does.
    """

    def __init__(
        self,
        *,
        proxy: Proxy,
        quotes: Quotes,
        usage: UsagePage,
        ledger: Ledger,
        queue: Queue,
        allowances: Allowances,
        observer: Observer,
        breaker: Breaker,
        metrics: Metrics,
        dashboard: Dashboard,
        standing: Standing,
        admin: Admin,
        turnstile: Turnstile,
    ) -> None:
        self.queue = queue
        self.dashboard = dashboard
        self._proxy = proxy
        self._quotes = quotes
        self._usage = usage
        self._ledger = ledger
        self._allowances = allowances
        self._observer = observer
        self._breaker = breaker
        self._metrics = metrics
        self._standing = standing
        self._admin = admin
        self._turnstile = turnstile
        self._own = {
            "/": self.lead_in,
            "/healthz": self.tell_health,
            "/readyz": self.tell_readiness,
            "/status": self.tell_status,
            "/metrics": self.tell_metrics,
            "/usage": self.tell_usage,
            "/quote": self._quotes.answer,
            **dashboard.paths,
        }
        # Of these paths, their own handlers know what other methods mean.
        self._any_method = frozenset({"/", "/quote", *dashboard.paths})

    def answer(self, request: Request) -> Awaitable[Response]:
        """Answer one request."""
        path = request.raw_path.partition("?")[0]
        own = self._own.get(path)
        if own is None:
            return self._proxy.handle(request)
        if request.method not in {"GET", "HEAD"} and path not in self._any_method:
            return _refuse_method(request)
        return own(request)

    async def lead_in(self, request: Request) -> Response:
        """Lead a browser to the dashboard; to programs there is no such path."""
        is_browser = "text/html" in request.headers.get("Accept", "")
        if is_browser and request.method in {"GET", "HEAD"}:
            # Relative, so that it holds behind whatever path a proxy has put the gateway.
            return Response(303, {"Location": "dashboard", "Cache-Control": "no-store"}, b"")
        return await self._proxy.handle(request)

    async def tell_health(self, _: Request) -> Response:
        """Alive, whatever else is down."""
        return _answer({"status": "alive"})

    async def tell_readiness(self, _: Request) -> Response:
        """Ready when the store answers and a balance is known; else 503 naming what is missing."""
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

    async def tell_status(self, request: Request) -> Response:
        """The account at a glance."""
        try:
            await self._admin.check(request)
            look = await self._ledger.overview()
        except Refusal as refusal:
            return turn_away(request, refusal)
        standing = self._standing
        return _answer(
            {
                "tokens": describe_tokens(look, standing.thresholds),
                "services": describe_services(look, self._allowances, standing.services),
                "request_rate": describe_request_rate(look),
                "breaker": self._breaker.state.value,
                "store": self._ledger.store.kind,
                "enforce": standing.enforces,
                "version": __version__,
            }
        )

    async def tell_usage(self, request: Request) -> Response:
        """Who used what in the last weeks."""
        try:
            await self._admin.check(request)
            return await self._usage.answer(request)
        except Refusal as refusal:
            return turn_away(request, refusal)

    async def tell_metrics(self, request: Request) -> Response:
        """What Prometheus scrapes; the ledger's gauges are read from the store now."""
        try:
            await self._admin.check(request)
        except Refusal as refusal:
            return turn_away(request, refusal)
        try:
            look = await self._ledger.overview()
            waiting = sum(usage.waiting for usage in look.services.values())
            self._metrics.show(look.balance, waiting)
        except LedgerUnavailable:
            self._metrics.show(None)
        # In a thread: of many services the page takes a tenth of a second to write.
        page = await asyncio.to_thread(self._metrics.expose)
        return Response(200, {"Content-Type": _METRICS}, page)


async def _refuse_method(request: Request) -> Response:
    return turn_away(request, ReadOnly())


def _answer(body: dict[str, object], status: int = 200) -> Response:
    return Response(status, {"Content-Type": _JSON}, orjson.dumps(body))
