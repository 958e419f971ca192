"""The families of /metrics, without a gateway around them."""

import math

import pytest
from prometheus_client import CollectorRegistry

from gateway.balance import UNKNOWN, Balance, Events
from gateway.metrics import Metrics

BALANCE = Balance(
    known=True, tokens=-5, held=30, refill_rate=20, flow_micro=500_000, lump_in_ms=1_001,
    observed_ms_ago=2_500, consumed=0,
)  # fmt: skip
LEDGER_GAUGES = (
    "tokens_remaining", "tokens_reserved", "tokens_available", "tokens_debt", "tokens_capacity",
    "refill_tokens_per_minute", "balance_age_seconds", "waiting_calls",
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
    metrics.show(BALANCE, 3)
    names = (*LEDGER_GAUGES, "tokens_floor", "tokens_safety_buffer", "store_up")
    told = [sample(registry, name) for name in names]
    assert told == [-5, 30, -35, 5, 1200, 19, 2.5, 3, 10, 20, 1]


def test_store_that_is_away(registry, metrics):
    """Without the store nothing is told of the ledger: neither 0 nor what it said before."""
    metrics.show(BALANCE, 3)
    metrics.show(None)
    assert sample(registry, "store_up") == 0
    for name in LEDGER_GAUGES:
        assert math.isnan(sample(registry, name)), name
    assert sample(registry, "tokens_floor") == 10


def test_balance_that_is_not_known(registry, metrics):
    """Before an observation the store knows who holds and who waits, and no balance."""
    metrics.show(BALANCE, 3)
    metrics.show(UNKNOWN._replace(held=7), 2)
    told = {name: sample(registry, name) for name in ("tokens_reserved", "waiting_calls")}
    assert (sample(registry, "store_up"), told) == (1, {"tokens_reserved": 7, "waiting_calls": 2})
    for name in set(LEDGER_GAUGES) - set(told):
        assert math.isnan(sample(registry, name)), name


def test_thresholds_are_told(registry):
    """Alerts compare the balance with the settings, which are told as gauges."""
    Metrics(registry, floor=1, safety_buffer=2, alert_balance=3, balance_max_age_seconds=4.5).show(
        None
    )
    names = ("tokens_floor", "tokens_safety_buffer", "tokens_alert_balance",
             "balance_max_age_seconds")  # fmt: skip
    assert [sample(registry, name) for name in names] == [1, 2, 3, 4.5]


def test_waits_are_counted_by_how_they_ended(registry, metrics):
    """Both ends of a wait are there from the start, and each wait is counted under its own."""
    assert sample(registry, "waited_seconds_count", outcome="refused") == 0
    metrics.waited("admitted", 40)
    assert sample(registry, "waited_seconds_count", outcome="refused") == 0
    assert sample(registry, "waited_seconds_bucket", outcome="admitted", le="30.0") == 0
    assert sample(registry, "waited_seconds_bucket", outcome="admitted", le="60.0") == 1


def test_calls_that_were_never_sent_tell_nothing_of_keepa(registry, metrics):
    """A call that found no slot in time is a call, but no answer of Keepa's in no time."""
    metrics.called("pricing", "product", "released", upstream_seconds=0.0, added_seconds=2.0)
    metrics.called("pricing", "product", "settled", upstream_seconds=1.5, added_seconds=0.1)
    assert sample(registry, "upstream_seconds_count", endpoint="product") == 1
    assert sample(registry, "added_seconds_count") == 2


def test_events_are_counted(registry, metrics):
    """What a transition noticed is added up."""
    for _ in range(2):
        metrics.replied("settle", 0.001, Events(1, 2, 3, 4, 5, 6))
    metrics.replied("reserve", 0.001, Events(0, 0, 0, 0, 0, 0))
    metrics.replied("overview", 0.001, Events(0, 0, 0, 0, 0, 0, "holds_lost,sum_below_zero"))
    metrics.replied("overview", 0.001, Events(0, 0, 0, 0, 0, 0, "holds_lost"))
    assert sample(registry, "tokens_expired_unused_total") == 2
    assert sample(registry, "drift_tokens_total", direction="spent") == 4
    assert sample(registry, "drift_tokens_total", direction="back") == 6
    assert sample(registry, "reservations_expired_total") == 8
    assert sample(registry, "overrun_tokens_total") == 12
    assert sample(registry, "ledger_inconsistent_total", what="holds_lost") == 2
    assert sample(registry, "ledger_inconsistent_total", what="sum_below_zero") == 1
    assert sample(registry, "ledger_inconsistent_total", what="clock_set_back") == 0
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
    """The page has a help line for each family, and no gauge with a counter's first time."""
    metrics.refused("pricing", "product", "floor")
    page = metrics.expose().decode()
    assert "_created" not in page
    families = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}
    helped = {line.split()[2] for line in page.splitlines() if line.startswith("# HELP")}
    assert families == helped
    assert all(name.startswith("keepa_gateway_") for name in families)
