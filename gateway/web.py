"""The gateway's own paths; every other one is a call for Keepa."""

import hmac
from collections.abc import Awaitable
from dataclasses import dataclass

import orjson
from aiohttp import web

from gateway import __version__
from gateway.answers import refuse
from gateway.breaker import Breaker
from gateway.errors import LedgerUnavailable, Refusal, RefusedCall, Unauthorized
from gateway.headers import credentials_of, request_id
from gateway.ledger import Ledger, Look
from gateway.metrics import Metrics
from gateway.observer import Observer
from gateway.proxy import Proxy
from gateway.reply import Reply

_JSON = "application/json"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Standing:
    """What `/readyz` and `/status` tell beside the ledger."""

    floor: int
    safety_buffer: int
    admin_token: str
    draining: bool = False


class Site:
    """Answers every request: the gateway's own paths by name, all others as calls for Keepa.

    A plain look-up instead of aiohttp's Application: its routing costs a call more than the look at
    its price does.
    """

    def __init__(
        self,
        *,
        proxy: Proxy,
        ledger: Ledger,
        observer: Observer,
        breaker: Breaker,
        metrics: Metrics,
        standing: Standing,
    ) -> None:
        self.standing = standing
        self._proxy = proxy
        self._ledger = ledger
        self._observer = observer
        self._breaker = breaker
        self._metrics = metrics
        self._own = {
            "/healthz": self.tell_health,
            "/readyz": self.tell_readiness,
            "/status": self.tell_status,
            "/metrics": self.tell_metrics,
        }

    def answer(self, request: web.BaseRequest) -> Awaitable[Reply]:
        """Answer one request."""
        own = self._own.get(request.raw_path.partition("?")[0])
        if own is None or request.method not in {"GET", "HEAD"}:
            return self._proxy.handle(request)
        return own(request)

    async def tell_health(self, _: web.BaseRequest) -> Reply:
        """Alive, whatever else is down."""
        return _answer({"status": "alive"})

    async def tell_readiness(self, _: web.BaseRequest) -> Reply:
        """Ready when the store answers and a balance is known; else 503 naming what is missing."""
        missing = []
        if self.standing.draining:
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

    async def tell_status(self, request: web.BaseRequest) -> Reply:
        """The account at a glance."""
        try:
            self._check_admin(request)
            look = await self._ledger.look()
        except Refusal as refusal:
            return refuse(request, refusal, RefusedCall(request_id(request.headers)))
        services = {
            name: {
                "used": usage.used,
                "denied": usage.denied,
                "reserved": usage.reserved,
                "floor": self.standing.floor,
            }
            for name, usage in sorted(look.services.items())
        }
        return _answer(
            {
                "tokens": _tokens(look, self.standing),
                "services": services,
                "breaker": self._breaker.state.value,
                "store": self._ledger.store.kind,
                "version": __version__,
            }
        )

    async def tell_metrics(self, request: web.BaseRequest) -> Reply:
        """What Prometheus scrapes; the ledger's gauges are read from the store now."""
        try:
            self._check_admin(request)
        except Refusal as refusal:
            return refuse(request, refusal, RefusedCall(request_id(request.headers)))
        try:
            self._metrics.show((await self._ledger.look()).balance)
        except LedgerUnavailable:
            self._metrics.show(None)
        return Reply(200, {"Content-Type": _METRICS}, self._metrics.expose())

    def _check_admin(self, request: web.BaseRequest) -> None:
        token = self.standing.admin_token.encode()
        if token and not any(
            hmac.compare_digest(credential.encode("utf-8", "surrogateescape"), token)
            for credential in credentials_of(request.headers)
        ):
            raise Unauthorized


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


def _answer(body: dict[str, object], status: int = 200) -> Reply:
    return Reply(status, {"Content-Type": _JSON}, orjson.dumps(body))
