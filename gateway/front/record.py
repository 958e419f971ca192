"""What is known of one request so far: its refusal, its headers and its log line read from it."""

import time
from dataclasses import dataclass
from typing import Protocol

from gateway.balance import UNKNOWN, Balance


class Described(Protocol):
    """What a response may say of the call that was asked for."""

    @property
    def endpoint(self) -> str:
        """Out of a closed set."""

    @property
    def service(self) -> str:
        """Whose call it is; out of a closed set."""

    @property
    def required_tokens(self) -> int:
        """What it may cost at worst."""

    @property
    def floor(self) -> int:
        """Its service's, in tokens."""

    @property
    def items(self) -> int | None:
        """How many ASINs, sellers, codes it carries; None: it has none."""

    @property
    def doubt(self) -> str:
        """What of it could not be read, so that its worst is required; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A request of which nothing is known yet, or that asks for no call.

    Attributes:
        floor: The account's, in tokens.
    """

    floor: int = 0
    endpoint: str = "unknown"
    service: str = "unknown"
    required_tokens: int = 0
    items: int | None = None
    doubt: str = ""


_NOTHING = Unread()


class Record:
    """One request, as far as it is known by now.

    Attributes:
        request_id: Of its response and its log line.
        asked: What it asks for, as soon as it was read.
        traceparent: The trace that its caller counts it to (W3C Trace Context); empty: none.
        began_at: When it came, monotonic seconds.
        balance: The bucket as the ledger last told it for this request.
        max_items_now: How many of the call's items would fit now; None: it has none.
        preference_applied: What of its `Prefer` was honoured (RFC 7240).
        waited_seconds: Time spent waiting for tokens or for a request slot.
    """

    __slots__ = (
        "asked", "balance", "began_at", "max_items_now", "preference_applied", "request_id",
        "traceparent", "waited_seconds",
    )  # fmt: skip

    def __init__(self, request_id: str, asked: Described = _NOTHING, traceparent: str = "") -> None:
        self.request_id = request_id
        self.asked = asked
        self.traceparent = traceparent
        self.began_at = time.monotonic()
        self.balance: Balance = UNKNOWN
        self.max_items_now: int | None = None
        self.preference_applied = ""
        self.waited_seconds = 0.0
