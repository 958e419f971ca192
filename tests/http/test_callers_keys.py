"""Who may call, by which key, and under which name; no caller's key ever leaves."""

import gzip

import pytest
from support.callers.refusals import read_refusal
from support.callers.wire import Caller, write_request
from support.gateways.served import REAL_KEY

KEYS = "pricing:s3cret-of-pricing,research:n0t/pri+cing&"
SECRET = "s3cret-of-pricing"
ODD_SECRET = "n0t/pri+cing&"
ODD_ESCAPED = "n0t%2Fpri%2Bcing%26"
TARGET = "/product?domain=1&asin=B000000001"


@pytest.fixture
async def guarded(serve, simulator):
    """A gateway that knows its callers."""
    return await serve(simulator, service_keys=KEYS)


async def services(gateway):
    return set((await gateway.ask("/status")).json()["services"])


WAYS = {
    "query": (f"{TARGET}&key={SECRET}", [], "GET", b""),
    "key first": (f"/product?key={SECRET}&domain=1&asin=B000000001", [], "GET", b""),
    "escaped name": (f"{TARGET}&%6Bey={SECRET}", [], "GET", b""),
    "escaped value": (f"{TARGET}&key=%733cret-of%2Dpricing", [], "GET", b""),
    "bearer": (TARGET, [f"Authorization: Bearer {SECRET}"], "GET", b""),
    "bearer in lower case": (TARGET, [f"authorization: bearer {SECRET}"], "GET", b""),
    "x-api-key": (TARGET, [f"X-Api-Key: {SECRET}"], "GET", b""),
    "form": ("/product", [], "POST", f"domain=1&asin=B000000001&key={SECRET}".encode()),
    "escaped name in a form": ("/product", [], "POST",
        f"domain=1&k%65y={SECRET}&asin=B000000001".encode()),
    "gzipped form": ("/product", ["Content-Encoding: gzip"], "POST",
        gzip.compress(f"key={SECRET}&domain=1&asin=B000000001".encode())),
    "query with a JSON body": (f"/deal?key={SECRET}&", [], "POST", b'{"page":0,"domainId":1}'),
    "one of several": (f"{TARGET}&key=wrong&key={SECRET}", [], "GET", b""),
    "good header, other query": (f"{TARGET}&key=wrong", [f"X-Api-Key: {SECRET}"], "GET", b""),
    "everywhere": (f"{TARGET}&key={SECRET}", [f"X-Api-Key: {SECRET}",
        f"Authorization: Bearer {SECRET}", "X-Service-Name: research"], "GET", b""),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_each_way_to_carry_a_key(guarded, simulator, way):
    """A key in query, form, bearer or X-Api-Key names the service, and Keepa sees the real one."""
    target, headers, method, body = way
    got = await guarded.ask(target, *headers, method=method, body=body)
    assert got.status == 200, got.plain[:300]
    assert await services(guarded) == {"pricing"}
    sent = simulator.state()["last_call"]
    assert SECRET not in str(sent)
    assert "s3cret" not in str(sent)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_callers_key_never_leaves(serve, keepa, way):
    """What Keepa is sent has the caller's key nowhere, and the real one."""
    gateway = await serve(keepa, service_keys=KEYS)
    target, headers, method, body = way
    assert (await gateway.ask(target, *headers, method=method, body=body)).status == 200
    sent = keepa.requests[-1]
    assert SECRET.encode() not in sent
    assert b"s3cret" not in sent
    assert REAL_KEY.encode() in sent


async def test_odd_secret_is_known_escaped(guarded):
    """A secret with signs of its own is known when it comes percent-encoded, or in a header."""
    assert (await guarded.ask(f"{TARGET}&key={ODD_ESCAPED}")).status == 200
    assert (await guarded.ask(TARGET, f"X-Api-Key: {ODD_SECRET}")).status == 200
    assert await services(guarded) == {"research"}


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (TARGET, []),
        (f"{TARGET}&key=", []),
        (f"{TARGET}&key", []),
        (f"{TARGET}&key=wrong", []),
        (f"{TARGET}&key={SECRET}x", []),
        (f"{TARGET}&key={SECRET.upper()}", []),
        (f"{TARGET}&key={REAL_KEY}", []),
        (f"{TARGET}&Key={SECRET}", []),
        (f"{TARGET}&key=%ff%fe", []),
        (TARGET, ["X-Service-Name: pricing"]),
        (TARGET, [f"Authorization: Basic {SECRET}"]),
        (TARGET, ["Authorization: Bearer"]),
        (TARGET, ["Authorization: Bearer \xff"]),
        (TARGET, ["X-Api-Key: \xff\xfe"]),
        ("/token", []),
        ("/token?key=wrong", []),
    ],
)
async def test_unknown_or_missing_key(guarded, simulator, target, headers):
    """Without a known key a call is a 401 that goes nowhere and tells no balance."""
    await guarded.until(lambda tokens: tokens["remaining"] == 100)
    got = await guarded.ask(target, *headers)
    told = read_refusal(got, 401, "unauthorized")
    assert got.get("WWW-Authenticate").startswith("Bearer")
    assert told["service"] == "unknown"
    assert simulator.state()["calls"] == {"token": 1}


