"""What a policy says of one call: limits, endpoints, and the limit that is filled in."""

import gzip
import json
import re
import zlib

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.callers.refusals import NEVER_MS, check_balance, read_rate_limit, read_refusal
from support.callers.service_calls import BATCH, SHOP, products
from support.gateways.served import REAL_KEY


def batch(**policy):
    return json.dumps({"batch": policy})


# What may never be done

COST_LIMITS = {
    "max_cost": ({"max_cost": 40}, products(41), 41, 40,
        "The call may cost 41 tokens; this service's max_cost is 40"),
    "max_offers": ({"max_offers": 40}, "/product?domain=1&offers=50&asin=B000000001", 30, 1,
        "The call asks for 50 offers; this service's max_offers is 40"),
    "code_limit": ({"code_limit": 5}, "/product?domain=1&code=1,2&code-limit=6", 12, 2,
        "The call asks for 6 products for each code; this service's code_limit is 5"),
}  # fmt: skip


@pytest.mark.parametrize("reason", COST_LIMITS)
async def test_cost_limits(serve, simulator, reason):
    """A call too dear for its service is told so, what it asked and what it may, and no wait."""
    policy, target, required, fits, message = COST_LIMITS[reason]
    gateway = await serve(simulator, service_policies=batch(**policy))
    await gateway.until_ready()
    got = await gateway.ask(target, BATCH, "Accept-Encoding: gzip")
    told = read_refusal(got, 429, reason, "costLimit")
    assert got.get("Content-Encoding") == "gzip"
    check_balance(told, available=100, required=required)
    assert (told["retryable"], told["refillIn"], told["deficit"]) == (False, NEVER_MS, 0)
    assert (told["max_items_now"], told["refillRate"]) == (fits, 20)
    assert told["error"]["message"].startswith(f"{message}; it never fits")
    assert got.get("X-Keepa-Gateway-Reserved") == "0"
    assert read_rate_limit(got)[:2] == (1200, 90)
    assert (await gateway.ask(target, SHOP)).status == 200


@pytest.mark.parametrize(
    ("policy", "target"),
    [
        ({"max_cost": 40}, products(40)),
        ({"max_offers": 40}, "/product?domain=1&offers=40&asin=B000000001"),
        ({"code_limit": 5}, "/product?domain=1&code=1,2&code-limit=5"),
        ({"code_limit": 5, "max_offers": 20, "max_cost": 1}, "/product?domain=1&asin=B000000001"),
    ],
)
async def test_the_limit_itself_is_allowed(serve, simulator, policy, target):
    """What a policy names as the most may be asked for."""
    gateway = await serve(simulator, service_policies=batch(**policy))
    assert (await gateway.ask(target, BATCH)).status == 200


async def test_endpoints_that_a_service_may_not_call(serve, simulator):
    """Only the endpoints of its list are a service's; a 403 tells no balance and goes nowhere."""
    gateway = await serve(simulator, service_policies=batch(endpoints=["product"]))
    await gateway.until_ready()
    for target in ("/bestsellers?domain=1&category=3", "/some_new_endpoint", "/deal?selection={}"):
        got = await gateway.ask(target, BATCH, "Accept-Encoding: gzip")
        told = read_refusal(got, 403, "endpoint_not_allowed", "forbidden")
        assert (told["service"], got.get("Content-Encoding")) == ("batch", "gzip")
    assert simulator.state()["calls"] == {"token": 1}
    assert (await gateway.ask(products(1), BATCH)).status == 200
    assert (await gateway.ask("/bestsellers?domain=1&category=3", SHOP)).status == 200


async def test_token_is_open_to_all(serve, simulator):
    """Stock clients ask `/token` before all else: no list closes it."""
    gateway = await serve(simulator, service_policies=batch(endpoints=["product"], floor=70))
    got = await gateway.ask("/token", BATCH)
    assert (got.status, got.json()["tokensLeft"]) == (200, 100)
    assert read_rate_limit(got)[1] == 30


