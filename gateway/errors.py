"""The errors that the gateway raises, and the response that each becomes.

    GatewayError
    ├── BadSetting                    the start stops with one line, exit code 2
    └── Refusal                       a response of the gateway's own
        ├── BadRequest                400 bad_request
        ├── Unauthorized              401 unauthorized
        │   └── NotAdmin              401 unauthorized
        ├── TooManyGuesses            429 rate_limited
        ├── ServiceBlocked            403 blocked
        ├── EndpointNotAllowed        403 endpoint_not_allowed
        ├── NotFound                  404 not_found
        ├── MethodNotAllowed          405 method_not_allowed
        │   ├── NoTunnel              405 method_not_allowed
        │   └── ReadOnly              405 method_not_allowed
        ├── TooSlow                   408 too_slow
        ├── TooLarge                  413 too_large (414 where it is the URL)
        ├── UnsupportedEncoding       415 unsupported_encoding
        ├── UnsupportedMediaType      415 unsupported_media_type
        ├── InsufficientTokensError   429 floor
        │   ├── ServiceFloor          429 service_floor
        │   └── ExceedsCapacity       429 exceeds_capacity
        ├── ServiceQuota              429 service_quota
        ├── ServiceConcurrency        429 service_concurrency
        ├── MaxCost                   429 max_cost
        ├── MaxOffers                 429 max_offers
        ├── CodeLimit                 429 code_limit
        ├── RateLimited               429 rate_limited
        ├── UpstreamUnreachable       502 upstream_unreachable
        ├── LedgerUnavailable         503 ledger_unavailable
        ├── BalanceUnknown            503 balance_unknown
        ├── CircuitOpen               503 circuit_open
        ├── Overloaded                503 overloaded
        ├── InternalError             500 internal
        └── UpstreamTimeout           504 upstream_timeout

Each class has its status, reason and retry, and knows nothing of calls: wording.py writes the
sentence, `render` in own_responses.py alone turns a refusal into the JSON of the contract.
"""

from collections.abc import Mapping
from typing import ClassVar


class GatewayError(Exception):
    """Root of everything the gateway raises on purpose."""


class BadSetting(GatewayError):
    """A setting is not allowed; one line names the variable, its value (masked) and what is."""


