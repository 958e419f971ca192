"""Posting alerts: what is tried again, what is not, and that the URL is told to nobody."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs
from support.callers.wire import ask
from support.measure.stopwatch import Stopwatch
from support.network.webhook_receiver import SECRET_PATH, receiving
from support.redis.server import free_port
from support.waiting import until

from gateway.alerts.webhook import Webhook

EVENT = {"text": "It is so.", "name": "drift", "state": "firing"}
PRODUCT = "/product?domain=1&asin=B000000001"


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


def webhook(url, **how):
    """Return one that does not keep the test waiting."""
    return Webhook(url, **{"backoff_seconds": (0.01, 0.01, 0.01), **how})


async def post(url, **how):
    """Post one event; return whether it arrived, and what was logged."""
    with capture_logs() as lines:
        async with webhook(url, **how) as hook:
            arrived = await hook.post(EVENT)
    assert SECRET_PATH[:12] not in str(lines)
    return arrived, lines


async def test_a_post_is_json_at_the_very_url(receiver):
    """One POST of JSON to the URL as it was written, its query too."""
    arrived, lines = await post(receiver.url + "/a%2Fb%7E?sig=%2B%20%2C%7Ex&n=1")
    assert (arrived, receiver.arrived) == (True, [EVENT])
    assert [line["event"] for line in lines] == ["alert_posted"]
    request = receiver.requests[0]
    assert (request.method, request.content_type) == ("POST", "application/json")
    assert request.raw_path == SECRET_PATH + "/a%2Fb%7E?sig=%2B%20%2C%7Ex&n=1"


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
async def test_what_may_pass_is_tried_again(receiver, status):
    """A server's trouble is met with further attempts until it takes the event."""
    receiver.script = [status, status]
    arrived, lines = await post(receiver.url)
    assert (arrived, len(receiver.events), len(receiver.arrived)) == (True, 3, 1)
    assert [(line["event"], line["attempt"], line.get("problem")) for line in lines] == [
        ("alert_not_posted", 1, status), ("alert_not_posted", 2, status), ("alert_posted", 3, None),
    ]  # fmt: skip


async def test_attempts_are_bounded(receiver):
    """After the last pause it is given up."""
    receiver.script = [500] * 10
    arrived, lines = await post(receiver.url)
    assert (arrived, len(receiver.events)) == (False, 4)
    assert [line["event"] for line in lines] == ["alert_not_posted"] * 3 + ["alert_given_up"]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410])
async def test_what_will_not_pass_is_not_tried_again(receiver, status):
    """A wrong URL stays wrong; a redirect is not followed: its server may be anybody's."""
    receiver.script = [status]
    arrived, _ = await post(receiver.url)
    assert (arrived, len(receiver.events)) == (False, 1)


async def test_a_silent_server_is_given_up_in_time(receiver):
    """One that takes the request and says nothing is tried again after the time-out."""
    receiver.script = [None]
    began_at = Stopwatch()
    arrived, lines = await post(receiver.url, post_seconds=0.2)
    assert (arrived, len(receiver.events)) == (True, 2)
    assert began_at.wall_seconds >= 0.2
    assert began_at.seconds < 2
    assert "Timeout" in lines[0]["problem"]


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "no-such-host.invalid", "[::1]:{port}", ".."])
async def test_an_unreachable_server_is_told_in_one_word(host):
    """What is logged is the kind of trouble, without address, host or path."""
    url = f"http://{host.format(port=free_port())}{SECRET_PATH}"
    arrived, lines = await post(url, backoff_seconds=())
    assert not arrived
    assert lines[0]["problem"].isidentifier()


