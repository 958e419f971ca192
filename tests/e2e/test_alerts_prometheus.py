"""A real Prometheus scrapes real replicas, and tells in time that the balance is low."""

import json
import re
import time

import pytest
from support.callers.crowd import ONE_TOKEN
from support.deploy.prometheus import ALERTS, DASHBOARD, MISSING, PROMETHEUS, Prometheus, fill_in
from support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not PROMETHEUS, reason=MISSING)]

LOW = "KeepaGatewayBalanceLow"
FIFTY_TOKENS = "/bestsellers?key=x&domain=1&category=1"
TOO_DEAR = "/lightningdeal?key=x&domain=1"


def hurry(alert, wait):
    """Return the rules as they are, but that one alert waits less before it fires."""
    rules, count = re.subn(
        rf"(- alert: {alert}\n(?:(?!- alert:).)*?\n +for: )\w+",
        rf"\g<1>{wait}",
        ALERTS.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    assert count == 1
    return rules


@pytest.fixture
def watch(tmp_path):
    """Return a starter of Prometheus servers, ended with the test."""
    started = []

    async def start(gateways, rules):
        targets = [gateway.url.removeprefix("http://") for gateway in gateways]
        started.append(Prometheus(tmp_path / "prometheus", targets, rules))
        return await started[-1].started()

    yield start
    for prometheus in started:
        prometheus.kill()


async def test_low_balance_goes_from_pending_to_firing(machines, redis, watch, figures):
    """Two replicas spend the balance below ALERT_BALANCE: one alert, pending first, then firing."""
    began_at = time.monotonic()
    simulator = await machines.simulate(tokens=100, lump_in_ms=60_000).started()
    settings = {"keepa_base_url": simulator.url, "redis_url": redis.url}
    gateways = [machines.serve(**settings) for _ in range(2)]
    for gateway in gateways:
        await (await gateway.started()).ready()
    prometheus = await watch(gateways, hurry(LOW, "2s"))

    async def both_are_scraped():
        return len(await prometheus.query("keepa_gateway_tokens_remaining == 100")) == 2

    await until(both_are_scraped, 20)
    assert await prometheus.alerts(LOW) == []

    for gateway, target in zip(gateways, (FIFTY_TOKENS, ONE_TOKEN), strict=True):
        assert (await gateway.ask(target)).status == 200
    spent_at = time.monotonic()
    states = []

    async def fires():
        alerts = await prometheus.alerts(LOW)
        # One for the account, not one for each replica.
        assert len(alerts) <= 1
        for alert in alerts:
            if not states or states[-1] != alert["state"]:
                states.append(alert["state"])
        return alerts if states[-1:] == ["firing"] else None

    (alert,) = await until(fires, 20)
    figures(firing_seconds=round(time.monotonic() - spent_at, 2))
    assert states == ["pending", "firing"]
    assert alert["labels"] == {"alertname": LOW, "job": "keepa-gateway", "severity": "warning"}
    assert alert["annotations"]["summary"] == "The balance of keepa-gateway is low: 49 tokens"
    others = f'ALERTS{{alertname!="{LOW}"}}'
    assert await prometheus.query(others) == []

    await check_sums(prometheus, gateways)
    await check_dashboard(prometheus)
    figures(seconds=round(time.monotonic() - began_at, 1))


async def check_sums(prometheus, gateways):
    """What the replicas count adds up to what happened, once both have been scraped again."""
    for gateway in gateways:
        assert (await gateway.ask(ONE_TOKEN)).status == 200
        assert (await gateway.ask(TOO_DEAR)).status == 429
    for query, total in (
        ("sum(keepa_gateway_tokens_consumed_total)", "53"),
        ('sum(keepa_gateway_requests_total{outcome="settled"})', "4"),
        ('sum(keepa_gateway_denied_total{reason="floor"})', "2"),
        ("max(keepa_gateway_tokens_remaining)", "47"),
        ("min(keepa_gateway_tokens_remaining)", "47"),
    ):

        async def adds_up(query=query, total=total):
            (sample,) = await prometheus.query(query)
            return sample["value"][1] == total

        await until(adds_up, 5)


async def check_dashboard(prometheus):
    """Each query of the Grafana dashboard finds something, once rates have two scrapes."""
    panels = json.loads(DASHBOARD.read_bytes())["panels"]
    for query in [target["expr"] for panel in panels for target in panel.get("targets", [])]:
        print(query)

        async def finds_something(query=query):
            return await prometheus.query(fill_in(query))

        # In enforcing replicas nothing is let through.
        if "shadow" in query:
            assert await finds_something() == []
        else:
            await until(finds_something)
