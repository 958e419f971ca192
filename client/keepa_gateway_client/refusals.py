"""What the gateway refuses, as exceptions.

    RuntimeError                      what the stock client raises for any answer but 200
    └── GatewayRefusal                an answer of the gateway's own making
        ├── InsufficientTokensError   429 the call would cross the floor, or never fits
        ├── QuotaExceeded             429 the service's cap by hour, by day or of calls at once
        ├── CostLimit                 429 one call is too dear for the service
        ├── RateLimited               429 the request rate that all callers share
        ├── Unauthorized              401 unknown or missing service key
        ├── Forbidden                 403 an endpoint that the service may not call
        ├── Unavailable               503 nothing was spent: ledger, balance, circuit or queue
        └── UpstreamFailed            502, 504 the gateway did not reach Keepa, or not in time

Keepa's own errors are none of these: the stock client raises for them what it always did.
"""

import json
from typing import Any


class GatewayRefusal(RuntimeError):
    """An answer of the gateway's own making; its fields are attributes.

    Args:
        status: HTTP status.
        fields: The answer's JSON, as it came.
    """

    def __init__(self, status: int, fields: dict[str, Any]) -> None:
        # Both are the exception's arguments, so that it survives pickling.
        super().__init__(status, fields)
        self.status = status
        self.fields = fields
        self.error_type: str = fields["error"]["type"]
        self.message: str = fields["error"].get("message", "")
        self.reason: str = fields["reason"]
        self.endpoint: str | None = fields.get("endpoint")
        self.service: str | None = fields.get("service")
        self.request_id: str | None = fields.get("request_id")
        self.current_balance: int | None = fields.get("current_balance")
        self.required_tokens: int | None = fields.get("required_tokens")
        self.floor: int | None = fields.get("floor")
        self.deficit: int | None = fields.get("deficit")
        self.reserved: int | None = fields.get("reserved")
        self.capacity: int | None = fields.get("capacity")
        self.max_items_now: int | None = fields.get("max_items_now")
        self.retryable: bool = fields["retryable"]
        self.retry_after_seconds: int | None = fields.get("retry_after_seconds")

    def __str__(self) -> str:
        return f"{self.message} ({self.status} {self.reason}, request {self.request_id})"

    @property
    def seconds_to_wait(self) -> int | None:
        """Seconds after which the same call may be admitted; None: waiting is not the answer."""
        return self.retry_after_seconds if self.status == _TOO_MANY and self.retryable else None


class InsufficientTokensError(GatewayRefusal):
    """The call would take the tokens below the floor; `retryable` tells whether it can ever fit."""

    def __str__(self) -> str:
        # What the stock client says: programs are known to look for it.
        return f"NOT_ENOUGH_TOKEN: {super().__str__()}"


class QuotaExceeded(GatewayRefusal):
    """The service has used up its tokens of the hour or day, or has too many calls in flight."""


class CostLimit(GatewayRefusal):
    """One call is dearer than the service's policy allows; a smaller one may pass."""


class RateLimited(GatewayRefusal):
    """The request rate that all callers share is used up; the tokens would suffice."""


class Unauthorized(GatewayRefusal):
    """The access key that keepa was given is no service key of the gateway's."""


class Forbidden(GatewayRefusal):
    """The service's policy does not have this endpoint."""


class Unavailable(GatewayRefusal):
    """The gateway cannot decide or forward now; nothing was spent."""


class UpstreamFailed(GatewayRefusal):
    """Keepa was not reached, or did not answer in time: the call may have been charged."""


_TOO_MANY = 429
_BY_TYPE: dict[str, type[GatewayRefusal]] = {
    "insufficientTokens": InsufficientTokensError,
    "quotaExceeded": QuotaExceeded,
    "costLimit": CostLimit,
    "rateLimited": RateLimited,
    "unauthorized": Unauthorized,
    "forbidden": Forbidden,
    "unavailable": Unavailable,
    "upstream": UpstreamFailed,
}


def read_refusal(status: int, body: bytes) -> GatewayRefusal | None:
    """Return the refusal that an answer's plain body is; None for all that is not the gateway's."""
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    # Keepa's own errors have `error` too, but neither a reason nor word of a second try.
    match fields:
        case {"error": {"type": str(kind)}, "reason": str(), "retryable": bool()}:
            return _BY_TYPE.get(kind, GatewayRefusal)(status, fields)
    return None
