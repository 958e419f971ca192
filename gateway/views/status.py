"""`/status`: the account at a glance, as plain data."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.call.allowances import Allowances
from gateway.ledger import Overview, Usage

_HOUR_SECONDS = 3_600
_DAY_SECONDS = 86_400
_UNUSED = Usage(0, 0, 0, 0, 0, 0, {})


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the operator set for the account. Tokens."""

    floor: int
    safety_buffer: int


def describe_tokens(look: Overview, thresholds: Thresholds) -> dict[str, object]:
    """Return the bucket and its use; what is not known is None."""
    balance = look.balance
    known = balance.known
    return {
        "remaining": balance.tokens if known else None,
        "reserved": balance.held,
        "available": balance.available if known else None,
        "debt": balance.debt if known else None,
        "floor": thresholds.floor,
        "safety_buffer": thresholds.safety_buffer,
        "capacity": balance.capacity,
        "refill_rate": balance.refill_rate,
        "refill_in_ms": balance.lump_in_ms if known else None,
        "refill_in_minutes": round(balance.lump_in_ms / 60_000, 2) if known else None,
        "flow_reduction": balance.flow_reduction,
        "observed_seconds_ago": round(balance.observed_ms_ago / 1000, 1) if known else None,
        "total_used": look.used,
        "requests_made": look.requests,
    }


def describe_request_rate(look: Overview) -> dict[str, int] | None:
    """Return how many requests all callers may make; None: any number."""
    return look.request_rate._asdict() if look.request_rate.per_minute else None


def describe_services(
    look: Overview, allowances: Allowances, expected: Iterable[str]
) -> dict[str, object]:
    """Return each service's use, what it waits for, what it was refused, and its policy.

    `expected` are those to show even if they have not called yet.
    """
    now = time.time()
    told: dict[str, object] = {}
    for name in sorted({*look.services, *expected}):
        usage = look.services.get(name, _UNUSED)
        allowance = allowances.of(name)
        policy = allowance.policy
        told[name] = {
            "used": usage.used,
            "denied": usage.denied,
            "reserved": usage.reserved,
            "floor": allowance.terms.floor,
            "holds": usage.holds,
            "waiting": usage.waiting,
            "hour": _window(usage.this_hour, policy.tokens_per_hour, _HOUR_SECONDS, now),
            "day": _window(usage.this_day, policy.tokens_per_day, _DAY_SECONDS, now),
            "refusals": usage.refusals,
            "policy": policy.model_dump(mode="json", exclude_none=True),
        }
    return told


def _window(used: int, cap: int | None, seconds: int, now: float) -> dict[str, object]:
    return {"used": used, "cap": cap, "ends_in_seconds": int(seconds - now % seconds)}
