"""`/quote`: what a call would cost and whether it would run now, consuming nothing."""

import asyncio
import gzip
import json
import time

import pytest
from support.callers.refusals import KEYS, NEVER_MS, read_rate_limit, read_refusal
from support.callers.service_calls import BATCH
from support.measure.stopwatch import Stopwatch
from support.waiting import until

QUOTED = (KEYS - {"error"}) | {"admitted", "parts"}
SECRET = "s3cret-of-batch"


def asins(count):
    return ",".join(f"B{n:09}" for n in range(count))


def batch(**policy):
    return json.dumps({"batch": policy})


def read_quote(got, reason=None):
    """Check a quote against the contract's shape; return its JSON."""
    told = got.json()
    assert (got.status, told["reason"]) == (200, reason), told
    assert told["admitted"] is (reason is None)
    assert got.get("Content-Type").startswith("application/json")
    assert told.keys() <= QUOTED
    assert QUOTED - told.keys() <= {"max_items_now"}
    assert all(part.keys() == {"what", "tokens"} for part in told["parts"])
    assert all(type(part["what"]) is str and part["what"] for part in told["parts"])
    assert (got.get("X-Request-Id"), got.get("Retry-After")) == (told["request_id"], None)
    assert got.get("X-Keepa-Gateway-Reserved") == "0"
    return told


async def test_quote_of_a_call_that_would_run(serve, simulate):
    """A quote tells price and parts, the balance, and that the call would be admitted now."""
    gateway = await serve(await simulate(tokens=100), service_policies=batch(floor=60))
    await gateway.until_ready()
    got = await gateway.ask(
        "/quote?path=product&domain=1&asin=B1,B2,B3&offers=20", BATCH, "X-Request-Id: mine-1"
    )
    told = read_quote(got)
    assert told["parts"] == [{"what": "6 x 2 offer pages x 3 products", "tokens": 36}]
    wanted = {
        "endpoint": "product", "service": "batch", "request_id": "mine-1", "current_balance": 100,
        "required_tokens": 36, "floor": 60, "deficit": 0, "reserved": 0, "capacity": 1200,
        "retryable": True, "retry_after_seconds": 0, "max_items_now": 3, "tokensLeft": 100,
        "refillRate": 20, "tokensConsumed": 0,
    }  # fmt: skip
    assert wanted.items() <= told.items()
    assert told["refillIn"] > 0
    assert read_rate_limit(got)[:2] == (1200, 40)


