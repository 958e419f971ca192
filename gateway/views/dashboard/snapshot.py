"""What a dashboard shows: snapshots of the account, refusals and usage, as plain data."""

import time
from collections import Counter, defaultdict

from gateway import __version__
from gateway.balance import HOUR_SECONDS
from gateway.call.reports import Refused
from gateway.ledger import Overview, UsageHistory
from gateway.views.status import Status, describe_request_rate

# `/usage` has all of them.
_USAGE_ROWS = 50


def describe_account(status: Status, overview: Overview | None, gateways: int) -> dict[str, object]:
    """Return a snapshot of the account; without the ledger's overview, what needs no store.

    Args:
        status: What is shown beside the ledger's figures.
        overview: The ledger's figures; None: the store is away.
        gateways: How many share the account.
    """
    snapshot: dict[str, object] = {
        "at": int(time.time() * 1000),
        "store": {"kind": status.store, "up": overview is not None},
        "breaker": status.breaker.state.value,
        "enforce": status.enforces,
        "simulated": status.is_simulated(),
        "max_age_seconds": status.max_age_seconds,
        "version": __version__,
    }
    if overview is None:
        return snapshot
    return snapshot | {
        "tokens": status.describe_tokens(overview) | {"gain": overview.balance.gain},
        "services": status.describe_services(overview),
        "gateways": gateways,
        "request_rate": describe_request_rate(overview),
        "repeated_tokens": status.describe_repeats(overview),
    }


def describe_refusal(refused: Refused, number: str) -> dict[str, object]:
    """Return what is shown of a refusal; `number` is unique among all gateways."""
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
    """Return tokens and calls by service and endpoint, in this clock hour and the one before.

    Most tokens first.

    Raises:
        LedgerUnavailable: The store does not answer.
    """
    hour = int(time.time() // HOUR_SECONDS)
    rows: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    async for _, counts in history.read(hour - 1, hour + 1):
        for item, number in counts.items():
            # Tokens lost to a full bucket belong to no service.
            if item.service:
                rows[item.service, item.endpoint][item.what] += number
    most = sorted(rows.items(), key=lambda row: (-row[1]["tokens"], row[0]))[:_USAGE_ROWS]
    return {
        "since": (hour - 1) * HOUR_SECONDS * 1000,
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
