"""What each service may do: judged of a call alone, or handed to the ledger as its terms."""

from functools import cache

from gateway.errors import (
    CodeLimit,
    EndpointNotAllowed,
    MaxCost,
    MaxOffers,
    Refusal,
    ServiceBlocked,
)
from gateway.keepa.costs import Price
from gateway.ledger import Terms
from gateway.settings.policies import Overdraft, Policies, Policy

# Answered from the ledger for free, and asked for by stock clients before all else.
_OPEN_TO_ALL = "token"


class Allowance:
    """One service's policy, as it applies to this account.

    Args:
        floor: The account's, in tokens.
        overdraft: The account's rule, where the policy has none.
    """

    def __init__(self, policy: Policy, floor: int, overdraft: Overdraft) -> None:
        self.policy = policy
        own_floor = policy.floor if policy.floor is not None else floor
        self.terms = Terms(
            max(floor, own_floor),
            is_own_floor=own_floor > floor,
            tokens_per_hour=policy.tokens_per_hour or 0,
            tokens_per_day=policy.tokens_per_day or 0,
            max_concurrency=policy.max_concurrency or 0,
            overdraft=(policy.overdraft or overdraft) == "when_full",
        )

    def objection(self, price: Price) -> Refusal | None:
        """Return why such a call may never be made, or None."""
        policy = self.policy
        if policy.blocked:
            return ServiceBlocked()
        if (
            policy.endpoints is not None
            and price.endpoint not in policy.endpoints
            and price.endpoint != _OPEN_TO_ALL
        ):
            allowed = ", ".join(sorted(policy.endpoints))
            return EndpointNotAllowed(f"This service may only call these endpoints: {allowed}")
        if policy.max_offers is not None and (price.offers or 0) > policy.max_offers:
            return MaxOffers(asked=price.offers or 0, limit=policy.max_offers)
        if policy.code_limit is not None and (price.code_limit or 0) > policy.code_limit:
            return CodeLimit(asked=price.code_limit or 0, limit=policy.code_limit)
        if policy.max_cost is not None and price.tokens > policy.max_cost:
            return MaxCost(asked=price.tokens, limit=policy.max_cost)
        return None


class Allowances:
    """Looks up what a service may do.

    Args:
        floor: The account's, in tokens.
        overdraft: Whether a call dearer than the bucket may run from a full one.
    """

    def __init__(self, policies: Policies, floor: int, overdraft: Overdraft) -> None:
        # Names are bounded: those with keys, or the first 50.
        self.of = cache(lambda service: Allowance(policies.of(service), floor, overdraft))
        """Return the service's allowance."""
