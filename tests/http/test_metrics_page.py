"""What Prometheus finds at /metrics: the contract's families, and labels from small closed sets."""

import asyncio
import math

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.callers.wire import ask
from support.deploy.prometheus import MISSING, PROMTOOL, promtool
from support.gateways.served import REAL_KEY
from support.keepa.scripted import fields
from support.waiting import until

from gateway.cache.rules import RULES

PRODUCT = "/product?domain=1&asin=B000000001&key=callers-own-key"
PREFIX = "keepa_gateway_"
FAMILIES = {
    "requests": "counter", "denied": "counter", "tokens_remaining": "gauge",
    "tokens_reserved": "gauge", "tokens_available": "gauge", "tokens_debt": "gauge",
    "tokens_floor": "gauge", "tokens_safety_buffer": "gauge", "tokens_alert_balance": "gauge",
    "tokens_capacity": "gauge", "waiting_calls": "gauge", "waited_seconds": "histogram",
    "refill_tokens_per_minute": "gauge", "tokens_consumed": "counter",
    "tokens_expired_unused": "counter", "drift_tokens": "counter", "overrun_tokens": "counter",
    "reservations_expired": "counter", "ledger_inconsistent": "counter",
    "estimate_error_tokens": "histogram",
    "balance_age_seconds": "gauge", "balance_max_age_seconds": "gauge",
    "breaker_open": "gauge", "endpoint_breaker_open": "gauge", "upstream_seconds": "histogram",
    "added_seconds": "histogram", "store_seconds": "histogram", "store_up": "gauge",
    "job_restarts": "counter", "build_info": "gauge", "unknown_endpoint": "counter",
    "repeated_tokens": "counter",
}  # fmt: skip


async def scrape(gateway):
    """Return the page as text, and its samples by name and labels."""
    got = await gateway.ask("/metrics")
    assert got.status == 200
    text = got.plain.decode()
    families = list(text_string_to_metric_families(text))
    return text, families


def value(families, name, **labels):
    """Return the one sample of that name and those labels; 0 where there is none yet."""
    found = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
    ]
    assert len(found) <= 1
    return found[0] if found else 0


async def test_families_of_the_contract_are_there_from_the_start(gateway):
    """Every family of the contract is there before the first call, under its name and type."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    got = await gateway.ask("/metrics")
    assert got.get("Content-Type").startswith("text/plain")
    _, families = await scrape(gateway)
    assert {f.name.removeprefix(PREFIX): f.type for f in families} == FAMILIES
    assert all(family.name.startswith(PREFIX) for family in families)
    assert all(family.documentation for family in families)


@pytest.mark.skipif(not PROMTOOL, reason=MISSING)
async def test_promtool_finds_nothing_to_complain_of(serve, simulate):
    """The page of a gateway that had calls of all kinds is clean under `promtool check metrics`."""
    gateway = await serve(await simulate(tokens=60), default_wait_seconds=0.2)
    for target, fault in (
        (PRODUCT, "none"), (PRODUCT, "html_503"), ("/bestsellers?category=1&domain=1", "none"),
        ("/token", "none"), ("/a/b", "none"), ("/lightningdeal?domain=1", "none"),
    ):  # fmt: skip
        await gateway.ask(target, f"X-Sim-Fault: {fault}")
    text, families = await scrape(gateway)
    assert {family.name.removeprefix(PREFIX) for family in families} == FAMILIES.keys()
    assert not promtool("check", "metrics", text=text)


async def test_gauges_tell_the_bucket(serve, simulate):
    """The gauges are the ledger's own numbers at the time of the scrape."""
    simulator = await simulate(tokens=100, flow_reduction=0.5)
    gateway = await serve(simulator, min_balance_threshold=5, safety_buffer=33)
    call = asyncio.create_task(gateway.ask(PRODUCT, "X-Sim-Latency-Ms: 300"))
    await gateway.until(lambda tokens: tokens["reserved"] == 1)
    _, families = await scrape(gateway)
    got = {
        name: value(families, name)
        for name, kind in FAMILIES.items()
        if kind == "gauge"
        and name
        not in {"balance_age_seconds", "build_info", "endpoint_breaker_open", "waiting_calls"}
    }
    assert got == {
        "tokens_remaining": 100, "tokens_reserved": 1, "tokens_available": 99, "tokens_debt": 0,
        "tokens_floor": 5, "tokens_safety_buffer": 33, "tokens_capacity": 1200,
        "refill_tokens_per_minute": 19, "store_up": 1, "breaker_open": 0,
        "tokens_alert_balance": 50, "balance_max_age_seconds": 60,
    }  # fmt: skip
    assert 0 <= value(families, "balance_age_seconds") < 5
    assert (await call).status == 200


