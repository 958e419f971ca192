"""The stock `keepa` package, sync and async, routed to a gateway: without a fork.

`python -m gateway.client script.py` does it for a script that knows nothing of it; `install()` for
a program that may. Nothing of what the gateway itself needs is imported here, only the standard
library and, by `install()`, `keepa` with the `requests` and `aiohttp` that it brought.
"""

from gateway.client.installation import Installation, install, uninstall
from gateway.client.refusals import (
    CostLimit,
    Forbidden,
    GatewayRefusal,
    InsufficientTokensError,
    QuotaExceeded,
    RateLimited,
    Unauthorized,
    Unavailable,
    UpstreamFailed,
)
from gateway.client.stock import NotRouted

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