async def test_a_low_balance_is_told_once_and_its_end_once(serve, simulate, receiver):
    """Below ALERT_BALANCE: one post; a lump above it: one more; nothing else in between."""
    simulator = await simulate(tokens=49, refill_rate=20, first_lump_in_ms=3000)
    gateway = await serve(
        simulator, alert_webhook_url=receiver.url, balance_max_age_seconds=1, account="shop"
    )
    begun = await receiver.wait_for("balance_low", "firing")
    assert (begun["balance"], begun["threshold"], begun["floor"]) == (49, 50, 10)
    assert begun["account"] == "shop"
    # 69: in between, and no word of it.
    await gateway.until(lambda tokens: tokens["remaining"] == 69)
    await ask(simulator.url, "/sim/reset", method="POST", body=b'{"tokens": 71}')
    ended = await receiver.wait_for("balance_low", "resolved")
    assert ended["balance"] == 71
    assert ended["since"] == begun["since"] <= begun["at"] < ended["at"]
    assert receiver.told("balance_low", "balance_below_floor") == [
        ("balance_low", "firing"), ("balance_low", "resolved"),
    ]  # fmt: skip


async def test_tokens_that_others_spend_are_told(serve, simulate, receiver):
    """Drift below the floor makes both alarms, and says how many tokens are gone."""
    simulator = await simulate(tokens=100)
    gateway = await serve(simulator, alert_webhook_url=receiver.url, balance_max_age_seconds=1)
    await gateway.until_ready()
    simulator.bucket.spend(95, int(time.time() * 1000))
    drift = await receiver.wait_for("drift", "firing")
    assert (drift["tokens"], drift["balance"]) == (95, 5)
    assert "95 tokens" in drift["text"]
    floor = await receiver.wait_for("balance_below_floor", "firing")
    assert (floor["balance"], floor["threshold"]) == (5, 10)


async def test_an_open_circuit_is_told(serve, simulator, receiver):
    """While Keepa fails and calls are refused the alarm is on."""
    gateway = await serve(simulator, alert_webhook_url=receiver.url, breaker_failures=2)
    for _ in range(2):
        await gateway.ask(PRODUCT, "X-Sim-Fault: drop")
    event = await receiver.wait_for("keepa_outage", "firing")
    assert "circuit_open" in event["text"]
    assert event["threshold"] is None


async def test_no_call_waits_for_a_webhook(serve, simulate, receiver):
    """With a webhook that never answers calls are served as ever, and the stop takes no longer."""
    receiver.script = [None] * 100
    simulator = await simulate(tokens=40)
    gateway = await serve(simulator, alert_webhook_url=receiver.url)
    await until(lambda: receiver.events)
    began_at = Stopwatch()
    answers = await asyncio.gather(*(gateway.ask(PRODUCT) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert began_at.seconds < 2
    assert receiver.arrived == []


async def test_one_post_of_an_alarm_at_a_time(serve, simulate, receiver):
    """While one is under way its claim is renewed, and no second one is begun."""
    receiver.script = [None] * 100
    gateway = await serve(await simulate(tokens=40), alert_webhook_url=receiver.url)
    await until(lambda: receiver.events)
    began_at = time.monotonic()
    # Longer than a claim goes without renewal, shorter than a post may take.
    while time.monotonic() < began_at + 4.2:
        assert (await gateway.ask("/healthz")).status == 200
        assert len(receiver.events) == 1
        await asyncio.sleep(0.1)


async def test_an_emptied_redis_repeats_nothing(serve, simulate, receiver, own_redis):
    """What was told before FLUSHALL is not told again, and its end is."""
    simulator = await simulate(tokens=40)
    await serve(
        simulator,
        alert_webhook_url=receiver.url,
        redis_url=own_redis.url,
        balance_max_age_seconds=1,
    )
    await receiver.wait_for("balance_low", "firing")
    assert own_redis.command("FLUSHALL").startswith(b"+OK")
    await ask(simulator.url, "/sim/reset", method="POST", body=b'{"tokens": 140}')
    await receiver.wait_for("balance_low", "resolved")
    assert receiver.told() == [("balance_low", "firing"), ("balance_low", "resolved")]


async def test_nothing_runs_without_a_url(serve, simulate, redis_server, account):
    """Where nobody is to be told, nothing is watched, and the store has no word of alarms."""
    settings = {"redis_url": redis_server.url, "account": account}
    gateway = await serve(await simulate(tokens=20), **settings)
    await gateway.until_ready()
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert "observer" in names
    assert "alerts" not in names
    key = f"keepa-gateway:{{{account}}}:alarms"
    assert redis_server.command("EXISTS", key) == b":0\r\n"