class Refusal(GatewayError):
    """A response of the gateway's own in place of Keepa's answer.

    Args:
        message: For people; without keys, URLs and texts of upstream exceptions.
        retry_after_ms: When the same call may succeed, in milliseconds; None: the class's default.
    """

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "internal"
    type: ClassVar[str] = "internal"
    retryable: bool = False
    default_retry_ms: ClassVar[int | None] = None
    message: ClassVar[str] = "The gateway could not handle this call"
    shows_balance: ClassVar[bool] = True
    is_policy: ClassVar[bool] = False
    """Whether a policy alone decides: the ledger is not asked, and does not count the refusal."""
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, message: str | None = None, *, retry_after_ms: int | None = None) -> None:
        super().__init__(message or self.message)
        self.retry_after_ms = self.default_retry_ms if retry_after_ms is None else retry_after_ms

    @property
    def retry_after_seconds(self) -> int | None:
        """`Retry-After`: whole seconds, rounded up."""
        if not self.retryable or self.retry_after_ms is None:
            return None
        return max(1, -(-self.retry_after_ms // 1000))


class _Client(Refusal):
    """The request itself is wrong; raised before the ledger is asked, so without a balance."""

    shows_balance = False


class Unauthorized(_Client):
    """No service key, or an unknown one."""

    status, reason, type = 401, "unauthorized", "unauthorized"
    message = (
        "Unknown or missing service key: it is looked for in `key` of the query or form, in "
        "`Authorization: Bearer` (or as a Basic password), and in `X-Api-Key`"
    )
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer realm="keepa-gateway"'}


class NotAdmin(Unauthorized):
    """A path for operators, without ADMIN_TOKEN or with a wrong one."""

    message = (
        "This path wants the gateway's ADMIN_TOKEN, as in `Authorization: Bearer <ADMIN_TOKEN>`; "
        "a service key opens it to nobody"
    )


class TooManyGuesses(_Client):
    """A wrong ADMIN_TOKEN while too many others wait for their answer."""

    status, reason, type, retryable = 429, "rate_limited", "rateLimited", True
    default_retry_ms = 2_000
    message = "Too many wrong tokens at a time; the gateway's ADMIN_TOKEN itself always works"


class ServiceBlocked(_Client):
    """The service is blocked by its policy."""

    status, reason, type = 403, "blocked", "forbidden"
    is_policy = True
    message = "This service is blocked by its policy (SERVICE_POLICIES): it may make no calls"


class EndpointNotAllowed(_Client):
    """The service's policy lists endpoints, and this is not one of them."""

    status, reason, type = 403, "endpoint_not_allowed", "forbidden"
    is_policy = True
    message = "This service may not call this endpoint"


class BadRequest(_Client):
    """The bytes are not an HTTP request."""

    status, reason, type = 400, "bad_request", "bad_request"
    message = "Not a well-formed HTTP request"


class NotFound(_Client):
    """The path is not one plain word, as Keepa's are, or one that only probes ask for."""

    status, reason, type = 404, "not_found", "not_found"
    message = (
        "No such path: a call's is one plain word, as in /product; probes ask /healthz (alive) or "
        "/readyz (ready)"
    )


class MethodNotAllowed(_Client):
    """Keepa's endpoints take GET and POST."""

    status, reason, type = 405, "method_not_allowed", "method_not_allowed"
    message = "Keepa's endpoints take GET and POST"
    headers: ClassVar[dict[str, str]] = {"Allow": "GET, POST"}


class NoTunnel(MethodNotAllowed):
    """CONNECT: calls through a tunnel could not be priced."""

    message = (
        "There is no tunnel here: give the client the gateway's own address as Keepa's, instead of "
        "setting it as a proxy for https"
    )


class ReadOnly(MethodNotAllowed):
    """One of the gateway's own paths, which take GET only."""

    message = "This path of the gateway's own takes GET"
    headers: ClassVar[dict[str, str]] = {"Allow": "GET, HEAD"}


class TooSlow(_Client):
    """The request's body did not arrive in time."""

    status, reason, type = 408, "too_slow", "too_slow"
    message = "The request body did not arrive in time"


class TooLarge(_Client):
    """The request's body exceeds the limit."""

    status, reason, type = 413, "too_large", "too_large"
    message = "The request body is larger than 16 MiB"


class UriTooLong(TooLarge):
    """The request's URL exceeds the limit."""

    status = 414
    message = "The request URL is longer than 128 KiB"


class UnsupportedEncoding(_Client):
    """The request's body cannot be decoded, and so not be priced."""

    status, reason, type = 415, "unsupported_encoding", "unsupported_encoding"
    message = (
        "The request body's Content-Encoding must be gzip, deflate or identity, and match the body"
    )


class UnsupportedMediaType(_Client):
    """The body is of a type that its endpoint does not read."""

    status, reason, type = 415, "unsupported_media_type", "unsupported_media_type"
    message = (
        "Send the parameters in the query or as a form (asin=...&domain=1): no endpoint takes "
        "form-data, and only deal, query, sellerquery and tracking take JSON"
    )


class InsufficientTokensError(Refusal):
    """The call would take the available tokens below the floor.

    Args:
        retry_after_ms: Until the lump after which the call fits; None: the bucket gains nothing.
    """

    status, reason, type = 429, "floor", "insufficientTokens"

    def __init__(self, *, retry_after_ms: int | None) -> None:
        super().__init__(retry_after_ms=retry_after_ms)
        self.retryable = retry_after_ms is not None


class ServiceFloor(InsufficientTokensError):
    """The call would take the available tokens below the floor of its service."""

    reason = "service_floor"


class ExceedsCapacity(InsufficientTokensError):
    """The call plus the floor exceed the capacity of the bucket."""

    reason = "exceeds_capacity"

    def __init__(self) -> None:
        super().__init__(retry_after_ms=None)


class ServiceQuota(Refusal):
    """The service's caps of hour and day do not leave enough for the call.

    Args:
        caps: Its caps in tokens, by the name of their setting.
        left: Tokens that they leave now.
        retry_after_ms: Until the call fits; None: it costs more than a whole cap.
    """

    status, reason, type = 429, "service_quota", "quotaExceeded"
    message = "The service's caps do not leave enough tokens for this call"

    def __init__(self, caps: Mapping[str, int], left: int, *, retry_after_ms: int | None) -> None:
        super().__init__(retry_after_ms=retry_after_ms)
        self.caps = caps
        self.left = left
        self.retryable = retry_after_ms is not None


class ServiceConcurrency(Refusal):
    """The service has as many calls in flight as it may.

    Args:
        limit: How many it may have.
    """

    status, reason, type, retryable = 429, "service_concurrency", "quotaExceeded", True
    default_retry_ms = 1_000
    message = "The service has as many calls in flight as it may have at once"

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit


class _CostLimit(Refusal):
    """The call exceeds a limit of its service's policy, and always will.

    Args:
        asked: The most that the call may cost or ask for.
        limit: The policy's.
    """

    status, type, is_policy = 429, "costLimit", True

    def __init__(self, *, asked: int, limit: int) -> None:
        super().__init__(self.message.format(asked=asked, limit=limit))


class MaxCost(_CostLimit):
    """The call may cost more tokens than the service's policy allows for one call."""

    reason = "max_cost"
    message = "The call may cost {asked} tokens; this service's max_cost is {limit}"


class MaxOffers(_CostLimit):
    """The call asks for more offers than the policy allows."""

    reason = "max_offers"
    message = "The call asks for {asked} offers; this service's max_offers is {limit}"


class CodeLimit(_CostLimit):
    """The call asks for more products for each code than the policy allows."""

    reason = "code_limit"
    message = (
        "The call asks for {asked} products for each code; this service's code_limit is {limit}"
    )


class RateLimited(Refusal):
    """The request rate that all callers share is used up; tokens are not the reason.

    Args:
        per_minute: The rate in force.
        retry_after_ms: Until the next slot.
    """

    status, reason, type, retryable = 429, "rate_limited", "rateLimited", True

    def __init__(self, per_minute: int, *, retry_after_ms: int | None) -> None:
        super().__init__(
            f"All callers together may make {per_minute} requests a minute "
            "(RATE_LIMIT_PER_MINUTE); the call would fit the token budget",
            retry_after_ms=retry_after_ms,
        )


class UpstreamUnreachable(Refusal):
    """Keepa could not be reached, or dropped the call without an answer.

    Args:
        trouble: What happened, without an address; for the log and `check`.
    """

    status, reason, type, retryable = 502, "upstream_unreachable", "upstream", True
    default_retry_ms = 5_000
    message = "Keepa could not be reached"

    def __init__(self, message: str | None = None, *, trouble: str = "") -> None:
        super().__init__(message)
        self.trouble = trouble


class LedgerUnavailable(Refusal):
    """Redis is away; without the ledger no call is admitted."""

    status, reason, type, retryable = 503, "ledger_unavailable", "unavailable", True
    default_retry_ms = 2_000
    message = "The token ledger in Redis is not available, and nothing was sent to Keepa"


class BalanceUnknown(Refusal):
    """No balance has been observed yet."""

    status, reason, type, retryable = 503, "balance_unknown", "unavailable", True
    default_retry_ms = 2_000
    message = "Keepa's token balance is not known yet, and nothing was sent to Keepa"


class CircuitOpen(Refusal):
    """The circuit to Keepa is open: no call is reserved or sent until a probe is due."""

    status, reason, type, retryable = 503, "circuit_open", "unavailable", True
    message = "Keepa does not answer (BREAKER_FAILURES calls in a row); it is tried again"


class Overloaded(Refusal):
    """No slot to Keepa is free, and the queue for one is full or too slow."""

    status, reason, type, retryable = 503, "overloaded", "unavailable", True
    default_retry_ms = 1_000
    message = "Too many calls wait for Keepa (MAX_CONCURRENCY in flight, MAX_QUEUE waiting)"


class UpstreamTimeout(Refusal):
    """Keepa did not answer in time."""

    status, reason, type, retryable = 504, "upstream_timeout", "upstream", True
    default_retry_ms = 5_000
    message = "Keepa did not answer in time"


class InternalError(Refusal):
    """A fault of the gateway; the log has its traceback."""

    retryable = True
    default_retry_ms = 5_000
