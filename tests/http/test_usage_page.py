"""`/usage`: what it answers, to whom, and that its sums are the truth."""

import asyncio
import csv
import io
import time
from collections import Counter

import pytest
from prometheus_client import CollectorRegistry
from support.callers.records import make_record
from support.callers.refusals import read_refusal
from support.waiting import until

from gateway.call.reports import Reports
from gateway.errors import EndpointNotAllowed, LedgerUnavailable
from gateway.ledger import Ledger, RedisStore, Rules, UsageHistory
from gateway.metrics import Metrics
from gateway.tasks import count_refusals

SHOP, LOFT = "X-Service-Name: shop", "X-Service-Name: loft"
BY_HOUR = "hour,service,endpoint"


def products(number: int) -> str:
    asins = ",".join(f"B{n:09}" for n in range(number))
    return f"/product?domain=1&asin={asins}&key=x"


async def usage(gateway, query=""):
    got = await gateway.ask(f"/usage?{query}")
    assert got.status == 200, got.body
    return got.json()


def rows_of(told):
    """Return the rows by their names: tokens, calls, refusals."""
    return {
        tuple(row[name] for name in told["by"]): (row["tokens"], row["calls"], row["refusals"])
        for row in told["rows"]
    }


@pytest.fixture
async def used(serve, simulate):
    """A gateway where two services used something and were refused something."""
    simulator = await simulate(tokens=100, first_lump_in_ms=50_000)
    policies = '{"loft": {"endpoints": ["product"]}}'
    gateway = await serve(simulator, service_policies=policies)
    for target, service in (
        (products(3), SHOP), (products(2), SHOP), (products(7), LOFT),
        ("/category?domain=1&category=1&key=x", SHOP), (products(99), LOFT),
        ("/seller?domain=1&seller=A&key=x", LOFT),
    ):  # fmt: skip
        await gateway.ask(target, service)

    async def is_counted():
        return (await usage(gateway))["total"]["refusals"] == 2

    await until(is_counted)
    await gateway.at_rest()
    return gateway


WANTED = {
    ("shop", "product"): (5, 2, 0), ("shop", "category"): (1, 1, 0), ("loft", "product"): (7, 1, 1),
    ("loft", "seller"): (0, 0, 1),
}  # fmt: skip


async def test_who_used_what(used):
    """By service and endpoint unless another way is asked for, who used most first."""
    told = await usage(used)
    assert told.keys() == {"from", "to", "by", "rows", "total"}
    assert rows_of(told) == WANTED
    assert [row["tokens"] for row in told["rows"]] == [7, 5, 1, 0]
    assert told["total"] == {"tokens": 13, "calls": 4, "refusals": 2, "tokens_lost": 0}
    assert rows_of(await usage(used, "by=service")) == {("shop",): (6, 3, 0), ("loft",): (7, 1, 2)}
    assert rows_of(await usage(used, "by=endpoint,service")) == {
        (endpoint, service): numbers for (service, endpoint), numbers in WANTED.items()
    }


async def test_when_it_was_used(used):
    """By hour and by day; an hour is told as the moment when it began."""
    told = await usage(used, "by=hour")
    # Two, where the hour ended while the calls were made.
    assert [row["hour"][:10] + row["hour"][13:] for row in told["rows"]] == [
        row["hour"][:10] + ":00:00Z" for row in told["rows"]
    ]
    assert told["from"] < told["rows"][0]["hour"] < told["to"]
    assert sum(row["tokens"] for row in told["rows"]) == told["total"]["tokens"] == 13
    day = (await usage(used, "by=day"))["rows"][-1]["day"]
    assert day == told["rows"][-1]["hour"][:10]
    assert rows_of(await usage(used, f"from={day}&by=day,service"))[day, "loft"][0] in {7, 0}
    both = await usage(used, f"by={BY_HOUR}")
    assert sum(tokens for tokens, *_ in rows_of(both).values()) == 13
    assert rows_of(await usage(used, "to=" + told["from"])) == {}


