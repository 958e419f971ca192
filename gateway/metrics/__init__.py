"""The metrics for Prometheus. Labels come from small closed sets: never an ASIN, a key or a URL.

docs/metrics.md describes each family; a test compares it with this file.
"""

import math
from collections.abc import Callable, Iterable
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    disable_created_metrics,
    generate_latest,
)

from gateway import __version__
from gateway.balance import INCONSISTENCIES, NO_EVENTS, Balance, Events
from gateway.metrics.sums import Spreads, Sums

# A `_created` gauge for each counter would double the page; a restart shows in the counter itself.
disable_created_metrics()  # type: ignore[no-untyped-call]

_PREFIX = "keepa_gateway"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
_WAITS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_TOKENS = (-1000, -100, -10, -1, 0, 1, 2, 5, 10, 20, 50, 100, 500, 1000)
_LEDGER_GAUGES = {
    "tokens_remaining": "Balance by the ledger's accounting",
    "tokens_reserved": "Sum of the live reservations",
    "tokens_available": "Balance less the live reservations",
    "tokens_debt": "Balance below zero: what an overdraft has to be paid back",
    "tokens_capacity": "Most tokens the bucket holds",
    "refill_tokens_per_minute": "Tokens that surely arrive each minute",
    "balance_age_seconds": "Age of the newest observation",
    "waiting_calls": "Calls that wait for tokens or for a request slot, at all gateways",
}
_OWN_GAUGES = {
    "tokens_floor": "Balance that no admitted call crosses",
    "tokens_safety_buffer": "Balance below which a warning is due",
    "tokens_alert_balance": "Balance below which an alert is due",
    "balance_max_age_seconds": "Age at which an observation is due to be refreshed",
    "store_up": "Whether the ledger's store answers and takes writes",
    "breaker_open": "Whether the circuit to Keepa is open: calls are refused, for it answers none",
}


