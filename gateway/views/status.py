"""`/status`: the account at a glance, as plain data; dashboards show the same."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from gateway import __version__
from gateway.balance import HOUR_SECONDS
from gateway.call.allowances import Allowances
from gateway.keepa.breaker import Breaker
from gateway.ledger import Overview, Usage

_DAY_SECONDS = 24 * HOUR_SECONDS
_UNUSED = Usage(0, 0, 0, 0, 0, 0, {})


@dataclass(frozen=True, slots=True)
class Status:
    """What is shown beside the ledger's own figures.

    Attributes:
        floor: Tokens.
        safety_buffer: Tokens.
        allowances: What each service may spend.
        services: Those that have a policy of their own: shown even if they have not called yet.
        breaker: The circuit to Keepa.
        store: The kind of the ledger's store.
        enforces: False in shadow mode.
        is_simulated: Returns whether no real Keepa answers.
        max_age_seconds: An older observation of the balance is refreshed.
        repeated_tokens: Returns what caches would have saved at this gateway, by their age.
    """

    floor: int
    safety_buffer: int
    allowances: Allowances
    services: Collection[str]
    breaker: Breaker
    store: str
    enforces: bool
    is_simulated: Callable[[], bool]
    max_age_seconds: float
    repeated_tokens: Callable[[], Mapping[str, float]]

    def describe(self, overview: Overview) -> dict[str, object]:
        """Return what `/status` answers."""
        return {
            "tokens": self.describe_tokens(overview),
            "services": self.describe_services(overview),
            "request_rate": describe_request_rate(overview),
            "repeated_tokens": self.describe_repeats(overview),
            "breaker": self.breaker.state.value,
            "store": self.store,
            "enforce": self.enforces,
            "version": __version__,
        }

    def describe_tokens(self, overview: Overview) -> dict[str, object]:
        """Return the bucket and its use; what is not known is None."""
        balance = overview.balance
        known = balance.known
        return {
            "remaining": balance.tokens if known else None,
            "reserved": balance.held,
            "available": balance.available if known else None,
            "debt": balance.debt if known else None,
            "floor": self.floor,
            "safety_buffer": self.safety_buffer,
            "capacity": balance.capacity,
            "refill_rate": balance.refill_rate,
            "refill_in_ms": balance.lump_in_ms if known else None,
            "refill_in_minutes": round(balance.lump_in_ms / 60_000, 2) if known else None,
            "flow_reduction": balance.flow_reduction,
            "observed_seconds_ago": round(balance.observed_ms_ago / 1000, 1) if known else None,
            "total_used": overview.used,
            "requests_made": overview.requests,
        }

    def describe_repeats(self, overview: Overview) -> dict[str, object]:
        """Return what caches would have saved at this gateway since it started, by their age.

        In tokens, and in minutes of the plan; None where it brings none.
        """
        gain = overview.balance.gain
        return {
            age: {"tokens": round(tokens), "minutes": round(tokens / gain, 1) if gain else None}
            for age, tokens in self.repeated_tokens().items()
        }

    def describe_services(self, overview: Overview) -> dict[str, object]:
        """Return each service's use, what it waits for, what it was refused, and its policy."""
        now = time.time()
        described: dict[str, object] = {}
        for name in sorted({*overview.services, *self.services}):
            usage = overview.services.get(name, _UNUSED)
            allowance = self.allowances.of(name)
            policy = allowance.policy
            described[name] = {
                "used": usage.used,
                "denied": usage.denied,
                "reserved": usage.reserved,
                "floor": allowance.terms.floor,
                "holds": usage.holds,
                "waiting": usage.waiting,
                "hour": _window(usage.this_hour, policy.tokens_per_hour, HOUR_SECONDS, now),
                "day": _window(usage.this_day, policy.tokens_per_day, _DAY_SECONDS, now),
                "refusals": usage.refusals,
                "policy": policy.model_dump(mode="json", exclude_none=True),
            }
        return described


def describe_request_rate(overview: Overview) -> dict[str, int] | None:
    """Return how many requests all callers may make; None: any number."""
    rate = overview.request_rate
    return rate._asdict() if rate.per_minute else None


def _window(used: int, cap: int | None, seconds: int, now: float) -> dict[str, object]:
    return {"used": used, "cap": cap, "ends_in_seconds": int(seconds - now % seconds)}