CALLS = {
    "offers and stock": ("product", "asin=B1,B2&offers=40&stock=1", "", 52),
    "a code": ("product", "code=1,2&code-limit=3", "", 6),
    "a form": ("product", "domain=1", "asin=B1,B2,B3&rating=1", 6),
    "a finder": ("query", "domain=1", '{"perPage": 150}', 12),
    "a finder in a GET": ("query", "selection=%7B%22perPage%22%3A150%7D", "", 12),
    "a search": ("search", "type=product&term=x&page=2", "", 10),
    "a seller finder": ("sellerquery", "domain=1", '{"perPage": 150}', 12),
    "a list": ("bestsellers", "category=3", "", 50),
    "deals": ("deals", "", '{"page": 0}', 5),
    "sellers": ("seller", "seller=A1,A2", "", 2),
    "trackings": ("tracking", "type=add", '[{"asin": "B1"}, {"asin": "B2"}]', 2),
    "free": ("token", "", "", 0),
    "unknown": ("some_new_endpoint", "", "", 50),
    "with slashes": ("/product/", "asin=B1", "", 1),
    "escaped": ("%2Fproduct", "asin=B1", "", 1),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_parts_add_up(gateway, simulator, call):
    """The parts of a quote add up to its tokens, in a GET or a POST, form or JSON."""
    path, query, body, tokens = call
    how = {"method": "POST", "body": body.encode()} if body else {}
    await gateway.until_ready()
    told = read_quote(await gateway.ask(f"/quote?{query}&path={path}", **how))
    assert sum(part["tokens"] for part in told["parts"]) == told["required_tokens"]
    assert told["required_tokens"] == tokens
    assert simulator.state()["calls"] == {"token": 1}


async def test_body_of_a_quote_may_be_packed(gateway):
    """A POST is read as the call's body would be."""
    await gateway.until_ready()
    got = await gateway.ask(
        "/quote?path=product", "Content-Encoding: gzip", "Accept-Encoding: gzip",
        method="POST", body=gzip.compress(b"domain=1&asin=B1,B2"),
    )  # fmt: skip
    assert read_quote(got)["required_tokens"] == 2
    assert got.get("Content-Encoding") == "gzip"


async def test_quote_reserves_what_the_call_then_does(gateway):
    """A call's reservation is the price that it was quoted."""
    await gateway.until_ready()
    call = "domain=1&asin=B0MIN00001&offers=40&stock=1"
    told = read_quote(await gateway.ask(f"/quote?path=product&{call}"))
    got = await gateway.ask(f"/product?{call}")
    assert got.get("X-Keepa-Gateway-Reserved") == str(told["required_tokens"]) == "26"


async def test_quote_has_the_limit_that_would_be_filled_in(serve, simulator):
    """A look-up of codes is quoted with its service's `code_limit`."""
    gateway = await serve(simulator, service_policies=batch(code_limit=5))
    await gateway.until_ready()
    told = read_quote(await gateway.ask("/quote?path=product&code=1,2", BATCH))
    assert told["parts"] == [{"what": "1 x 2 codes x code-limit 5", "tokens": 10}]


async def test_token_is_open_to_all(serve, simulator):
    """`/token` is nobody's to forbid, whatever a service's list of endpoints is."""
    gateway = await serve(simulator, service_policies=batch(endpoints=["deal"]))
    await gateway.until_ready()
    assert read_quote(await gateway.ask("/quote?path=token", BATCH))["required_tokens"] == 0


# Who may ask


async def test_quote_wants_a_key(serve, simulator):
    """With SERVICE_KEYS a quote is for those who may call, whichever way they carry the key."""
    gateway = await serve(simulator, service_keys=f"batch:{SECRET}")
    await gateway.until_ready()
    for target, headers in (
        ("/quote?path=product&asin=B1", []),
        ("/quote?path=product&asin=B1&key=wrong", []),
        ("/quote?path=token", ["X-Service-Name: batch"]),
    ):
        read_refusal(await gateway.ask(target, *headers), 401, "unauthorized")
    form = {"method": "POST", "body": f"asin=B1&key={SECRET}".encode()}
    for target, headers, how in (
        (f"/quote?path=product&asin=B1&key={SECRET}", [], {}),
        (f"/quote?key={SECRET}&path=product&asin=B1", [], {}),
        ("/quote?path=product&asin=B1", [f"Authorization: Bearer {SECRET}"], {}),
        ("/quote?path=product&asin=B1", [f"X-Api-Key: {SECRET}"], {}),
        ("/quote?path=product", [], form),
    ):
        got = await gateway.ask(target, *headers, **how)
        assert read_quote(got)["service"] == "batch"
        assert SECRET.encode() not in got.head + got.plain
        assert b"realkey" not in got.head + got.plain


@pytest.mark.parametrize(
    "target",
    [
        "/quote", "/quote?", "/quote?asin=B1", "/quote?path=", "/quote?path=/", "/quote?path=a/b",
        "/quote?path=a%2Fb", "/quote?path=..", "/quote?path=status", "/quote?path=quote",
        "/quote?path=Metrics", "/quote?path=a%20b", "/quote?path=a%00", "/quote/?path=product",
        "/quote?path=%ff",
    ],
)  # fmt: skip
async def test_quote_of_no_endpoint(gateway, target):
    """What is not the path of a call has no quote."""
    read_refusal(await gateway.ask(target), 404, "not_found")


async def test_quote_is_get_or_post(gateway):
    """Another method is refused as it is for calls."""
    for method in ("PUT", "DELETE", "PATCH"):
        got = await gateway.ask("/quote?path=product&asin=B1", method=method)
        read_refusal(got, 405, "method_not_allowed")


# What it would be told


@pytest.fixture
async def _within_one_hour():
    """Begin no test about a clock window at that window's very end."""
    await until(lambda: time.time() % 3600 < 3570, 40)


PRODUCT = "product?domain=1&asin="
REASONS = {
    "floor": ({}, 12, PRODUCT + asins(5)),
    "exceeds_capacity": ({}, 100, "product?domain=1&offers=100&asin=" + asins(21)),
    "service_floor": ({"floor": 300}, 100, PRODUCT + asins(2)),
    "service_quota": ({"tokens_per_hour": 7}, 100, PRODUCT + asins(8)),
    "max_cost": ({"max_cost": 7}, 100, PRODUCT + asins(8)),
    "max_offers": ({"max_offers": 30}, 100, "product?domain=1&offers=40&asin=B1"),
    "code_limit": ({"code_limit": 3}, 100, "product?domain=1&code=1&code-limit=4"),
    "endpoint_not_allowed": ({"endpoints": ["deal"]}, 100, PRODUCT + "B1"),
    "blocked": ({"blocked": True}, 100, PRODUCT + "B1"),
}
OF_THE_MOMENT = {"error", "request_id", "timestamp", "refillIn", "retry_after_seconds"}


async def check_same(gateway, call, status, reason):
    """The quote's fields are those of the refusal that the call then gets."""
    path, _, query = call.partition("?")
    quoted = read_quote(await gateway.ask(f"/quote?path={path}&{query}", BATCH), reason)
    got = await gateway.ask(f"/{call}", BATCH)
    refused = read_refusal(got, status, reason, got.json()["error"]["type"])
    for name in refused.keys() - OF_THE_MOMENT:
        assert quoted[name] == refused[name], name
    assert abs(quoted["refillIn"] - refused["refillIn"]) < 3_000
    seconds = quoted["retry_after_seconds"]
    assert (seconds is None) == (refused["retry_after_seconds"] is None)
    assert seconds is None or abs(seconds - refused["retry_after_seconds"]) <= 3
    assert sum(part["tokens"] for part in quoted["parts"]) == (refused["required_tokens"] or 1)
    return quoted


@pytest.mark.usefixtures("_within_one_hour")
@pytest.mark.parametrize("reason", REASONS)
async def test_quote_tells_what_the_call_would_be_told(serve, simulate, reason):
    """For each reason that budget and policies have, the quote is the refusal's own fields."""
    policy, tokens, call = REASONS[reason]
    simulator = await simulate(tokens=tokens, first_lump_in_ms=40_000)
    gateway = await serve(simulator, service_policies=batch(**policy))
    await gateway.until_ready()
    status = 403 if reason in {"endpoint_not_allowed", "blocked"} else 429
    await check_same(gateway, call, status, reason)
    assert simulator.state()["calls"] == {"token": 1}


async def test_quote_of_calls_in_flight_and_of_the_rate(serve, simulator):
    """Concurrency and request rate are told as well, as they are now."""
    gateway = await serve(
        simulator,
        service_policies=batch(max_concurrency=1),
        rate_limit_per_minute=2,
        rate_limit_burst=1,
    )
    call = asyncio.create_task(gateway.ask("/" + PRODUCT + "B1", BATCH, "X-Sim-Latency-Ms: 600"))
    await gateway.until(lambda tokens: tokens["reserved"] == 1)
    quoted = await check_same(gateway, PRODUCT + "B1", 429, "service_concurrency")
    assert (quoted["reserved"], quoted["current_balance"]) == (1, 99)
    assert (await call).status == 200
    await gateway.at_rest()
    quoted = await check_same(gateway, PRODUCT + "B1", 429, "rate_limited")
    assert 20_000 < quoted["refillIn"] <= 30_000


async def test_quote_of_an_open_circuit(serve, simulator):
    """While calls are refused because Keepa fails, the quote says so."""
    gateway = await serve(simulator, breaker_failures=1)
    assert (await gateway.ask("/product?domain=1&asin=B1", "X-Sim-Fault: drop")).status == 502
    await check_same(gateway, PRODUCT + "B1", 503, "circuit_open")


async def test_quote_without_a_balance(serve):
    """A balance that is not known is told in the quote; a Redis that is away is a 503."""
    gateway = await serve("http://127.0.0.1:1")
    told = read_quote(await gateway.ask("/quote?path=product&asin=B1"), "balance_unknown")
    assert (told["current_balance"], told["tokensLeft"]) == (None, 0)
    assert (told["retryable"], told["retry_after_seconds"], told["required_tokens"]) == (True, 2, 1)
    away = await serve("http://127.0.0.1:1", redis_url="redis://127.0.0.1:1/0")
    got = await away.ask("/quote?path=product&asin=B1")
    assert read_refusal(got, 503, "ledger_unavailable", "unavailable")["required_tokens"] == 1


async def test_quote_waits_for_a_balance_as_the_call_would(serve, simulator, own_redis):
    """A new ledger admits nothing for 2.5 s: quote and call are told what comes after."""
    gateway = await serve(simulator, redis_url=own_redis.url)
    quoted, called = await asyncio.gather(
        gateway.ask("/quote?path=product&asin=B1"), gateway.ask("/product?domain=1&asin=B1")
    )
    assert called.status == 200
    assert read_quote(quoted)["current_balance"] in {99, 100}


async def test_quote_says_when_it_fits(serve, simulate):
    """Who waits as long as the quote says is admitted."""
    gateway = await serve(await simulate(tokens=10, first_lump_in_ms=1_200))
    await gateway.until_ready()
    call = "domain=1&asin=" + asins(20)
    told = read_quote(await gateway.ask(f"/quote?path=product&{call}"), "floor")
    assert (told["deficit"], told["max_items_now"], told["retry_after_seconds"]) == (20, 0, 2)
    assert 0 < told["refillIn"] <= 1_300
    await asyncio.sleep(told["refillIn"] / 1000)
    assert read_quote(await gateway.ask(f"/quote?path=product&{call}"))["deficit"] == 0
    assert (await gateway.ask(f"/product?{call}")).status == 200


@pytest.mark.parametrize(
    ("policy", "count", "fits"),
    [({}, 100, 90), ({}, 3, 3), ({"floor": 95}, 9, 5), ({"max_cost": 4}, 9, 4),
     ({"tokens_per_day": 50}, 60, 50)],
)  # fmt: skip
async def test_items_that_fit_now(serve, simulator, policy, count, fits):
    """`max_items_now` is what balance, floor, caps and `max_cost` leave; as many then pass."""
    gateway = await serve(simulator, service_policies=batch(**policy))
    await gateway.until_ready()
    target = f"/quote?path=product&domain=1&asin={asins(count)}"
    assert (await gateway.ask(target, BATCH)).json()["max_items_now"] == fits
    got = await gateway.ask(f"/product?domain=1&asin={asins(fits)}", BATCH)
    assert got.status == 200


async def test_what_can_never_fit(serve, simulate):
    """A call dearer than the bucket is quoted as never: an hour, and not retryable."""
    gateway = await serve(await simulate(tokens=60, refill_rate=1))
    await gateway.until_ready()
    told = read_quote(await gateway.ask("/quote?path=lightningdeal&domain=1"), "exceeds_capacity")
    assert (told["retryable"], told["refillIn"]) == (False, NEVER_MS)
    assert told["retry_after_seconds"] is None


# What it costs


async def test_quote_consumes_nothing(serve, simulate):
    """Quotes reach Keepa never, take no token and no slot, and are counted nowhere."""
    simulator = await simulate(tokens=30)
    gateway = await serve(
        simulator,
        service_policies=batch(tokens_per_hour=3, max_concurrency=1),
        rate_limit_per_minute=1,
        rate_limit_burst=1,
    )
    await gateway.until_ready()
    before = await still(gateway)
    for count in (1, 2, 4, 60):
        for _ in range(5):
            got = await gateway.ask(f"/quote?path=product&asin={asins(count)}", BATCH)
            assert got.json()["admitted"] is (count < 4)
    assert await still(gateway) == before
    assert simulator.state()["calls"] == {"token": 1}
    text = (await gateway.ask("/metrics")).body.decode()
    assert "keepa_gateway_requests_total{" not in text
    assert "keepa_gateway_denied_total{" not in text
    assert (await gateway.ask(f"/product?domain=1&asin={asins(3)}", BATCH)).status == 200


async def still(gateway):
    """What `/status` tells but for what passes with time."""
    status = (await gateway.ask("/status")).json()
    for name in ("refill_in_ms", "refill_in_minutes", "observed_seconds_ago"):
        del status["tokens"][name]
    for row in status["services"].values():
        del row["hour"]["ends_in_seconds"], row["day"]["ends_in_seconds"]
    return status


async def test_quote_takes_no_place_in_the_line(serve, simulate):
    """A quote does not wait, whatever it prefers, and nobody waits behind it."""
    gateway = await serve(await simulate(tokens=12, first_lump_in_ms=40_000))
    await gateway.until_ready()
    began = Stopwatch()
    got = await gateway.ask(f"/quote?path=product&asin={asins(9)}", BATCH, "Prefer: wait=60")
    read_quote(got, "floor")
    assert began.seconds < 5
    assert "batch" not in (await gateway.ask("/status")).json()["services"]
    assert (await gateway.ask("/product?domain=1&asin=B000000001", BATCH)).status == 200