async def test_what_may_never_be_comes_before_what_may_not_be_now(serve, simulate):
    """An unknown caller is told so whatever the balance, the rate and the queue are."""
    simulator = await simulate(tokens=-50)
    gateway = await serve(simulator, service_keys=KEYS, rate_limit_per_minute=1, rate_limit_burst=1)
    read_refusal(await gateway.ask(f"{TARGET}&key=wrong"), 401, "unauthorized")
    read_refusal(await gateway.ask("/a/b?key=wrong"), 404, "not_found")
    read_refusal(await gateway.ask(TARGET, method="PUT"), 405, "method_not_allowed")
    read_refusal(await gateway.ask("/" + "x" * 140_000), 414, "too_large")
    assert (await gateway.ask(f"/tracking?type=list&key={SECRET}")).status == 200
    told = read_refusal(
        await gateway.ask(f"{TARGET}&key={SECRET}"), 429, "floor", "insufficientTokens"
    )
    assert told["service"] == "pricing"


async def test_unknown_caller_is_told_before_redis_is_asked(serve, simulator):
    """An unknown key is a 401 also when the ledger is away."""
    gateway = await serve(simulator, service_keys=KEYS, redis_url="redis://127.0.0.1:1/0")
    read_refusal(await gateway.ask(f"{TARGET}&key=wrong"), 401, "unauthorized")


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("pricing", "pricing"), ("a-b_c-9", "a-b_c-9"), ("x" * 40, "x" * 40),
        ("x" * 41, "anonymous"), ("Pricing", "anonymous"), ("", "anonymous"),
        ("a b", "anonymous"), ('a"} 1\n', "anonymous"), ("é", "anonymous"), ("a:b", "anonymous"),
        ("a|b", "anonymous"), ("a\t", "a"),
    ],
)  # fmt: skip
async def test_name_that_a_caller_gives_itself(gateway, name, service):
    """Without keys a harmless X-Service-Name names the service; any other is `anonymous`."""
    headers = [f"X-Service-Name: {name.strip(chr(10))}".encode()]
    assert (await gateway.ask(f"{TARGET}&key=my-own-key", *headers)).status == 200
    assert await services(gateway) == {service}


async def test_callers_key_is_never_its_name(gateway):
    """Without keys any key will do, and shows nowhere."""
    assert (await gateway.ask(f"{TARGET}&key=pricing")).status == 200
    assert await services(gateway) == {"anonymous"}
    refused = await gateway.ask("/bestsellers?key=my-own-key&category=1&domain=1")
    assert refused.status == 200
    refused = await gateway.ask("/bestsellers?key=my-own-key&category=1&domain=1")
    assert refused.status == 429
    assert b"my-own-key" not in refused.plain + refused.head


async def test_names_are_at_most_fifty(serve, simulate):
    """The fifty-first name and all after it are `other`; the first fifty stay themselves."""
    gateway = await serve(await simulate(tokens=1000))
    async with Caller(gateway.url) as caller:
        for number in [*range(55), 3]:
            await caller.send(write_request(TARGET, [f"X-Service-Name: name{number}"]))
            assert (await caller.receive()).status == 200
    named = (await gateway.ask("/status")).json()["services"]
    assert set(named) == {f"name{number}" for number in range(50)} | {"other"}
    assert named["other"]["used"] == 5
    assert named["name3"]["used"] == 2


async def test_refused_calls_are_counted_to_their_service(serve, simulate):
    """A service's tallies in `/status` tell what it used and how often it was denied."""
    simulator = await simulate(tokens=13)
    gateway = await serve(simulator)
    for _ in range(4):
        await gateway.ask(TARGET, "X-Service-Name: greedy")
    await gateway.at_rest()
    status = (await gateway.ask("/status")).json()
    assert status["services"].keys() == {"greedy"}
    wanted = {"used": 3, "denied": 1, "reserved": 0, "floor": 10}
    assert wanted.items() <= status["services"]["greedy"].items()
