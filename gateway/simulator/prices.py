"""Price histories within reason: what a good of some kind cost, and how well it sold, day by day.

Keepa's histories are flat lists of a time in Keepa minutes and one value, or two; prices are in
cents, and -1 says that there was no offer.
"""

import random
from itertools import pairwise
from typing import Any, NamedTuple

from gateway.simulator.catalogue import name_seller
from gateway.simulator.goods import Good

CSV_KINDS = 36
AMAZON, NEW, USED, SALES_RANK, LIST_PRICE, NEW_FBA, COUNT_NEW = 0, 1, 2, 3, 4, 10, 11
RATING, COUNT_REVIEWS, BUY_BOX = 16, 17, 18
HISTORY_POINTS = 24
DAY = 24 * 60
AGE_OF_LAST = 5 * 60
"""The last change is older than the oldest copy, so that no copy is older than what it tells."""
OUT_OF_STOCK = -1


class Histories(NamedTuple):
    """A product's past.

    Attributes:
        values: by kind of history, each a list of `(minute, value)`.
        sells: whether Amazon itself has it now.
    """

    values: dict[int, list[tuple[int, int]]]
    first_change: int
    last_change: int
    shipping: int

    def current(self, kind: int) -> int:
        """Tell the last value of a kind; -1 where it has none."""
        return self.values[kind][-1][1] if kind in self.values else OUT_OF_STOCK

    def as_csv(self, *, with_rating: bool) -> list[list[int] | None]:
        """Write Keepa's `csv`."""
        csv: list[list[int] | None] = [None] * CSV_KINDS
        for kind, points in self.values.items():
            if with_rating or kind not in {RATING, COUNT_REVIEWS}:
                csv[kind] = [number for point in points for number in point]
        buy_box = self.values[NEW]
        csv[BUY_BOX] = [number for point in buy_box for number in (*point, self.shipping)]
        return csv

    def offer(self, place: int) -> dict[str, Any]:
        """Write one offer: the first is the cheapest."""
        is_used = place % 7 == 6  # noqa: PLR2004
        price = self.current(USED if is_used else NEW) * (100 + 2 * place) // 100
        return {
            "offerId": place,
            "sellerId": name_seller("offers", place),
            "condition": 4 if is_used else 1,
            "isPrime": place % 3 == 0,
            "isFBA": place % 3 == 0,
            "isAmazon": False,
            "isShippable": True,
            "lastSeen": self.last_change,
            "offerCSV": [self.last_change, price, 0 if place % 3 == 0 else 399],
        }


def invent_histories(good: Good, chance: random.Random, began: int) -> Histories:
    """Invent the past of a product up to `began` (Keepa minutes): a point a day."""
    last = began - AGE_OF_LAST
    minutes = [
        last - DAY * back - (chance.randrange(DAY // 2) if back else 0)
        for back in reversed(range(HISTORY_POINTS))
    ]
    new = _wander(chance, *good.cents)
    amazon = [
        OUT_OF_STOCK if chance.random() < 0.15 else price + chance.randrange(0, 150)  # noqa: PLR2004
        for price in new
    ]
    reviews = chance.randrange(40, 6_000)
    series = {
        AMAZON: amazon,
        NEW: new,
        USED: [price * 7 // 10 for price in new],
        SALES_RANK: _wander(chance, *good.ranks),
        NEW_FBA: [price + 50 for price in new],
        COUNT_NEW: _wander(chance, 2, 30),
    }
    values = {kind: list(zip(minutes, numbers, strict=True)) for kind, numbers in series.items()}
    values[LIST_PRICE] = [(minutes[0], good.cents[1] * 12 // 10)]
    values[RATING] = [(minutes[0], chance.randrange(36, 49))]
    values[COUNT_REVIEWS] = [
        (minute, reviews + 3 * place) for place, minute in enumerate(minutes[::6])
    ]
    return Histories(values, minutes[0], last, shipping=chance.choice((0, 0, 399)))


def sum_up(histories: Histories) -> dict[str, Any]:
    """Write Keepa's `stats`, which agree with the histories; without its times."""
    kinds = range(CSV_KINDS)
    prices = {
        kind: [value for _, value in points if value != OUT_OF_STOCK]
        for kind, points in histories.values.items()
    }
    averages = [
        sum(prices[kind]) // len(prices[kind]) if prices.get(kind) else OUT_OF_STOCK
        for kind in kinds
    ]
    ranks = prices[SALES_RANK]
    drops = sum(later < earlier for earlier, later in pairwise(ranks))
    return {
        "current": [histories.current(kind) for kind in kinds],
        "avg": averages,
        "avg30": averages,
        "avg90": averages,
        "min": [_extreme(histories.values.get(kind), min) for kind in kinds],
        "max": [_extreme(histories.values.get(kind), max) for kind in kinds],
        "salesRankDrops30": drops,
        "salesRankDrops90": drops,
        "totalOfferCount": histories.current(COUNT_NEW),
        "buyBoxPrice": histories.current(NEW),
        "buyBoxShipping": histories.shipping,
    }


def _wander(chance: random.Random, low: int, high: int) -> list[int]:
    """Invent values that change by some percent a day, from `low` to `high`."""
    value = chance.randint(low, high)
    values = []
    for _ in range(HISTORY_POINTS):
        value = min(high, max(low, value + round(value * chance.uniform(-0.06, 0.06))))
        values.append(value)
    return values


def _extreme(points: list[tuple[int, int]] | None, choose: Any) -> list[int] | None:
    """Return time and value of the least or the most; None where there was nothing."""
    there = [point for point in points or () if point[1] != OUT_OF_STOCK]
    return list(choose(there, key=lambda point: point[1])) if there else None
