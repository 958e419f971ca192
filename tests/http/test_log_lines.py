"""What the log says of each call: one line, with the same facts whoever reads it."""

import orjson
import pytest
from support.callers.refusals import read_refusal
from support.callers.wire import ask

PRODUCT = "/product?domain=1&asin=B000000001,B000000002&key=callers-own-key"
FACTS = {"service", "endpoint", "reserved", "consumed", "outcome", "status", "request_id"}


def calls(log):
    return [event for event in log if event["event"] == "call"]


@pytest.mark.parametrize(
    ("fault", "outcome", "consumed", "status"),
    [
        ("none", "settled", 2, 200),
        ("http_500", "settled", 0, 500),
        ("all_zero", "released", None, 400),
        ("html_503", "doubt", None, 503),
        ("drop", "doubt", None, 502),
    ],
)
async def test_forwarded_call_has_one_line(log, gateway, fault, outcome, consumed, status):
    """A forwarded call is one line: who, what, reserved, consumed, how it ended, how long."""
    headers = ["X-Service-Name: pricing", "X-Request-Id: mine-1", f"X-Sim-Fault: {fault}"]
    await gateway.ask(PRODUCT, *headers)
    (line,) = calls(log)
    assert line.keys() >= FACTS | {"upstream_ms", "added_ms"}
    wanted = {
        "service": "pricing", "endpoint": "product", "reserved": 2, "consumed": consumed,
        "outcome": outcome, "status": status, "request_id": "mine-1", "log_level": "info",
    }  # fmt: skip
    assert wanted.items() <= line.items()
    assert 0 < line["upstream_ms"] < 5_000
    assert 0 <= line["added_ms"] < 5_000


async def test_waiting_for_keepa_is_not_the_gateways_time(log, gateway):
    """Upstream and added milliseconds are told apart."""
    await gateway.ask(PRODUCT, "X-Sim-Latency-Ms: 300")
    (line,) = calls(log)
    assert line["upstream_ms"] >= 300
    assert line["added_ms"] < 250


async def test_refused_call_has_one_line(log, serve, simulate):
    """A refused call is one line with its reason."""
    gateway = await serve(await simulate(tokens=11))
    for target, status, reason, kind in [
        (PRODUCT, 429, "floor", "insufficientTokens"), ("/a/b", 404, "not_found", None),
    ]:  # fmt: skip
        log.clear()
        read_refusal(await ask(gateway.url, target), status, reason, kind)
        (line,) = calls(log)
        assert line.keys() >= {"service", "endpoint", "reserved", "request_id", "added_ms"}
        wanted = {"outcome": "refused", "reason": reason, "status": status, "reserved": 0}
        assert wanted.items() <= line.items()


async def test_token_has_one_line(log, gateway):
    """A `/token` from the ledger is one line that reserves and consumes nothing."""
    await gateway.ask("/token?key=x")
    (line,) = calls(log)
    wanted = {
        "endpoint": "token", "outcome": "answered", "status": 200, "reserved": 0, "consumed": 0,
    }  # fmt: skip
    assert wanted.items() <= line.items()


@pytest.mark.parametrize("target", [PRODUCT, "/lightningdeal", "/token", "/a/b"])
async def test_trace_context_stands_in_the_line(log, gateway, target):
    """A caller's `traceparent` is in the call's line, whatever became of the call."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await gateway.ask(target, f"traceparent: {trace}")
    await gateway.ask(target, "traceparent: 00-callers-own-key")
    await gateway.ask(target)
    assert [line.get("traceparent") for line in calls(log)] == [trace, None, None]


async def test_lines_hold_no_key_and_no_url(log, gateway):
    """No line of a call holds its key, its query or its ASINs."""
    await gateway.ask(PRODUCT)
    await gateway.ask("/a/b?key=callers-own-key")
    text = orjson.dumps(log, default=str).decode()
    for secret in ("callers-own-key", "B000000001", "asin", "realkey"):
        assert secret not in text


async def test_wrong_real_key_is_loud(log, serve, simulate):
    """Keepa's answer to a wrong key is an error in the log."""
    gateway = await serve(await simulate(api_key="another"))
    await gateway.ask("/tracking?type=list")
    loud = [event for event in log if event["event"] == "key_refused_by_keepa"]
    assert {event["log_level"] for event in loud} == {"error"}


async def test_embedded_store_is_announced(log, gateway):
    """Without REDIS_URL the log warns that the budget is this one process's."""
    await gateway.until_ready()
    assert {"event": "embedded_store", "log_level": "warning"}.items() <= log[0].items()


async def test_low_tokens_are_warned_of_once(log, serve, simulator):
    """When what is available falls below SAFETY_BUFFER the log warns, once."""
    gateway = await serve(simulator, safety_buffer=99)

    def warned():
        return [event for event in log if event["event"] == "below_safety_buffer"]

    await gateway.ask(PRODUCT)
    await gateway.until(lambda _: warned())
    assert {"log_level": "warning", "available": 98, "safety_buffer": 99}.items() <= (
        warned()[0].items()
    )
