"""What is known of a call, for whatever is told of it: its refusal, its headers, its log line."""

from dataclasses import dataclass

from gateway.balance import UNKNOWN, Balance


@dataclass(slots=True)
class Facts:
    """One call, as far as it is known by now.

    Attributes:
        floor: Its service's, in tokens; the account's as long as the service is not known.
        balance: The bucket as the ledger last told it for this call.
        items: How many ASINs, sellers, codes it carries; None: it has none.
        max_items_now: How many of them would fit now; None: it has none.
        preference_applied: What of its `Prefer` was honoured (RFC 7240).
        waited_seconds: Time spent waiting for tokens or for a request slot.
        traceparent: The trace that its caller counts it to (W3C Trace Context); empty: none.
        doubt: What of it could not be read, so that its worst is required; empty: nothing.
    """

    request_id: str
    endpoint: str = "unknown"
    service: str = "unknown"
    required_tokens: int = 0
    floor: int = 0
    balance: Balance = UNKNOWN
    items: int | None = None
    max_items_now: int | None = None
    preference_applied: str = ""
    waited_seconds: float = 0.0
    traceparent: str = ""
    doubt: str = ""
