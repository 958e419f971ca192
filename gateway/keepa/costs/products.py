"""The price of `/product`: products, their offers and options, and codes that stand for many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.keepa.costs.parameters import dearest
from gateway.keepa.costs.parts import ITEMS
from gateway.keepa.costs.price import Price

if TYPE_CHECKING:
    from gateway.keepa.costs.parameters import Parameters
    from gateway.keepa.costs.parts import Share

MAX_PRODUCTS = 100  # ASINs or codes in one call

MIN_OFFERS, MAX_OFFERS = 20, 100
TOKENS_PER_OFFER_PAGE = 6  # of 10 offers
OFFER_PAGES = "{each} x {number} offer page{s} x {items}"
UNREADABLE_OFFERS = "{each} x {number} offer pages x {items}, for offers cannot be read"

# Shares are what an option adds: its wording, the tokens for one, how many of it.
STOCK: Share = ("stock: {each} x {items}", 2, 1)
BUYBOX: Share = ("buybox: {each} x {items}", 2, 1)
RATING: Share = ("rating: {each} x {items}", 1, 1)
UPDATE: Share = ("update: {each} x {items}", 1, 1)
VARIATIONS: Share = ("historical variations: {each} x {items}", 1, 1)

MAX_PRODUCTS_PER_CODE = 10_000
"""Keepa states no limit for `code-limit`; 1 500 products of one code were seen, several times that
is covered. A larger number says no more than "all there are"."""


def price_products(endpoint: str, base: int, call: Parameters) -> Price:
    """`/product?asin=|code=`: per product 1, or 6 for each page of 10 offers, and options."""
    codes = call.items("code", MAX_PRODUCTS)
    products = max(min(codes + call.items("asin", MAX_PRODUCTS), MAX_PRODUCTS), 1)
    unread: tuple[str, ...] = ()
    offers = limit = None
    if given := call.numbers_said("offers", MIN_OFFERS):
        offers = dearest(given, MIN_OFFERS, MAX_OFFERS)
        wording = OFFER_PAGES
        if None in given:
            wording, unread = UNREADABLE_OFFERS, ("offers",)
        shares: tuple[Share, ...] = ((wording, TOKENS_PER_OFFER_PAGE, -(-offers // 10)),)
        if call.flag("stock"):
            shares += (STOCK,)
    else:
        shares = ((ITEMS, base, 1),)
        if call.flag("buybox"):
            shares += (BUYBOX,)
    shares += _options(call)
    each = 0
    for _, tokens, number in shares:
        each += tokens * number
    # Without a limit a code may match any number of products: 1 is reserved, the rest is overrun.
    if codes and (limits := call.numbers("code-limit")):
        limit = dearest(limits, 1, MAX_PRODUCTS_PER_CODE)
        each *= limit
        if None in limits:
            unread += ("code-limit",)
    return Price(endpoint, products * each, products, each, 0, shares, offers, codes, limit, unread)


def refreshes(call: Parameters) -> bool:
    """Return whether `update` is 0, the one value that makes Keepa refresh every product."""
    hours = call.numbers("update")
    return 0 in hours or None in hours


def _options(call: Parameters) -> tuple[Share, ...]:
    """Return what a product costs more, with offers or without."""
    shares: tuple[Share, ...] = ()
    if call.flag("rating"):
        shares += (RATING,)
    if call.flag("historical-variations"):
        shares += (VARIATIONS,)
    if refreshes(call):
        shares += (UPDATE,)
    return shares
