"""The tree of refusals, and the one shape that they are rendered in."""

import inspect
import re
from pathlib import Path

import pytest
from support.callers.records import make_record

from gateway import errors
from gateway.balance import Balance
from gateway.errors import (
    BadRequest,
    BalanceUnknown,
    CircuitOpen,
    CodeLimit,
    EndpointNotAllowed,
    ExceedsCapacity,
    InsufficientTokensError,
    InternalError,
    LedgerUnavailable,
    MaxCost,
    MaxOffers,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RateLimited,
    Refusal,
    ServiceBlocked,
    ServiceConcurrency,
    ServiceFloor,
    ServiceQuota,
    TooLarge,
    TooSlow,
    Unauthorized,
    UnsupportedEncoding,
    UpstreamTimeout,
    UpstreamUnreachable,
    UriTooLong,
)
from gateway.front.own_responses import render

NOW_MS = 1_795_347_000_000
BALANCE = Balance(
    known=True, tokens=45, held=30, refill_rate=20, flow_micro=500_000, lump_in_ms=1_001,
    observed_ms_ago=0, consumed=0,
)  # fmt: skip
CAPS = {"tokens_per_hour": 600}
CLIENT = (
    BadRequest, Unauthorized, ServiceBlocked, EndpointNotAllowed, NotFound, MethodNotAllowed,
    TooSlow, TooLarge, UriTooLong, UnsupportedEncoding,
)  # fmt: skip
# Status, reason, type, retryable, seconds: as the contract's table has it.
TABLE = [
    (InsufficientTokensError(retry_after_ms=150_000), 429, "floor", "insufficientTokens", 150),
    (InsufficientTokensError(retry_after_ms=None), 429, "floor", "insufficientTokens", None),
    (ExceedsCapacity(), 429, "exceeds_capacity", "insufficientTokens", None),
    (ServiceFloor(retry_after_ms=60_001), 429, "service_floor", "insufficientTokens", 61),
    (ServiceFloor(retry_after_ms=None), 429, "service_floor", "insufficientTokens", None),
    (ServiceQuota(CAPS, 12, retry_after_ms=90_000), 429, "service_quota", "quotaExceeded", 90),
    (ServiceQuota(CAPS, 12, retry_after_ms=None), 429, "service_quota", "quotaExceeded", None),
    (ServiceConcurrency(4), 429, "service_concurrency", "quotaExceeded", 1),
    (MaxCost(asked=50, limit=40), 429, "max_cost", "costLimit", None),
    (MaxOffers(asked=60, limit=40), 429, "max_offers", "costLimit", None),
    (CodeLimit(asked=20, limit=5), 429, "code_limit", "costLimit", None),
    (ServiceBlocked(), 403, "blocked", "forbidden", None),
    (EndpointNotAllowed(), 403, "endpoint_not_allowed", "forbidden", None),
    (RateLimited(20, retry_after_ms=2_001), 429, "rate_limited", "rateLimited", 3),
    (Unauthorized(), 401, "unauthorized", "unauthorized", None),
    (NotFound(), 404, "not_found", "not_found", None),
    (MethodNotAllowed(), 405, "method_not_allowed", "method_not_allowed", None),
    (TooLarge(), 413, "too_large", "too_large", None),
    (UriTooLong(), 414, "too_large", "too_large", None),
    (TooSlow(), 408, "too_slow", "too_slow", None),
    (LedgerUnavailable(), 503, "ledger_unavailable", "unavailable", 2),
    (BalanceUnknown(), 503, "balance_unknown", "unavailable", 2),
    (CircuitOpen(retry_after_ms=1_500), 503, "circuit_open", "unavailable", 2),
    (Overloaded(), 503, "overloaded", "unavailable", 1),
    (UpstreamUnreachable(), 502, "upstream_unreachable", "upstream", 5),
    (UpstreamTimeout(), 504, "upstream_timeout", "upstream", 5),
    (BadRequest(), 400, "bad_request", "bad_request", None),
    (UnsupportedEncoding(), 415, "unsupported_encoding", "unsupported_encoding", None),
    (InternalError(), 500, "internal", "internal", 5),
]


def call(balance=BALANCE, **facts):
    known = {"endpoint": "product", "service": "pricing", "required_tokens": 50, "floor": 10}
    return make_record(balance, **{**known, **facts})


@pytest.mark.parametrize(("refusal", "status", "reason", "kind", "seconds"), TABLE)
def test_each_row_of_the_contracts_table(refusal, status, reason, kind, seconds):
    """Status, reason, type, retryable and Retry-After of each refusal are the contract's."""
    told = render(refusal, call(), NOW_MS)
    assert (refusal.status, told["reason"], told["error"]["type"]) == (status, reason, kind)
    assert (told["retryable"], told["retry_after_seconds"]) == (seconds is not None, seconds)
    assert told["timestamp"] == NOW_MS
    assert told["request_id"] == "id-1"
    assert told["refillIn"] > 0
    assert told["refillRate"] > 0