class Metrics:
    """The gateway's metric families. Counters are this process's; most gauges are the ledger's.

    Args:
        registry: Where they are registered.
        floor: In tokens, as the two that follow; rules and dashboards compare gauges with them.
        safety_buffer: As SAFETY_BUFFER.
        alert_balance: As ALERT_BALANCE.
        balance_max_age_seconds: As BALANCE_MAX_AGE_SECONDS.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        floor: int,
        safety_buffer: int,
        alert_balance: int = 50,
        balance_max_age_seconds: float = 60,
    ) -> None:
        self._registry = registry
        self._requests = self._counter(
            "requests", "Calls by how they ended", ("service", "endpoint", "outcome")
        )
        self._denied = self._counter(
            "denied", "Calls refused", ("service", "endpoint", "reason", "mode")
        )
        self._consumed = self._counter(
            "tokens_consumed", "Tokens consumed by settled calls", ("service", "endpoint")
        )
        self._repeated = self._counter(
            "repeated_tokens",
            "Tokens paid for answers that had been paid for before, as a cache would save them",
            ("endpoint", "within"),
        )
        self._lost = self._counter("tokens_expired_unused", "Tokens lost to a full bucket")
        self._drift = self._counter(
            "drift_tokens", "Tokens spent by others, or that came back", ("direction",)
        )
        self._overrun = self._counter("overrun_tokens", "Tokens charged above their reservation")
        self._expired = self._counter("reservations_expired", "Reservations that nobody resolved")
        self._inconsistent = self._counter(
            "ledger_inconsistent", "Times that the ledger found its data inconsistent", ("what",)
        )
        self._unknown = self._counter(
            "unknown_endpoint", "Calls of endpoints that the cost table lacks"
        )
        self._error = self._histogram(
            "estimate_error_tokens", "Reserved less consumed", ("endpoint",), _TOKENS
        )
        self._upstream = self._histogram(
            "upstream_seconds", "Time waiting for Keepa", ("endpoint",), _SECONDS
        )
        self._added = self._histogram(
            "added_seconds", "Time in the gateway less the time waiting for Keepa", (), _SECONDS
        ).labels()
        self._store = self._histogram(
            "store_seconds", "Time of one ledger transition", ("script",), _SECONDS
        )
        self._waited = self._histogram(
            "waited_seconds",
            "Time that calls waited for tokens or for a request slot",
            ("outcome",),
            _WAITS,
        )
        self._gauges = {
            name: Gauge(f"{_PREFIX}_{name}", text, registry=registry)
            for name, text in (_LEDGER_GAUGES | _OWN_GAUGES).items()
        }
        self._endpoint_open = Gauge(
            f"{_PREFIX}_endpoint_breaker_open",
            "Whether a service's calls of an endpoint are refused: Keepa answers them with 5xx",
            ("service", "endpoint"),
            registry=registry,
        )
        self._list_endpoints: Callable[[], Iterable[tuple[str, str, bool]]] = tuple
        self.show(None)
        self._gauges["tokens_floor"].set(floor)
        self._gauges["tokens_safety_buffer"].set(safety_buffer)
        self._gauges["tokens_alert_balance"].set(alert_balance)
        self._gauges["balance_max_age_seconds"].set(balance_max_age_seconds)
        self._restarts = self._counter(
            "job_restarts", "Background jobs that crashed and were started again", ("job",)
        )
        # From 0 on, so that `increase()` sees the first count.
        for job in ("alerts", "breaker", "dashboard", "observer", "queue", "stalls", "tend"):
            self._restarts.labels(job)
        for direction in ("spent", "back"):
            self._drift.labels(direction)
        for outcome in ("admitted", "refused"):
            self._waited.labels(outcome)
        for what in INCONSISTENCIES:
            self._inconsistent.labels(what)
        Gauge(
            f"{_PREFIX}_build_info", "The running version", ("version",), registry=registry
        ).labels(__version__).set(1)

    def job_restarted(self, job: str) -> None:
        """Count a background job that crashed and was started again."""
        self._restarts.labels(job).inc()

    def watch_breaker(
        self,
        is_open: Callable[[], bool],
        endpoints: Callable[[], Iterable[tuple[str, str, bool]]],
    ) -> None:
        """Read which circuits are open whenever the metrics are scraped.

        Args:
            is_open: Says whether the circuit to Keepa is.
            endpoints: Returns all others: service, endpoint, whether it is open.
        """
        self._gauges["breaker_open"].set_function(is_open)
        self._list_endpoints = endpoints

    def called(
        self,
        service: str,
        endpoint: str,
        outcome: str,
        *,
        upstream_seconds: float,
        added_seconds: float,
    ) -> None:
        """Count a call that was forwarded."""
        self._requests.labels(service, endpoint, outcome).inc()
        # A call that found no slot in time was not sent: it says nothing about Keepa.
        if upstream_seconds:
            self._upstream.labels(endpoint).observe(upstream_seconds)
        self._added.observe(added_seconds)

    def waited(self, outcome: Literal["admitted", "refused"], seconds: float) -> None:
        """Count a call that waited for tokens or for a request slot, by how its wait ended."""
        self._waited.labels(outcome).observe(seconds)

    def consumed(self, service: str, endpoint: str, reserved: int, consumed: int) -> None:
        """Count a settled call's tokens."""
        self._consumed.labels(service, endpoint).inc(consumed)
        self._error.labels(endpoint).observe(reserved - consumed)

    def repeated(self, endpoint: str, within: str, tokens: float) -> None:
        """Count tokens that an answer cache of an age would have saved."""
        self._repeated.labels(endpoint, within).inc(tokens)

    def answered(self, service: str, endpoint: str) -> None:
        """Count a `/token` that was answered from the ledger."""
        self._requests.labels(service, endpoint, "answered").inc()

    def refused(self, service: str, endpoint: str, reason: str) -> None:
        """Count a refused call."""
        self._requests.labels(service, endpoint, "refused").inc()
        self._denied.labels(service, endpoint, reason, "enforced").inc()

    def unknown_endpoint(self) -> None:
        """Count a call whose price is a guess."""
        self._unknown.inc()

    def let_through(self, service: str, endpoint: str, reason: str) -> None:
        """Count a call that would have been refused if refusals were enforced."""
        self._denied.labels(service, endpoint, reason, "shadow").inc()

    def replied(self, script: str, seconds: float, events: Events) -> None:
        """Count a script's time, and the events in its reply."""
        self._store.labels(script).observe(seconds)
        if events is not NO_EVENTS and any(events):
            self._lost.inc(events.lost)
            self._drift.labels("spent").inc(events.spent)
            self._drift.labels("back").inc(events.back)
            self._overrun.inc(events.overrun)
            self._expired.inc(events.reaped)
            if events.inconsistent:
                for what in events.inconsistent.split(","):
                    self._inconsistent.labels(what).inc()

    def show(self, balance: Balance | None, waiting: float = math.nan) -> None:
        """Set the ledger's gauges; what is not known is NaN.

        Neither 0 nor the last value: an unknown balance is not an empty bucket, and a gateway that
        lost the store must not show an old balance beside the new one of the others.

        Args:
            balance: None: the store is away.
            waiting: How many calls wait.
        """
        self._gauges["store_up"].set(balance is not None)
        known: dict[str, float] = {}
        if balance is not None:
            known = {"tokens_reserved": balance.held, "waiting_calls": waiting}
        if balance is not None and balance.known:
            known |= {
                "tokens_remaining": balance.tokens,
                "tokens_available": balance.available,
                "tokens_debt": balance.debt,
                "tokens_capacity": balance.capacity,
                "refill_tokens_per_minute": balance.gain,
                "balance_age_seconds": balance.observed_ms_ago / 1000,
            }
        for name in _LEDGER_GAUGES:
            self._gauges[name].set(known.get(name, math.nan))

    def expose(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        for service, endpoint, is_open in self._list_endpoints():
            self._endpoint_open.labels(service, endpoint).set(is_open)
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Sums:
        sums = Sums(f"{_PREFIX}_{name}", text, labels)
        self._registry.register(sums)
        return sums

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Spreads:
        spreads = Spreads(f"{_PREFIX}_{name}", text, labels, buckets)
        self._registry.register(spreads)
        return spreads
