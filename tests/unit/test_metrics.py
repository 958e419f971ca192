"""The families of /metrics, without a gateway around them."""

import pytest
from prometheus_client import CollectorRegistry

from gateway.balance import UNKNOWN, Balance, Events
from gateway.metrics import Metrics

BALANCE = Balance(
    known=True, tokens=-5, held=30, refill_rate=20, flow_micro=500_000, lump_in_ms=1_001,
    observed_ms_ago=2_500, consumed=0,
)  # fmt: skip


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return Metrics(registry, floor=10, safety_buffer=20)


def sample(registry, name, **labels):
    return registry.get_sample_value(f"keepa_gateway_{name}", labels)


def test_gauges_follow_the_balance(registry, metrics):
    """The gauges tell the balance in base units, negative too."""
    metrics.show(BALANCE)
    names = ("tokens_remaining", "tokens_reserved", "tokens_available", "tokens_capacity",
             "refill_tokens_per_minute", "balance_age_seconds", "tokens_floor",
             "tokens_safety_buffer", "store_up")  # fmt: skip
    assert [sample(registry, name) for name in names] == [-5, 30, -35, 1200, 19, 2.5, 10, 20, 1]


def test_store_that_is_away(registry, metrics):
    """Without the store only `store_up` changes."""
    metrics.show(BALANCE)
    metrics.show(None)
    assert (sample(registry, "store_up"), sample(registry, "tokens_remaining")) == (0, -5)
    metrics.show(UNKNOWN)
    assert (sample(registry, "store_up"), sample(registry, "tokens_remaining")) == (1, -5)


def test_events_are_counted(registry, metrics):
    """What a transition noticed is added up."""
    for _ in range(2):
        metrics.replied("settle", 0.001, Events(1, 2, 3, 4, 5, 6))
    metrics.replied("reserve", 0.001, Events(0, 0, 0, 0, 0, 0))
    assert sample(registry, "tokens_expired_unused_total") == 2
    assert sample(registry, "drift_tokens_total", direction="spent") == 4
    assert sample(registry, "drift_tokens_total", direction="back") == 6
    assert sample(registry, "reservations_expired_total") == 8
    assert sample(registry, "overrun_tokens_total") == 12
    assert sample(registry, "store_seconds_count", script="settle") == 2
    assert sample(registry, "store_seconds_count", script="reserve") == 1


def test_settled_calls_are_counted(registry, metrics):
    """Consumed tokens add up, and what was reserved too much or too little is seen."""
    metrics.consumed("pricing", "product", 10, 7)
    metrics.consumed("pricing", "product", 1, 60)
    labels = {"service": "pricing", "endpoint": "product"}
    assert sample(registry, "tokens_consumed_total", **labels) == 67
    assert sample(registry, "estimate_error_tokens_count", endpoint="product") == 2
    assert sample(registry, "estimate_error_tokens_bucket", endpoint="product", le="-10.0") == 1


def test_page_is_text(metrics):
    """The page is what Prometheus reads, with a help line for each family."""
    page = metrics.expose().decode()
    families = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}
    helped = {line.split()[2] for line in page.splitlines() if line.startswith("# HELP")}
    assert families == helped
    assert all(name.startswith("keepa_gateway_") for name in families)
