"""The stock `keepa` package, sync and async, routed to a keepa-gateway: without a fork.

`keepa-via-gateway script.py` (or `python -m keepa_gateway_client script.py`) does it for a program
that knows nothing of it, `install()` for one that may. Only the standard library is imported here
and, by `install()`, `keepa` with the `requests` and `aiohttp` that it brought.
"""

from keepa_gateway_client.installation import Installation, install, uninstall
from keepa_gateway_client.refusals import (
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
from keepa_gateway_client.stock import NotRouted

__version__ = "0.2.0"

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