@pytest.mark.parametrize("named", ["deal", "deals"])
async def test_deals_is_deal(serve, keepa, named):
    """`deals` in a list is read as `deal`, and the path `/deals` too."""
    gateway = await serve(keepa, service_policies=batch(endpoints=[named]))
    for path in ("/deal", "/deals", "/deal/"):
        assert (await gateway.ask(f"{path}?selection={{}}", BATCH)).status == 200


NEVER = {
    "endpoint_not_allowed": (403, "forbidden", "/bestsellers?category=3"),
    "max_offers": (429, "costLimit", "/product?domain=1&offers=50&asin=B1"),
    "code_limit": (429, "costLimit", "/product?domain=1&code=1&code-limit=6"),
    "max_cost": (429, "costLimit", products(41)),
}
STRICT = batch(
    endpoints=["product"], max_offers=40, code_limit=5, max_cost=40, floor=300,
    max_concurrency=1, tokens_per_hour=40,
)  # fmt: skip


@pytest.mark.parametrize("reason", NEVER)
async def test_never_comes_before_not_now(serve, simulate, reason):
    """What a call may never do is its answer, whatever balance, rate and circuit say."""
    status, kind, target = NEVER[reason]
    gateway = await serve(
        await simulate(tokens=-50),
        service_policies=STRICT,
        rate_limit_per_minute=1,
        rate_limit_burst=1,
        breaker_failures=1,
    )
    # An answer to its own question meanwhile would show that Keepa is alive.
    await gateway.until_ready()
    got = await gateway.ask("/tracking?type=list", SHOP, "X-Sim-Fault: drop")
    assert got.status == 502
    read_refusal(await gateway.ask(products(1), BATCH), 503, "circuit_open", "unavailable")
    told = read_refusal(await gateway.ask(target, BATCH, "Prefer: wait=9"), status, reason, kind)
    assert not told["retryable"]


@pytest.mark.parametrize("reason", NEVER)
async def test_policy_refuses_without_a_store(serve, reason):
    """What a policy alone forbids is told with Redis away; then nobody knows a balance."""
    status, kind, target = NEVER[reason]
    away = {"redis_url": "redis://127.0.0.1:1/0"}
    gateway = await serve("http://127.0.0.1:1", service_policies=STRICT, **away)
    read_refusal(await gateway.ask(products(1), BATCH), 503, "ledger_unavailable", "unavailable")
    told = read_refusal(await gateway.ask(target, BATCH), status, reason, kind)
    assert (told["current_balance"], told["capacity"], told["tokensLeft"]) == (None, None, 0)


async def test_refused_by_policy_takes_nothing(serve, simulator):
    """A call that a policy refuses takes no token, no request slot and no call to Keepa."""
    gateway = await serve(
        simulator, service_policies=STRICT, rate_limit_per_minute=1, rate_limit_burst=1
    )
    for _, _, target in NEVER.values():
        assert (await gateway.ask(target, BATCH)).status in {403, 429}
    assert simulator.state()["calls"].keys() <= {"token"}
    assert (await gateway.ask(products(1), SHOP)).status == 200


