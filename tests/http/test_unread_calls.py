"""A call that cannot be read is held at its worst, and whoever is refused for that is told so."""

import json

import pytest
from support.callers.refusals import read_refusal
from support.callers.service_calls import BATCH

UNREAD = {
    "a selection": ("query", "domain=1", b'{"perPage":50', 110, "selection could not be read"),
    "a seller selection": ("sellerquery", "domain=1&selection=x", b"", 110, "selection could not"),
    "trackings": ("tracking", "type=add", b"[{", 3_000, "tracking could not be read"),
    "offers": ("product", "domain=1&asin=B1,B2&offers=x", b"", 120, "offers could not be read"),
    "a limit": ("product", "domain=1&code=1&code-limit=", b"", 10_000, "code-limit could not"),
    "all of it": ("query", "domain=1", b"x" * 4_000_000, 141, "the call is too large to be read"),
}


def ask(gateway, target, body, *headers):
    how = {"method": "POST", "body": body} if body else {}
    return gateway.ask(target, *headers, **how)


@pytest.mark.parametrize("call", UNREAD.values(), ids=UNREAD.keys())
async def test_its_refusal_says_so(gateway, simulator, call):
    """The 429 says what could not be read, in its sentence; `/quote` in its parts."""
    endpoint, query, body, tokens, said = call
    await gateway.until_ready()
    got = await ask(gateway, f"/{endpoint}?{query}", body)
    reason = "exceeds_capacity" if tokens > 1_190 else "floor"
    refused = read_refusal(got, 429, reason, "insufficientTokens")
    assert refused["required_tokens"] == tokens
    assert said in refused["error"]["message"]
    quoted = (await ask(gateway, f"/quote?path={endpoint}&{query}", body)).json()
    assert quoted["required_tokens"] == tokens
    assert "read" in " ".join(part["what"] for part in quoted["parts"])
    assert simulator.state()["calls"] == {"token": 1}


async def test_a_limit_of_one_call_says_so_too(serve, simulator):
    """A call too dear for its service, as far as anybody can tell, is told why."""
    policies = json.dumps({"batch": {"max_cost": 60}})
    gateway = await serve(simulator, service_policies=policies)
    got = await ask(gateway, "/query?domain=1", b"[", BATCH)
    refused = read_refusal(got, 429, "max_cost", "costLimit")
    assert "selection could not be read" in refused["error"]["message"]


async def test_other_refusals_say_nothing_of_it(serve, simulate):
    """Nothing is said of reading where all was read, or where the price is not the reason."""
    poor = await serve(await simulate(tokens=12))
    await poor.until_ready()
    readable = await ask(poor, "/query?domain=1", b'{"perPage":10000}')
    told = read_refusal(readable, 429, "floor", "insufficientTokens")
    assert "read" not in told["error"]["message"]
    slow = await serve(await simulate(tokens=900), rate_limit_per_minute=1, rate_limit_burst=1)
    for _ in range(2):
        got = await ask(slow, "/query?domain=1&selection=x", b"")
    told = read_refusal(got, 429, "rate_limited", "rateLimited")
    assert "read" not in told["error"]["message"]
