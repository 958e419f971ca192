"""What Prometheus scrapes. Labels come from small closed sets: never an ASIN, a key or a URL."""

import math
from collections.abc import Callable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gateway import __version__
from gateway.balance import Balance, Events

_PREFIX = "keepa_gateway"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
_OF_THE_BALANCE = (
    "tokens_remaining",
    "tokens_reserved",
    "tokens_available",
    "tokens_capacity",
    "refill_tokens_per_minute",
    "balance_age_seconds",
)
_TOKENS = (-1000, -100, -10, -1, 0, 1, 2, 5, 10, 20, 50, 100, 500, 1000)


class Metrics:
    """The gateway's families. Counters are this replica's and add up; gauges are the ledger's."""

    def __init__(self, registry: CollectorRegistry, *, floor: int, safety_buffer: int) -> None:
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
        self._lost = self._counter("tokens_expired_unused", "Tokens lost to a full bucket")
        self._drift = self._counter(
            "drift_tokens", "Tokens spent by others, or that came back", ("direction",)
        )
        self._overrun = self._counter("overrun_tokens", "Tokens charged above their reservation")
        self._expired = self._counter("reservations_expired", "Reservations that nobody resolved")
        self._error = self._histogram(
            "estimate_error_tokens", "Reserved less consumed", ("endpoint",), _TOKENS
        )
        self._upstream = self._histogram(
            "upstream_seconds", "Time waiting for Keepa", ("endpoint",), _SECONDS
        )
        self._added = self._histogram(
            "added_seconds", "Time in the gateway less the time waiting for Keepa", (), _SECONDS
        )
        self._store = self._histogram(
            "store_seconds", "Time of one ledger transition", ("script",), _SECONDS
        )
        self._gauges = {
            name: Gauge(f"{_PREFIX}_{name}", text, registry=registry)
            for name, text in (
                ("tokens_remaining", "Balance by the ledger's accounting"),
                ("tokens_reserved", "Sum of the live reservations"),
                ("tokens_available", "Balance less the live reservations"),
                ("tokens_capacity", "Most tokens the bucket holds"),
                ("refill_tokens_per_minute", "Tokens that surely arrive each minute"),
                ("balance_age_seconds", "Age of the newest observation"),
                ("tokens_floor", "Balance that no admitted call crosses"),
                ("tokens_safety_buffer", "Balance below which a warning is due"),
                ("store_up", "Whether the ledger's store answers"),
                ("breaker_open", "Whether calls are refused because Keepa fails"),
            )
        }
        for name in _OF_THE_BALANCE:
            # Not 0: an unknown balance is no empty bucket, and no alert may take it for one.
            self._gauges[name].set(math.nan)
        self._gauges["tokens_floor"].set(floor)
        self._gauges["tokens_safety_buffer"].set(safety_buffer)
        for direction in ("spent", "back"):
            self._drift.labels(direction)
        Gauge(
            f"{_PREFIX}_build_info", "The running version", ("version",), registry=registry
        ).labels(__version__).set(1)
        # A look-up of a labelled child costs more than the count: each is looked up once. The label
        # sets are closed, so these caches are bounded.
        self._request = cache(self._requests.labels)
        self._refusal = cache(self._denied.labels)
        self._spent = cache(self._consumed.labels)
        self._error_of = cache(self._error.labels)
        self._upstream_of = cache(self._upstream.labels)
        self._store_of = cache(self._store.labels)

    def watch_breaker(self, is_open: Callable[[], bool]) -> None:
        """Ask, whenever the metrics are read, whether the circuit is open."""
        self._gauges["breaker_open"].set_function(is_open)

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
        self._request(service, endpoint, outcome).inc()
        self._upstream_of(endpoint).observe(upstream_seconds)
        self._added.observe(added_seconds)

    def consumed(self, service: str, endpoint: str, reserved: int, consumed: int) -> None:
        """Count a settled call's tokens."""
        self._spent(service, endpoint).inc(consumed)
        self._error_of(endpoint).observe(reserved - consumed)

    def answered(self, service: str, endpoint: str) -> None:
        """Count a call that was answered from the ledger."""
        self._request(service, endpoint, "answered").inc()

    def refused(self, service: str, endpoint: str, reason: str) -> None:
        """Count a call that the gateway answered itself."""
        self._request(service, endpoint, "refused").inc()
        self._refusal(service, endpoint, reason, "enforced").inc()

    def replied(self, script: str, seconds: float, events: Events) -> None:
        """Count what a transition noticed."""
        self._store_of(script).observe(seconds)
        if any(events):
            self._lost.inc(events.lost)
            self._drift.labels("spent").inc(events.spent)
            self._drift.labels("back").inc(events.back)
            self._overrun.inc(events.overrun)
            self._expired.inc(events.reaped)

    def show(self, balance: Balance | None) -> None:
        """Set the ledger's gauges; None: the store does not answer, they keep their last values."""
        self._gauges["store_up"].set(balance is not None)
        if balance is None or not balance.known:
            return
        values = (
            balance.tokens,
            balance.held,
            balance.available,
            balance.capacity,
            balance.gain,
            balance.observed_ms_ago / 1000,
        )
        for name, value in zip(_OF_THE_BALANCE, values, strict=True):
            self._gauges[name].set(value)

    def expose(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(
            f"{_PREFIX}_{name}", text, labels, buckets=buckets, registry=self._registry
        )
