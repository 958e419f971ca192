"""The one sentence of each refusal: what is missing, which limit, and what to do."""

import pytest
from support.callers.records import make_record

from gateway.balance import Balance
from gateway.errors import (
    BalanceUnknown,
    CircuitOpen,
    CodeLimit,
    EndpointNotAllowed,
    ExceedsCapacity,
    InsufficientTokensError,
    LedgerUnavailable,
    MaxCost,
    MaxOffers,
    NotFound,
    Overloaded,
    RateLimited,
    ServiceConcurrency,
    ServiceFloor,
    ServiceQuota,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.front.wording import describe

BALANCE = Balance(
    known=True, tokens=45, held=30, refill_rate=20, flow_micro=0, lump_in_ms=1_001,
    observed_ms_ago=0, consumed=0,
)  # fmt: skip
CAPS = {"tokens_per_hour": 600, "tokens_per_day": 2000}


def call(**facts):
    return make_record(BALANCE, **{"required_tokens": 50, "floor": 10, **facts})


KEPT = "Keepa tokens are kept for calls that have waited longer: 15 available, 5 required above"
BUCKET = "1300 required above a floor of 10, the bucket holds at most 1200"
BOTH_CAPS = "(tokens_per_hour 600, tokens_per_day 2000)"
SHORT = "Insufficient Keepa tokens: 15 available, 50 required above a floor of 10"
# What it is about, what is known of the call, then the sentence's two halves.
SENTENCES = [
    (InsufficientTokensError(retry_after_ms=150_000), {}, SHORT, "it fits in 150 s"),
    (InsufficientTokensError(retry_after_ms=150_000), {"items": 50, "max_items_now": 5},
        SHORT, "it fits in 150 s: 5 of the 50 items would now"),
    (InsufficientTokensError(retry_after_ms=150_000), {"items": 50, "max_items_now": 0},
        SHORT, "it fits in 150 s"),
    (InsufficientTokensError(retry_after_ms=None), {},
        SHORT, "it never fits while the plan gains no tokens"),
    (InsufficientTokensError(retry_after_ms=1), {"required_tokens": 5},
        f"{KEPT} a floor of 10", "it fits in 1 s"),
    (ServiceFloor(retry_after_ms=1), {"floor": 300},
        SHORT.replace("a floor of 10", "this service's floor of 300"), "it fits in 1 s"),
    (ExceedsCapacity(), {"required_tokens": 1300, "items": 100, "max_items_now": 12},
        f"Insufficient Keepa tokens: {BUCKET}", "it never fits: 12 of the 100 items would now"),
    (ServiceQuota(CAPS, 12, retry_after_ms=90_000), {},
        f"This service's caps {BOTH_CAPS} leave 12 tokens, 50 required", "it fits in 90 s"),
    (ServiceQuota({"tokens_per_day": 40}, 12, retry_after_ms=None),
        {"items": 50, "max_items_now": 12},
        "This service's caps (tokens_per_day 40) leave 12 tokens, 50 required",
        "it never fits: 12 of the 50 items would now"),
    (ServiceConcurrency(4), {"items": 50, "max_items_now": 5},
        "This service has as many calls in flight as its max_concurrency of 4 allows",
        "it fits in 1 s"),
    (MaxCost(asked=50, limit=40), {"items": 50, "max_items_now": 40},
        "The call may cost 50 tokens; this service's max_cost is 40",
        "it never fits: 40 of the 50 items would now"),
    (MaxOffers(asked=50, limit=40), {"items": 2, "max_items_now": 1},
        "The call asks for 50 offers; this service's max_offers is 40", "it never fits"),
    (CodeLimit(asked=50, limit=40), {},
        "The call asks for 50 products for each code; this service's code_limit is 40",
        "it never fits"),
]  # fmt: skip


@pytest.mark.parametrize(("refusal", "facts", "reason", "outlook"), SENTENCES)
def test_the_sentence(refusal, facts, reason, outlook):
    """Each refusal of a limit says what is missing, which limit it is, and what would help."""
    assert describe(refusal, call(**facts)) == f"{reason}; {outlook}"


@pytest.mark.parametrize(
    ("refusal", "named"),
    [
        (RateLimited(20, retry_after_ms=2_001), "it fits in 3 s"),
        (RateLimited(77, retry_after_ms=1), "77 requests a minute (RATE_LIMIT_PER_MINUTE)"),
        (LedgerUnavailable(), "Redis is not available"),
        (BalanceUnknown(), "nothing was sent to Keepa; try again in 2 s"),
        (CircuitOpen(retry_after_ms=1_500), "try again in 2 s"),
        (Overloaded(), "MAX_CONCURRENCY in flight, MAX_QUEUE waiting"),
        (UpstreamUnreachable(), "try again in 5 s"),
        (UpstreamTimeout(), "try again in 5 s"),
    ],
)
def test_what_passes_says_when_to_try_again(refusal, named):
    """What is over soon says after how many seconds to try again."""
    sentence = describe(refusal, call())
    assert named in sentence
    assert sentence.endswith(f" in {refusal.retry_after_seconds} s")


@pytest.mark.parametrize("refusal", [NotFound(), EndpointNotAllowed("Only product is allowed")])
def test_what_may_never_be_done_says_no_more(refusal):
    """A refusal without a balance says nothing of waiting or of items."""
    assert describe(refusal, call(items=2, max_items_now=1)) == str(refusal)
