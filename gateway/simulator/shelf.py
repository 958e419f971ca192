"""What Keepa has of each product, and since when: what decides what it fetches, and charges.

Keepa answers `/product` out of its own store, and first fetches from Amazon what is older than the
call allows. Times here are Keepa minutes.
"""

from collections.abc import Callable
from typing import NamedTuple

from gateway.simulator import catalogue

KEEPA_EPOCH_MINUTES = 21_564_000
"""Keepa minutes count from here, in minutes since 1970."""
MOST_KEPT = 100_000
"""Enough for any test; the oldest give way, so that a long run cannot fill the memory."""
HOUR, DAY = 60, 24 * 60
OLDEST_AT_START = 4 * HOUR
OLDEST_STOCK, OLDEST_RATING = 14 * DAY, 28 * DAY


class Copy(NamedTuple):
    """Keepa's copy of one product.

    Attributes:
        updated: `lastUpdate`.
        offers_updated: `lastOffersUpdate`; 0: its offers were never fetched.
        stock_updated: `lastStockUpdate`.
        rating_updated: `lastRatingUpdate`.
        served: in how many answers it has been: so one answer can be told from a later one.
    """

    updated: int
    offers_updated: int
    stock_updated: int
    rating_updated: int
    served: int = 0


class Shelf:
    """Keepa's copies of products.

    Args:
        clock: the time in ms since 1970.

    Attributes:
        began: when its first copies were made, in Keepa minutes; none is newer by itself.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._copies: dict[tuple[int, str], Copy] = {}
        self.began = self.now()

    def now(self) -> int:
        """Tell the time."""
        return self._clock() // 60_000 - KEEPA_EPOCH_MINUTES

    def look(self, domain: int, asin: str) -> Copy:
        """Return the copy of a product; one that nobody has asked for yet is as old as it may be.

        How old is decided by its name, as all is: up to some hours, its stock up to two weeks, its
        rating up to four.
        """
        copy = self._copies.get((domain, asin))
        if copy is not None:
            return copy
        draw = catalogue.draw_for_product
        return Copy(
            self.began - draw("updated", asin, OLDEST_AT_START),
            self.began if asin.startswith("B0KEPT") else 0,
            self.began - draw("stock", asin, OLDEST_STOCK),
            # Where the worst case is wanted, it is the newest.
            self.began - (OLDEST_RATING - 1 - draw("rating", asin, OLDEST_RATING)),
        )

    def put(self, domain: int, asin: str, copy: Copy) -> None:
        """Replace the copy of a product."""
        self._copies.pop((domain, asin), None)
        self._copies[domain, asin] = copy
        if len(self._copies) > MOST_KEPT:
            del self._copies[next(iter(self._copies))]
