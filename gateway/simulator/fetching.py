"""What Keepa does for one product of a `/product` call, and what that costs.

Written from the rows of `/product` in the table of docs/keepa.md, the really charged parts too.
"""

from typing import NamedTuple

from gateway.simulator import catalogue
from gateway.simulator.shelf import DAY, HOUR, Copy

ALWAYS, NEVER, USUAL_HOURS = 0, -1, 1
"""Values of `update`: fetch whatever its age, fetch never; what holds where it is not given."""
OFFERS_A_PAGE = 10
PAGE_TOKENS, NO_PAGE_TOKENS, FAILED_TOKENS = 6, 5, 1
STOCK_DAYS, RATING_DAYS = 7, 14


class Wanted(NamedTuple):
    """What a call asks of each of its products.

    Attributes:
        update: in hours; None: not said.
        offers: how many offers at most; None: none.
    """

    update: int | None = None
    offers: int | None = None
    stock: bool = False
    buybox: bool = False
    rating: bool = False
    variations: bool = False


class Fetched(NamedTuple):
    """One product as it is answered.

    Attributes:
        tokens: what it costs.
        copy: Keepa's copy after the call.
        offers: how many offers are shown.
        has_offers: `offersSuccessful`.
        is_given: whether it is in the answer.
    """

    asin: str
    tokens: int
    copy: Copy
    offers: int = 0
    has_offers: bool = False
    is_given: bool = True


def fetch(asin: str, copy: Copy, wanted: Wanted, now: int) -> Fetched:
    """Work out what Keepa does for a product of which it has `copy`; times in Keepa minutes."""
    if not catalogue.is_known(asin):
        # Keepa has to look for it to find that out.
        return Fetched(asin, 0 if wanted.update == NEVER else 1, copy, is_given=False)
    tokens, offers, has_offers = 1 + 2 * wanted.buybox, 0, False
    refreshes = _refreshes(copy.updated, wanted.update, now)
    if wanted.offers is not None:
        tokens, offers = _fetch_offers(asin, copy, wanted, now)
        has_offers = tokens != FAILED_TOKENS
        if _refetches_offers(asin, copy, wanted, now):
            refreshes = True
            copy = copy._replace(offers_updated=now) if has_offers else copy
        if wanted.stock and has_offers and _is_stock_old(asin, copy, now):
            tokens += 2
            copy = copy._replace(stock_updated=now)
    if wanted.rating and now - copy.rating_updated <= RATING_DAYS * DAY:
        tokens += 1
    if wanted.update == ALWAYS and _is_young(asin, copy, now):
        tokens += 1
    if wanted.variations:
        tokens += 1
    copy = copy._replace(updated=now if refreshes else copy.updated, served=copy.served + 1)
    return Fetched(asin, tokens, copy, offers, has_offers)


def _fetch_offers(asin: str, copy: Copy, wanted: Wanted, now: int) -> tuple[int, int]:
    """Return what the offers cost, and how many are shown."""
    shown = min(wanted.offers or 0, catalogue.count_offers(asin))
    if not _refetches_offers(asin, copy, wanted, now):
        return NO_PAGE_TOKENS, shown if copy.offers_updated else 0
    if not catalogue.can_fetch_offers(asin):
        return FAILED_TOKENS, 0
    return PAGE_TOKENS * -(-shown // OFFERS_A_PAGE) or NO_PAGE_TOKENS, shown


def _refetches_offers(asin: str, copy: Copy, wanted: Wanted, now: int) -> bool:
    """Tell whether Keepa opens the pages of offers: always, where `update` does not say."""
    hours = ALWAYS if wanted.update is None else wanted.update
    return hours != NEVER and (
        asin.startswith("B0MAX") or _refreshes(copy.offers_updated, hours, now)
    )


def _refreshes(updated: int, hours: int | None, now: int) -> bool:
    if hours == NEVER:
        return False
    hours = USUAL_HOURS if hours is None else hours
    return hours == ALWAYS or now - updated > hours * HOUR


def _is_young(asin: str, copy: Copy, now: int) -> bool:
    """Tell whether a refresh is a luxury: Keepa's data is younger than an hour."""
    if asin.startswith(("B0MAX", "B0MIN")):
        return asin.startswith("B0MAX")
    return now - copy.updated < HOUR


def _is_stock_old(asin: str, copy: Copy, now: int) -> bool:
    if asin.startswith(("B0MAX", "B0MIN")):
        return asin.startswith("B0MAX")
    return now - copy.stock_updated > STOCK_DAYS * DAY
