"""What a refusal says in words: one sentence, often all that a person or an agent reads.

It names what is missing, the limit and its setting, and when the call fits or what would fit now.
"""

from gateway.errors import (
    ExceedsCapacity,
    InsufficientTokensError,
    MaxCost,
    Refusal,
    ServiceConcurrency,
    ServiceFloor,
    ServiceQuota,
)
from gateway.front.record import Record

_TOO_MANY_REQUESTS = 429
# Reasons that the call's price has to do with.
_OF_THE_PRICE = {
    "floor",
    "service_floor",
    "exceeds_capacity",
    "service_quota",
    "max_cost",
    "max_offers",
    "code_limit",
}
# Fewer items make such a call cheap enough.
_BY_ITEMS = (InsufficientTokensError, ServiceQuota, MaxCost)


def describe(refusal: Refusal, record: Record) -> str:
    """Return the sentence; it never contains a key, a URL or an upstream exception's text."""
    return "; ".join(
        filter(
            None,
            (
                _describe_reason(refusal, record),
                record.asked.doubt if refusal.reason in _OF_THE_PRICE else "",
                _describe_outlook(refusal, record),
            ),
        )
    )


def deficit_of(refusal: Refusal, record: Record) -> int | None:
    """Return the tokens missing until the call fits.

    Keepa itself runs nothing from a balance of 0 down. 0: tokens are not the reason; None: the call
    may never be made like this.
    """
    if not isinstance(refusal, InsufficientTokensError):
        return 0 if refusal.shows_balance else None
    needed = max(record.asked.required_tokens + record.asked.floor, 1)
    return max(0, needed - record.balance.available)


def _describe_reason(refusal: Refusal, record: Record) -> str:
    required, balance = record.asked.required_tokens, record.balance
    floor = f"a floor of {record.asked.floor}"
    if isinstance(refusal, ExceedsCapacity):
        return (
            f"Insufficient Keepa tokens: {required} required above {floor}, the bucket holds at "
            f"most {balance.capacity}"
        )
    if isinstance(refusal, InsufficientTokensError):
        if isinstance(refusal, ServiceFloor):
            floor = f"this service's floor of {record.asked.floor}"
        needs = f"{balance.available} available, {required} required above {floor}"
        if deficit_of(refusal, record):
            return f"Insufficient Keepa tokens: {needs}"
        return f"Keepa tokens are kept for calls that have waited longer: {needs}"
    if isinstance(refusal, ServiceQuota):
        caps = ", ".join(f"{name} {tokens}" for name, tokens in refusal.caps.items())
        return f"This service's caps ({caps}) leave {refusal.left} tokens, {required} required"
    if isinstance(refusal, ServiceConcurrency):
        return (
            f"This service has as many calls in flight as its max_concurrency of {refusal.limit} "
            "allows"
        )
    return str(refusal)


def _describe_outlook(refusal: Refusal, record: Record) -> str:
    """Return when the call fits or what to do about it; empty where the reason says all."""
    if not refusal.shows_balance:
        return ""
    is_limit = refusal.status == _TOO_MANY_REQUESTS
    seconds = refusal.retry_after_seconds
    if seconds is not None:
        outlook = f"it fits in {seconds} s" if is_limit else f"try again in {seconds} s"
    elif isinstance(refusal, InsufficientTokensError) and not isinstance(refusal, ExceedsCapacity):
        outlook = "it never fits while the plan gains no tokens"
    else:
        outlook = "it never fits" if is_limit else ""
    items, fitting = record.asked.items or 0, record.max_items_now or 0
    if isinstance(refusal, _BY_ITEMS) and 0 < fitting < items:
        outlook += f": {fitting} of the {items} items would now"
    return outlook
