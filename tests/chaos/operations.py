"""What callers do while something fails: one wave of calls each."""

import json
from dataclasses import dataclass

from support.callers.mixed_calls import Request

from chaos.fleet import products

_LATENCY = "X-Sim-Latency-Ms: {}"
_LARGE = ("X-Sim-Bytes: 4000000", "X-Sim-Order: sorted")
# Until its last bytes, which are the token fields, the wave is surely under way.
_SLOWLY = ("X-Sim-Fault: slow_body", "X-Sim-Slow-Seconds: 0.7")
_JSON = ("Content-Type: application/json",)


@dataclass(frozen=True)
class Operation:
    """One wave of calls at once, to the gateways in turn.

    Attributes:
        requests: the calls.
        tokens: what all of them reserve.
        at_keepa: so many of them at work there show that the wave is under way.
        leaves: whether the callers hang up in the middle of the answer.
    """

    name: str
    requests: tuple[Request, ...]
    tokens: int
    at_keepa: int
    leaves: bool = False


def _get(target: str, *headers: str) -> Request:
    return Request(target, headers)


_TRACKING = Request(
    "/tracking?key=x&type=add",
    (*_JSON, _LATENCY.format(500)),
    "POST",
    json.dumps([{"asin": "B0MIN00001"}, {"asin": "B0MIN00002"}]).encode(),
)

OPERATIONS = (
    Operation("small", (_get(products(1), _LATENCY.format(400)),) * 4, 4, 4),
    Operation(
        "batch",
        tuple(
            _get(f"/product?key=x&domain=1&asin=B0MIN{n:05}", _LATENCY.format(800))
            for n in range(50)
        ),
        50,
        50,
    ),
    Operation(
        "offers",
        (_get("/product?key=x&domain=1&asin=B0MAX00001&offers=20", _LATENCY.format(1000)),) * 4,
        48,
        4,
    ),
    Operation("large", (_get(products(1), *_LARGE, *_SLOWLY),) * 2, 2, 2),
    Operation("tracking", (_TRACKING,) * 4, 8, 4),
    Operation("leaver", (_get(products(1), *_LARGE, *_SLOWLY),) * 4, 4, 4, leaves=True),
    Operation("token", (_get("/token?key=x"),) * 10, 0, 0),
)