async def test_denials_are_counted_by_reason(serve, simulator):
    """`denied_total` has service, endpoint, reason and mode of each refusal."""
    gateway = await serve(simulator, service_policies=STRICT)
    for _, _, target in NEVER.values():
        await gateway.ask(target, BATCH)
    text = (await gateway.ask("/metrics")).body.decode()
    counted = {
        (sample.labels["endpoint"], sample.labels["reason"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "keepa_gateway_denied_total"
        and (sample.labels["service"], sample.labels["mode"]) == ("batch", "enforced")
    }
    assert counted == {
        ("bestsellers", "endpoint_not_allowed"): 1, ("product", "max_offers"): 1,
        ("product", "code_limit"): 1, ("product", "max_cost"): 1,
    }  # fmt: skip
    assert re.search(r"^keepa_gateway_tokens_debt 0\.0$", text, re.MULTILINE)


# The limit that is filled in

CODES = "/product?x=a+b%2Cc&CODE=%31,2&&key=mine&domain=1"
CODES_SENT = f"/product?x=a+b%2Cc&CODE=%31,2&&key={REAL_KEY}&domain=1"
FORM = b"x=a+b%2Cc&code=%31,2&&key=mine&domain=1"
FORM_SENT = FORM.replace(b"mine", REAL_KEY.encode())


def parts_of(request):
    """Target, header lines and body of what Keepa was sent."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first.split(" ")[1], {line.lower() for line in lines}, body


async def test_code_limit_is_filled_in_a_query(serve, keepa):
    """A look-up of codes without `code-limit` gets the policy's; all else stays byte for byte."""
    gateway = await serve(keepa, service_policies=batch(code_limit=7))
    got = await gateway.ask(CODES, BATCH)
    assert (got.status, got.get("X-Keepa-Gateway-Reserved")) == (200, "14")
    assert parts_of(keepa.requests[-1])[0] == f"{CODES_SENT}&code-limit=7"


@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
async def test_code_limit_is_filled_in_a_form(serve, keepa, coding):
    """In a form, packed or not, the limit stands where the codes do; it then leaves unpacked."""
    gateway = await serve(keepa, service_policies=batch(code_limit=7))
    packed = {"": FORM, "gzip": gzip.compress(FORM), "deflate": zlib.compress(FORM)}[coding]
    headers = [BATCH, "Content-Type: application/x-www-form-urlencoded"]
    headers += [f"Content-Encoding: {coding}"] if coding else []
    got = await gateway.ask("/product", *headers, method="POST", body=packed)
    assert (got.status, got.get("X-Keepa-Gateway-Reserved")) == (200, "14")
    target, lines, body = parts_of(keepa.requests[-1])
    assert (target.partition("?")[0], body) == ("/product", FORM_SENT + b"&code-limit=7")
    assert f"content-length: {len(body)}" in lines
    assert not any(line.startswith("content-encoding") for line in lines)


@pytest.mark.parametrize(
    ("policy", "target"),
    [
        ({"floor": 20}, CODES),
        ({"code_limit": 7}, f"{CODES}&code-limit=3"),
        ({"code_limit": 7}, "/product?asin=B1,B2&key=mine&code="),
        ({"code_limit": 7}, "/search?type=product&term=code&key=mine&code=1"),
    ],
)
async def test_code_limit_is_filled_in_nowhere_else(serve, keepa, policy, target):
    """Without the policy, with a limit of its own, or without codes a query stays as it came."""
    gateway = await serve(keepa, service_policies=batch(**policy))
    assert (await gateway.ask(target, BATCH)).status == 200
    sent, _, _ = parts_of(keepa.requests[-1])
    assert sent == target.replace("mine", REAL_KEY)


async def test_filled_in_limit_bounds_what_keepa_charges(serve, simulator):
    """One look-up that might cost 1 500 tokens costs no more than the limit."""
    gateway = await serve(simulator, service_policies=batch(code_limit=5))
    got = await gateway.ask("/product?domain=1&code=1500150015001", BATCH)
    assert (got.status, got.json()["tokensConsumed"]) == (200, 5)
    assert (await gateway.at_rest())["remaining"] == 95


async def test_filled_in_limit_counts_against_max_cost(serve, simulator):
    """A look-up is judged by what it costs with the limit."""
    gateway = await serve(simulator, service_policies=batch(code_limit=5, max_cost=9))
    await gateway.until_ready()
    told = read_refusal(
        await gateway.ask("/product?domain=1&code=1,2", BATCH), 429, "max_cost", "costLimit"
    )
    assert (told["required_tokens"], told["max_items_now"]) == (10, 1)
