"""What a dashboard shows of the account at one moment, as plain data."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from gateway import __version__
from gateway.call.allowances import Allowances
from gateway.call.reports import Refused
from gateway.keepa.breaker import Breaker
from gateway.ledger import Overview, UsageHistory
from gateway.views.status import (
    Thresholds,
    describe_request_rate,
    describe_services,
    describe_tokens,
)

_HOUR_SECONDS = 3_600
# Whoever wants all of them asks /usage.
_USAGE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Setting:
    """What is shown beside the ledger's own figures."""

    thresholds: Thresholds
    allowances: Allowances
    services: Collection[str]
    """Those that have a policy of their own."""
    breaker: Breaker
    store: str
    """Its kind."""
    enforces: bool
    is_simulated: Callable[[], bool]
    """Whether no real Keepa answers."""
    max_age_seconds: float
    """An older observation is refreshed."""


def describe_moment(setting: Setting, look: Overview | None, gateways: int) -> dict[str, object]:
    """Return the account now; without a look, because the store is away, only what needs none."""
    moment: dict[str, object] = {
        "at": int(time.time() * 1000),
        "store": {"kind": setting.store, "up": look is not None},
        "breaker": setting.breaker.state.value,
        "enforce": setting.enforces,
        "simulated": setting.is_simulated(),
        "max_age_seconds": setting.max_age_seconds,
        "version": __version__,
    }
    if look is None:
        return moment
    services = describe_services(look, setting.allowances, setting.services)
    tokens = describe_tokens(look, setting.thresholds)
    tokens["gain"] = look.balance.gain
    return moment | {
        "tokens": tokens,
        "services": services,
        "gateways": gateways,
        "request_rate": describe_request_rate(look),
    }


def describe_refusal(refused: Refused, number: str) -> dict[str, object]:
    """Return what is shown of a refusal; `number` is like no other's."""
    return {
        "number": number,
        "service": refused.service,
        "endpoint": refused.endpoint,
        "reason": refused.reason,
        "required": refused.required,
        "deficit": refused.deficit,
        "enforced": refused.is_enforced,
    }


async def describe_usage(history: UsageHistory) -> dict[str, object]:
    """Return who used what by endpoint, most tokens first, in this clock hour and the one before.

    Raises:
        LedgerUnavailable: No answer from the store.
    """
    hour = int(time.time() // _HOUR_SECONDS)
    rows: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    async for _, counts in history.read(hour - 1, hour + 1):
        for item, number in counts.items():
            # Tokens lost to a full bucket are nobody's.
            if item.service:
                rows[item.service, item.endpoint][item.what] += number
    most = sorted(rows.items(), key=lambda row: (-row[1]["tokens"], row[0]))[:_USAGE_ROWS]
    return {
        "since": (hour - 1) * _HOUR_SECONDS * 1000,
        "rows": [
            {
                "service": service,
                "endpoint": endpoint,
                "tokens": counts["tokens"],
                "calls": counts["calls"],
                "refusals": counts["refusals"],
            }
            for (service, endpoint), counts in most
        ],
    }
