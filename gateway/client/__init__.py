"""The client module `keepa_gateway_client` by the name that it had first; one and the same."""

from keepa_gateway_client import (
    CostLimit,
    Forbidden,
    GatewayRefusal,
    Installation,
    InsufficientTokensError,
    NotRouted,
    QuotaExceeded,
    RateLimited,
    Unauthorized,
    Unavailable,
    UpstreamFailed,
    install,
    uninstall,
)

__all__ = [
    "CostLimit",
    "Forbidden",
    "GatewayRefusal",
    "Installation",
    "InsufficientTokensError",
    "NotRouted",
    "QuotaExceeded",
    "RateLimited",
    "Unauthorized",
    "Unavailable",
    "UpstreamFailed",
    "install",
    "uninstall",
]
