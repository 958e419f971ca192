"""The script of `keepa-gateway demo`: a small account, three services, calls and their answers."""

from dataclasses import dataclass

from gateway.simulator import SimulatorConfig

FLOOR = 10
LUMP_IN_MS = 18_000
"""Late enough for all calls before `WAITING`, on a slow machine too."""

ACCOUNT = SimulatorConfig(
    tokens=200, refill_rate=60, first_lump_in_ms=LUMP_IN_MS, latency_seconds=0.2
)
POLICIES = {
    "shop": {"floor": FLOOR},
    "research": {"floor": FLOOR, "tokens_per_hour": 60, "max_cost": 60},
    "batch": {"floor": 100},
}


@dataclass(frozen=True, slots=True)
class Step:
    """One call, and its expected answer.

    Attributes:
        service: The caller.
        what: The call, in words.
        target: The call, as sent.
        refused: The expected reason of a refusal; empty: it is answered.
        wait_seconds: How long it may wait for tokens.
    """

    service: str
    what: str
    target: str
    refused: str = ""
    wait_seconds: int = 0


def _products(count: int, options: str = "") -> str:
    asins = ",".join(f"B{number:09}" for number in range(count))
    return f"/product?domain=1&asin={asins}{options}"


_BEST_SELLERS = "/bestsellers?domain=1&category=281052"

BEFORE = (
    Step("shop", "3 products", _products(3)),
    Step("research", "a quote of a best seller list", "/quote?path=bestsellers&domain=1"),
    Step("research", "a best seller list", _BEST_SELLERS),
    Step("research", "20 products, above its hourly cap", _products(20), "service_quota"),
    Step("research", "all lightning deals, too dear", "/lightningdeal?domain=1", "max_cost"),
    Step("batch", "20 products", _products(20)),
    Step("batch", "40 products, below its own floor", _products(40), "service_floor"),
    Step("shop", "2 products with offers", _products(2, "&offers=20")),
    Step("shop", "another best seller list", _BEST_SELLERS),
    Step("shop", "90 products, below the floor", _products(90), "floor"),
)
WAITING = Step("shop", "70 products, waits for the lump", _products(70), wait_seconds=30)
MEANWHILE = (Step("research", "2 products, need not wait", _products(2)),)
AFTER = (
    Step("batch", "10 products, below its own floor", _products(10), "service_floor"),
    Step("shop", "31 products, down to the floor", _products(31)),
    Step("shop", "1 product more", _products(1), "floor"),
)
# A little more than a lump in each minute, so that refusals come and go.
FOR_EVER = (
    Step("shop", "", _products(2)),
    Step("batch", "", _products(10)),
    Step("research", "", _products(1)),
    Step("shop", "", _products(6, "&buybox=1")),
    Step("shop", "", _products(12), wait_seconds=20),
)
