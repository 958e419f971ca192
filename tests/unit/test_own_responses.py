"""Answers of the gateway's own making, as bytes."""

import gzip

import orjson
import pytest
from aiohttp.test_utils import make_mocked_request
from support.callers.records import make_record

from gateway.balance import Balance
from gateway.errors import InsufficientTokensError, NotFound
from gateway.front.own_responses import refuse, tell_balance

BALANCE = Balance(
    known=True, tokens=45, held=50, refill_rate=20, flow_micro=1_500_000, lump_in_ms=30_000,
    observed_ms_ago=0, consumed=0,
)  # fmt: skip


def request(accept=None):
    headers = {} if accept is None else {"Accept-Encoding": accept}
    return make_mocked_request("GET", "/product", headers=headers)


def read(response):
    body = response.content
    return orjson.loads(gzip.decompress(body) if "Content-Encoding" in response.fields else body)


@pytest.mark.parametrize(("accept", "packed"), [(None, False), ("gzip", True), ("br", False)])
def test_refusal_as_bytes(accept, packed):
    """A refusal is JSON, gzipped for who takes it, with the wait in a header as well."""
    refusal = InsufficientTokensError(retry_after_ms=1_500)
    facts = make_record(
        BALANCE, endpoint="product", service="pricing", required_tokens=50, floor=10
    )
    response = refuse(request(accept), refusal, facts)
    assert response.status == 429
    assert response.fields.get("Content-Encoding") == ("gzip" if packed else None)
    assert response.fields["Content-Type"].startswith("application/json")
    assert response.fields["Vary"] == "Accept-Encoding"
    assert response.fields["Retry-After"] == "2"
    assert response.fields["X-Keepa-Gateway-Reserved"] == "0"
    assert response.fields["RateLimit"] == '"keepa";r=0;t=30'
    assert read(response)["current_balance"] == -5


def test_refusal_of_what_may_never_be():
    """A client error has neither Retry-After nor RateLimit."""
    response = refuse(request(), NotFound(), make_record(BALANCE))
    assert response.status == 404
    assert not {"Retry-After", "RateLimit", "RateLimit-Policy"} & set(response.fields)


def test_what_stays_held_is_told():
    """A refusal after dispatch tells the tokens that stay held for the call."""
    facts = make_record(BALANCE)
    refusal = InsufficientTokensError(retry_after_ms=1)
    assert refuse(request(), refusal, facts, 7).fields["X-Keepa-Gateway-Reserved"] == "7"


def test_balance_in_keepas_shape():
    """`/token` tells what is available, as Keepa tells what is left."""
    response = tell_balance(request("gzip"), BALANCE, make_record(floor=10))
    told = read(response)
    assert told.pop("timestamp") > 1_700_000_000_000
    assert told == {
        "tokensLeft": -5, "refillIn": 30_000, "refillRate": 20, "tokenFlowReduction": 1.5,
        "tokensConsumed": 0, "processingTimeInMs": 0,
    }  # fmt: skip
