"""The Python client's refusals: read from an answer's bytes, told from Keepa's own errors."""

import pickle

import orjson
import pytest
from support.callers.records import make_record

import keepa_gateway_client as client
from gateway import errors
from gateway.balance import Balance
from gateway.front.own_responses import render
from keepa_gateway_client.refusals import read_refusal

BALANCE = Balance(
    known=True, tokens=45, held=30, refill_rate=20, flow_micro=0, lump_in_ms=30_000,
    observed_ms_ago=0, consumed=0,
)  # fmt: skip
CAPS = {"tokens_per_hour": 600}
CALL = make_record(
    BALANCE, max_items_now=3, endpoint="product", service="pricing", required_tokens=50, floor=10
)


def as_answered(refusal: errors.Refusal) -> client.GatewayRefusal:
    """The gateway's refusal, through its bytes, as the client's."""
    body = orjson.dumps(render(refusal, CALL, 1_795_347_000_000))
    found = read_refusal(refusal.status, body)
    assert found
    return found


def test_fields():
    """A refusal carries each field of the contract, and says in words what is missing."""
    refusal = as_answered(errors.InsufficientTokensError(retry_after_ms=149_500))
    assert vars(refusal).items() >= {
        "status": 429, "error_type": "insufficientTokens", "reason": "floor",
        "endpoint": "product", "service": "pricing", "request_id": "id-1",
        "current_balance": 15, "required_tokens": 50, "floor": 10, "deficit": 45,
        "reserved": 30, "capacity": 1200, "max_items_now": 3,
        "retryable": True, "retry_after_seconds": 150,
    }.items()  # fmt: skip
    assert refusal.fields["refillIn"] == 149_500
    assert str(refusal) == (
        "NOT_ENOUGH_TOKEN: Insufficient Keepa tokens: 15 available, 50 required above a floor of "
        "10; it fits in 150 s (429 floor, request id-1)"
    )


CASES = [
    (errors.InsufficientTokensError(retry_after_ms=1), client.InsufficientTokensError, 1),
    (errors.InsufficientTokensError(retry_after_ms=None), client.InsufficientTokensError, None),
    (errors.ServiceFloor(retry_after_ms=60_000), client.InsufficientTokensError, 60),
    (errors.ExceedsCapacity(), client.InsufficientTokensError, None),
    (errors.ServiceQuota(CAPS, 12, retry_after_ms=9_001), client.QuotaExceeded, 10),
    (errors.ServiceQuota(CAPS, 12, retry_after_ms=None), client.QuotaExceeded, None),
    (errors.ServiceConcurrency(4), client.QuotaExceeded, 1),
    (errors.MaxCost(asked=9, limit=5), client.CostLimit, None),
    (errors.RateLimited(20, retry_after_ms=3_000), client.RateLimited, 3),
    (errors.Unauthorized(), client.Unauthorized, None),
    (errors.EndpointNotAllowed(), client.Forbidden, None),
    # The stock client does not sleep on these either, though they may be tried again.
    (errors.LedgerUnavailable(), client.Unavailable, None),
    (errors.CircuitOpen(retry_after_ms=5_000), client.Unavailable, None),
    (errors.UpstreamTimeout(), client.UpstreamFailed, None),
    (errors.UpstreamUnreachable(), client.UpstreamFailed, None),
    (errors.NotFound(), client.GatewayRefusal, None),
    (errors.InternalError(), client.GatewayRefusal, None),
]


@pytest.mark.parametrize(
    ("refusal", "kind", "seconds"), CASES, ids=[type(case[0]).__name__ for case in CASES]
)
def test_kinds(refusal, kind, seconds):
    """Each refusal of the gateway is of its kind, and tells whether waiting is the answer."""
    found = as_answered(refusal)
    assert type(found) is kind
    assert isinstance(found, RuntimeError)
    assert (found.retryable, found.seconds_to_wait) == (refusal.retryable, seconds)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[]",
        b'{"tokensLeft": -3, "refillIn": 20000}',
        b'{"error": {"type": "invalidParameter", "message": "no"}, "tokensLeft": 5}',
        b'{"error": "no", "reason": "floor", "retryable": true}',
    ],
)
def test_what_is_not_the_gateways(body):
    """Keepa's own errors, and pages of anybody in between, are no refusals."""
    assert read_refusal(429, body) is None


def test_refusal_crosses_processes():
    """A refusal comes whole out of a worker process."""
    refusal = as_answered(errors.InsufficientTokensError(retry_after_ms=1))
    copy = pickle.loads(pickle.dumps(refusal))
    assert (type(copy), vars(copy)) == (type(refusal), vars(refusal))