@pytest.mark.parametrize(
    ("query", "headers", "is_csv"),
    [
        ("", [], False),
        ("format=csv", [], True),
        ("format=csv", ["Accept: application/json"], True),
        ("format=json", ["Accept: text/csv"], False),
        ("", ["Accept: text/csv"], True),
        ("", ["Accept: TEXT/CSV;q=0.9, */*;q=0.1"], True),
        ("", ["Accept: application/json, text/csv"], False),
        ("", ["Accept: */*"], False),
    ],
)
async def test_json_or_csv(used, query, headers, is_csv):
    """CSV where the parameter says so, else where the Accept header names it first."""
    got = await used.ask(f"/usage?{query}", *headers)
    assert got.status == 200
    kind = "text/csv; charset=utf-8" if is_csv else "application/json"
    assert got.get("Content-Type") == kind
    assert got.body.startswith(b"service,endpoint," if is_csv else b'{"from"')


async def test_csv_adds_up_with_what_was_lost(serve, simulate):
    """Lines end as RFC 4180 says; what a full bucket lost is a line without names."""
    simulator = await simulate(tokens=1195, first_lump_in_ms=300)
    gateway = await serve(simulator)

    async def is_lost():
        return (await usage(gateway))["total"]["tokens_lost"]

    assert await until(is_lost) == 15
    assert (await gateway.ask(products(4), SHOP)).status == 200
    await gateway.at_rest()
    got = await gateway.ask("/usage?format=csv&by=service")
    assert got.body == (
        b"service,tokens,calls,refusals,tokens_lost\r\nshop,4,1,0,0\r\n,0,0,0,15\r\n"
    )
    told = await usage(gateway, "by=service")
    assert told["rows"] == [{"service": "shop", "tokens": 4, "calls": 1, "refusals": 0}]
    assert told["total"] == {"tokens": 4, "calls": 1, "refusals": 0, "tokens_lost": 15}
    (day,) = (await usage(gateway, "by=day"))["rows"]
    assert (day["tokens"], day["tokens_lost"]) == (4, 15)
    lines = list(csv.DictReader(io.StringIO((await gateway.ask(
        "/usage?format=csv&by=day"
    )).body.decode())))  # fmt: skip
    assert [(line["tokens"], line["tokens_lost"]) for line in lines] == [("4", "15")]


@pytest.mark.parametrize("query", ["from=x", "by=asin", "format=pdf", "key=x", "from=2030-01-01"])
async def test_a_bad_parameter_is_a_bad_request(gateway, query):
    """400 in the shape of every refusal, with a sentence that says what is allowed."""
    told = read_refusal(await gateway.ask(f"/usage?{query}"), 400, "bad_request")
    assert told["error"]["message"]


async def test_nothing_used_is_no_error(gateway):
    """An empty answer has no rows, and a total of nothing."""
    told = await usage(gateway)
    assert told["rows"] == []
    assert set(told["total"].values()) == {0}
    got = await gateway.ask("/usage?format=csv")
    assert got.body == b"service,endpoint,tokens,calls,refusals,tokens_lost\r\n"
    assert (await gateway.ask("/usage", method="HEAD")).status == 200


async def test_only_the_operator_sees_it(serve, simulator):
    """With ADMIN_TOKEN it wants the bearer token, before it looks at any parameter."""
    gateway = await serve(simulator, admin_token="let-me-in", service_keys="pricing:s3cret")
    for headers in ([], ["Authorization: Bearer s3cret"], ["Authorization: Bearer wrong"]):
        read_refusal(await gateway.ask("/usage?by=asin", *headers), 401, "unauthorized")
    assert (await gateway.ask("/usage", "Authorization: Bearer let-me-in")).status == 200
    assert simulator.state()["calls"].keys() <= {"token"}


async def test_without_a_store_it_is_unavailable(serve, simulator):
    """Redis away: 503, as for a call."""
    gateway = await serve(simulator, redis_url="redis://127.0.0.1:1/0")
    read_refusal(await gateway.ask("/usage"), 503, "ledger_unavailable", "unavailable")