async def test_thresholds_are_those_of_the_settings(serve, simulator):
    """What alerts compare the balance and its age with is what the operator set."""
    gateway = await serve(simulator, alert_balance=77, balance_max_age_seconds=33)
    _, families = await scrape(gateway)
    assert value(families, "tokens_alert_balance") == 77
    assert value(families, "balance_max_age_seconds") == 33


async def test_waiting_calls_are_seen_and_their_waits_counted(serve, keepa):
    """Who waits for tokens is in a gauge, and how long it took in a histogram, by its end."""
    keepa.token = fields(tokensLeft=10, refillIn=3000)
    gateway = await serve(keepa, max_wait_seconds=60)
    await gateway.until(lambda tokens: tokens["remaining"] == 10)
    call = asyncio.create_task(gateway.ask(PRODUCT, "Prefer: wait=30"))

    async def one_waits():
        return value((await scrape(gateway))[1], "waiting_calls") == 1

    await until(one_waits)
    assert (await call).status == 200
    _, families = await scrape(gateway)
    assert value(families, "waiting_calls") == 0
    assert value(families, "waited_seconds_count", outcome="admitted") == 1
    assert 0.2 < value(families, "waited_seconds_sum", outcome="admitted") < 5
    assert value(families, "waited_seconds_count", outcome="refused") == 0


async def test_calls_are_counted_by_how_they_ended(serve, simulate):
    """Each call is one request of its service, endpoint and outcome; refusals have a reason."""
    simulator = await simulate(tokens=13)
    gateway = await serve(simulator)
    for fault in ("none", "error_in_200", "html_503"):
        await gateway.ask(PRODUCT, f"X-Sim-Fault: {fault}", "X-Service-Name: pricing")
    await gateway.ask("/bestsellers?category=1&domain=1", "X-Service-Name: pricing")
    await gateway.ask("/token")
    await gateway.ask("/a/b")
    await gateway.at_rest_but(1)
    _, families = await scrape(gateway)

    def requests(service, endpoint, outcome):
        labels = {"service": service, "endpoint": endpoint, "outcome": outcome}
        return value(families, "requests_total", **labels)

    assert requests("pricing", "product", "settled") == 2
    assert requests("pricing", "product", "doubt") == 1
    assert requests("pricing", "bestsellers", "refused") == 1
    assert requests("anonymous", "token", "answered") == 1
    assert requests("unknown", "unknown", "refused") == 1
    denied = {"service": "pricing", "endpoint": "bestsellers", "reason": "floor"}
    assert value(families, "denied_total", mode="enforced", **denied) == 1
    assert value(families, "tokens_consumed_total", service="pricing", endpoint="product") == 2
    assert value(families, "estimate_error_tokens_count", endpoint="product") == 2
    assert value(families, "upstream_seconds_count", endpoint="product") == 3
    assert value(families, "added_seconds_count") >= 3


async def test_labels_are_bounded_and_hold_no_secret(gateway):
    """Whatever callers send, labels stay few, and hold no ASIN, key, URL or name of theirs."""
    hostile = [
        ("/product?asin=B0SECRET01&key=callers-own-key", []),
        ("/some_new_endpoint?key=callers-own-key", []),
        ("/another?x=1", ['X-Service-Name: bad"name']),
        ("/Product?asin=B0SECRET01", ["X-Service-Name: Upper"]),
        ("/%70roduct?asin=B0SECRET01", []),
        ("/product?asin=B0SECRET01", ["X-Request-Id: my-request-id"]),
    ]
    for target, headers in hostile:
        await gateway.ask(target, *headers)
    await gateway.ask("/x", method="PATCH")
    text, families = await scrape(gateway)
    for secret in (
        REAL_KEY, "callers-own-key", "B0SECRET01", "some_new", "another", "bad", "Upper",
        "my-request-id", "http", "%70",
    ):  # fmt: skip
        assert secret not in text.replace("HTTP", "")
    labels = {}
    for family in families:
        for sample in family.samples:
            for name, of in sample.labels.items():
                labels.setdefault(name, set()).add(of)
    assert labels["service"] == {"anonymous", "unknown"}
    assert labels["endpoint"] == {"unknown", *RULES}
    assert labels["outcome"] <= {
        "settled", "released", "doubt", "refused", "answered", "admitted",
    }  # fmt: skip