def test_the_example_of_the_contract():
    """The floor's refusal is the contract's example, number by number."""
    told = render(InsufficientTokensError(retry_after_ms=150_000), call(), NOW_MS)
    assert told == {
        "error": {
            "type": "insufficientTokens",
            "message": "Insufficient Keepa tokens: 15 available, 50 required above a floor of 10; "
            "it fits in 150 s",
            "details": "product",
        },
        "reason": "floor", "endpoint": "product", "service": "pricing", "request_id": "id-1",
        "current_balance": 15, "required_tokens": 50, "floor": 10, "deficit": 45, "reserved": 30,
        "capacity": 1200, "retryable": True, "retry_after_seconds": 150, "timestamp": NOW_MS,
        "tokensLeft": 15, "refillIn": 150_000, "refillRate": 20, "tokenFlowReduction": 0.5,
        "tokensConsumed": 0, "processingTimeInMs": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("required", "floor", "available", "deficit"),
    [(50, 10, 15, 45), (1, 10, 10, 1), (1, -50, 0, 1), (1, -50, -5, 6), (5, -2, -1, 4),
     (60, -50, 0, 10)],
)  # fmt: skip
def test_deficit(required, floor, available, deficit):
    """The deficit is max(required + floor, 1) - available."""
    balance = BALANCE._replace(tokens=available, held=0)
    refusal = InsufficientTokensError(retry_after_ms=1)
    told = render(refusal, call(balance, required_tokens=required, floor=floor), NOW_MS)
    assert told["deficit"] == deficit
    assert told["tokensLeft"] == max(0, available)


@pytest.mark.parametrize("kind", CLIENT)
def test_client_errors_carry_no_balance(kind):
    """What may never be done is told without any balance, and with a minute's wait."""
    told = render(kind(), call(), NOW_MS)
    nulls = ("current_balance", "required_tokens", "floor", "deficit", "reserved", "capacity")
    assert {told[name] for name in nulls} == {None}
    assert (told["tokensLeft"], told["refillIn"], told["refillRate"]) == (0, 60_000, 1)


@pytest.mark.parametrize("refusal", [LedgerUnavailable(), BalanceUnknown()])
def test_unknown_balance_is_null_and_the_rate_the_last_known(refusal):
    """Without a balance it is null, a deficit is 0, the refill rate is the last known or 1."""
    told = render(refusal, call(BALANCE._replace(known=False)), NOW_MS)
    assert (told["current_balance"], told["reserved"], told["capacity"]) == (None, None, None)
    assert (told["deficit"], told["tokensLeft"], told["refillRate"]) == (0, 0, 20)
    assert told["refillIn"] == 2_000
    assert render(refusal, make_record(), NOW_MS)["refillRate"] == 1


@pytest.mark.parametrize(
    "refusal",
    [
        RateLimited(20, retry_after_ms=1), Overloaded(), ServiceQuota(CAPS, 12, retry_after_ms=1),
        ServiceQuota(CAPS, 12, retry_after_ms=None), ServiceConcurrency(4),
        MaxCost(asked=50, limit=40), MaxOffers(asked=60, limit=40), CodeLimit(asked=20, limit=5),
    ],
)  # fmt: skip
def test_other_reasons_have_a_balance_and_no_deficit(refusal):
    """Where tokens are not the reason the deficit is 0; the balance is told all the same."""
    told = render(refusal, call(), NOW_MS)
    assert told["deficit"] == 0
    assert (told["current_balance"], told["required_tokens"], told["floor"]) == (15, 50, 10)
    assert (told["capacity"], told["refillRate"]) == (1200, 20)


@pytest.mark.parametrize(
    "refusal",
    [
        MaxCost(asked=50, limit=40),
        ServiceQuota(CAPS, 12, retry_after_ms=None),
        ServiceFloor(retry_after_ms=None),
    ],
)
def test_what_never_fits_keeps_clients_quiet_for_an_hour(refusal):
    """A call that waiting will not help is told an hour, and no Retry-After."""
    told = render(refusal, call(), NOW_MS)
    assert told["refillIn"] == 3_600_000
    assert (told["retryable"], told["retry_after_seconds"]) == (False, None)


def test_cost_limits_are_told_before_any_balance_is_known():
    """A limit's refusal needs no balance: what is unknown is null."""
    told = render(MaxCost(asked=50, limit=40), make_record(required_tokens=50), NOW_MS)
    assert (told["current_balance"], told["reserved"], told["capacity"]) == (None, None, None)
    assert (told["required_tokens"], told["deficit"], told["tokensLeft"]) == (50, 0, 0)
    assert (told["refillIn"], told["refillRate"]) == (3_600_000, 1)


def test_the_service_floor_is_the_one_that_is_told():
    """A service's own floor stands in the answer and in its deficit."""
    told = render(ServiceFloor(retry_after_ms=1), call(floor=300), NOW_MS)
    assert (told["floor"], told["deficit"]) == (300, 335)


@pytest.mark.parametrize(("ms", "seconds"), [(1, 1), (999, 1), (1000, 1), (1001, 2), (60_000, 60)])
def test_seconds_are_rounded_up(ms, seconds):
    """Retry-After is whole seconds, never too few, never 0."""
    assert InsufficientTokensError(retry_after_ms=ms).retry_after_seconds == seconds


@pytest.mark.parametrize("ms", [0, -5])
def test_a_wait_of_nothing_is_still_a_wait(ms):
    """`refillIn` is above 0 whatever the wait: PHP asks again at once, for ever, at 0."""
    refusal = InsufficientTokensError(retry_after_ms=ms)
    told = render(refusal, call(), NOW_MS)
    assert told["refillIn"] >= 1
    assert told["retry_after_seconds"] == 1


def test_the_tree_in_the_docstring_is_the_tree():
    """The module's drawing names every class with the status and reason that it has."""
    drawn = dict(re.findall(r"── (\w+) +(\d{3} \w+)", errors.__doc__))
    real = {
        name: f"{kind.status} {kind.reason}"
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Refusal) and kind is not Refusal and not name.startswith("_")
    }
    assert real.pop("UriTooLong") == "414 too_large"
    assert drawn == real
    assert Path(errors.__file__).exists()