@pytest.fixture(params=["embedded", "redis"])
def shared(request):
    """Settings of gateways that share a ledger; none, where there is but one."""
    if request.param == "embedded":
        return {}
    server, account = (request.getfixturevalue(name) for name in ("redis_server", "account"))
    return {"redis_url": server.url, "account": account}


async def test_sums_are_the_truth(shared, serve, simulate):
    """Tokens are what Keepa charged, calls what reached it, refusals what callers were told.

    On Redis two gateways share one usage.
    """
    simulator = await simulate(tokens=300, first_lump_in_ms=50_000)
    policies = '{"loft": {"tokens_per_hour": 60, "max_cost": 20}}'
    gateways = [
        await serve(simulator, service_policies=policies, **shared)
        for _ in range(2 if shared else 1)
    ]
    for gateway in gateways:
        assert (await gateway.ask("/token?key=x")).status == 200

    async def call(n):
        service = (SHOP, LOFT)[n % 2]
        target = products(1 + n % 24) if n % 3 else "/category?domain=1&category=1&key=x"
        # Charged, and never answered whole: the settle is by what is known.
        fault = ["X-Sim-Fault: error_in_200"] if n % 11 == 5 else []
        got = await gateways[n % len(gateways)].ask(target, service, *fault)
        return service[-4:], target[1:8], got.status

    answers = Counter(await asyncio.gather(*(call(n) for n in range(120))))
    assert {status for *_, status in answers} >= {200, 429}
    wanted = sum(number for (*_, status), number in answers.items() if status == 429)

    async def is_counted():
        return (await usage(gateways[0]))["total"]["refusals"] == wanted

    await until(is_counted)
    for gateway in gateways:
        await gateway.at_rest()
    state, told = simulator.state(), [await usage(gateway) for gateway in gateways]
    assert all(answer["rows"] == told[0]["rows"] for answer in told)
    calls = {name: number for name, number in state["calls"].items() if name != "token"}
    assert told[0]["total"]["tokens"] == state["charged_total"]
    assert told[0]["total"]["calls"] == sum(calls.values())
    by_endpoint = rows_of(await usage(gateways[0], "by=endpoint"))
    assert {endpoint: called for (endpoint,), (_, called, _) in by_endpoint.items()} == calls
    refusals = Counter()
    for (service, path, status), number in answers.items():
        if status == 429:
            refusals[service, "product" if path == "product" else "category"] += number
    rows = rows_of(told[0])
    assert {names: row[2] for names, row in rows.items() if row[2]} == refusals


async def test_a_stop_loses_no_refusal(serve, simulator, redis_server, account, stack):
    """What a policy refused just before the gateway stopped is counted."""
    policies = '{"loft": {"endpoints": ["product"]}}'
    shared = {"redis_url": redis_server.url, "account": account}
    gateway = await serve(simulator, service_policies=policies, **shared)
    got = await gateway.ask("/seller?domain=1&seller=A&key=x", LOFT)
    read_refusal(got, 403, "endpoint_not_allowed", "forbidden")
    await stack.aclose()
    store = RedisStore(redis_server.url)
    await store.open()
    hour = int(time.time() // 3600)
    hours = [counts async for _, counts in UsageHistory(store, account).read(hour - 1, hour + 1)]
    assert hours == [{("loft", "seller", "refusals"): 1}]
    await store.close()


async def test_refusals_wait_for_a_store_that_is_away():
    """What could surely not be counted is kept for the next time."""
    store = RedisStore("redis://127.0.0.1:1/0")
    await store.open()
    metrics = Metrics(CollectorRegistry(), floor=0, safety_buffer=0)
    ledger, reports = Ledger(store, "away", Rules(60, 0, 1, 60, 300), metrics), Reports(metrics)
    record = make_record(endpoint="seller", service="loft")
    for _ in range(2):
        reports.refused(record, EndpointNotAllowed())
        with pytest.raises(LedgerUnavailable):
            await count_refusals(ledger, reports)
    assert reports.take_refusals(9) == {("loft", "seller", "endpoint_not_allowed"): 2}
    await store.close()