async def test_services_are_few_whatever_callers_call_themselves(gateway):
    """Without keys the first fifty names have labels of their own, all others share one."""
    calls = (
        gateway.ask("/bestsellers?category=1&domain=1&x=" + "y" * n, f"X-Service-Name: name-{n}")
        for n in range(70)
    )
    await asyncio.gather(*calls)
    _, families = await scrape(gateway)
    named = {
        sample.labels["service"]
        for family in families
        for sample in family.samples
        if "service" in sample.labels
    }
    assert len(named) == 51
    assert "other" in named


async def test_replicas_agree_on_gauges_and_count_once(serve, simulate, own_redis):
    """Gauges are the same at each replica; what one script notices is counted by one of them."""
    simulator = await simulate(tokens=1200, first_lump_in_ms=4000)
    replicas = [
        await serve(
            simulator,
            redis_url=own_redis.url,
            balance_max_age_seconds=1,
            upstream_timeout_seconds=1,
            reservation_ttl_seconds=1.2,
        )
        for _ in range(2)
    ]
    for replica in replicas:
        await replica.until_ready()

    async def add_up(name, **labels):
        pages = [await scrape(replica) for replica in replicas]
        return sum(value(families, name, **labels) for _, families in pages)

    async def lump_is_lost():
        return await add_up("tokens_expired_unused_total")

    assert await until(lump_is_lost) == 20
    await ask(simulator.url, "/sim/spend", method="POST", body=b'{"tokens": 30}')

    async def drift_is_seen():
        return await add_up("drift_tokens_total", direction="spent")

    assert await until(drift_is_seen) == 30
    assert (await replicas[0].ask(PRODUCT, "X-Sim-Fault: charge_and_drop")).status == 502

    async def hold_has_expired():
        return await add_up("reservations_expired_total")

    assert await until(hold_has_expired) == 1
    assert (await replicas[1].ask(PRODUCT)).status == 200
    for replica in replicas:
        await replica.at_rest()
    for name, labels, total in (
        ("tokens_expired_unused_total", {}, 20),
        ("drift_tokens_total", {"direction": "spent"}, 30),
        ("reservations_expired_total", {}, 1),
        ("overrun_tokens_total", {}, 0),
        ("tokens_consumed_total", {"service": "anonymous"}, 1),
    ):
        assert await add_up(name, **labels) == total
    first, second = [(await scrape(replica))[1] for replica in replicas]
    for name in ("remaining", "reserved", "available", "debt", "capacity"):
        assert value(first, f"tokens_{name}") == value(second, f"tokens_{name}"), name
    assert value(second, "tokens_remaining") == simulator.state()["tokens_left"] == 1168


async def test_replica_that_lost_its_store_tells_no_balance(serve, simulator, own_redis):
    """What was true before the store went away is told no more: NaN, which is no number."""
    replica = await serve(simulator, redis_url=own_redis.url)
    await replica.until_ready()
    own_redis.kill()
    _, families = await scrape(replica)
    assert value(families, "store_up") == 0
    for name in ("tokens_remaining", "tokens_reserved", "balance_age_seconds"):
        assert math.isnan(value(families, name))
    assert value(families, "tokens_floor") == 10


async def test_drift_is_counted_from_zero(gateway):
    """Both directions of drift stand at 0 from the start, so that an increase can be seen."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    _, families = await scrape(gateway)
    text, _ = await scrape(gateway)
    for direction in ("spent", "back"):
        assert f'drift_tokens_total{{direction="{direction}"}} 0.0' in text
        assert value(families, "drift_tokens_total", direction=direction) == 0


async def test_store_that_is_away_is_seen(serve):
    """Without its store the page is still there, and says that the store is down."""
    gateway = await serve("http://127.0.0.1:1", redis_url="redis://127.0.0.1:1/0")
    _, families = await scrape(gateway)
    assert value(families, "store_up") == 0


async def test_expired_reservations_are_counted(serve, simulator):
    """A hold that nobody resolved in time is counted."""
    gateway = await serve(simulator, upstream_timeout_seconds=1, reservation_ttl_seconds=1.2)
    assert (await gateway.ask(PRODUCT, "X-Sim-Fault: charge_and_drop")).status == 502
    await gateway.at_rest()
    _, families = await scrape(gateway)
    assert value(families, "reservations_expired_total") == 1
