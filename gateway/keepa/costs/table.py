"""Keepa's cost table: what each call may cost at worst, in tokens.

The numbers come from Keepa's documentation and from recorded answers: docs/keepa.md tells of which
date they are. A call beyond Keepa's limits is priced as if it stood at the limit, and Keepa is left
to answer it. Each shape of call, with what Keepa charges, is a row of
tests/support/keepa/call_shapes.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.keepa.costs.parameters import Parameters, dearest, whole
from gateway.keepa.costs.parts import ITEMS
from gateway.keepa.costs.price import TOO_LARGE, Price
from gateway.keepa.costs.products import price_products, refreshes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.keepa.costs.parts import Share

MAX_DEALS = 100
MAX_SELLERS = 100
MAX_CATEGORIES = 10
MAX_TRACKINGS = 3000

MIN_PER_PAGE, MAX_PER_PAGE = 50, 10_000  # the minimum is also the default
PAGE = "page of up to {number}00 %s: {each} per 100"
UNREADABLE_PAGE = "page of {number}00 %s, for it cannot be read: {each} per 100"
# More than a million products are an overrun.
STATS: Share = ("stats: 30 + 1 for up to 1000000 products", 31, 1)

SEARCH_TOKENS = 10
MAX_SEARCH_PRODUCTS = 20
# Keepa documented up to 5 for the 10 results that a search once had, and nothing for the 20 of now.
SEARCH_RATING: Share = ("rating: {each} x up to {number} products", 1, MAX_SEARCH_PRODUCTS)
SEARCH_UPDATE: Share = ("update: {each} x up to {number} products", 1, MAX_SEARCH_PRODUCTS)
CATEGORY_SEARCH_TOKENS = 1

STOREFRONT: Share = ("storefront: {each} x {items}", 9, 1)  # 10 with the seller's own 1

ALL_LIGHTNING_DEALS: Share = ("all lightning deals", 500, 1)

# What Keepa's Java client sends besides `add`, in lower case.
FREE_TRACKING_TYPES = frozenset(
    {"get", "list", "listnames", "notification", "remove", "removeall", "webhook"}
)

UNKNOWN_TOKENS = 50
"""As a best seller list. A new endpoint says nothing of its price: in 2026 Keepa added one that may
cost 110."""


def _finder(found: str, name: str) -> Callable[[str, int, Parameters], Price]:
    """Return the pricing of a finder, by what it finds and what it is called.

    10, and 1 for each 100 of the page asked for; `stats` costs 31 more. A selection that cannot be
    read counts as the largest page, one without `perPage` as 50.
    """
    page, unreadable_page = PAGE % found, UNREADABLE_PAGE % found

    def price(endpoint: str, base: int, call: Parameters) -> Price:
        sizes = call.numbers_said("perpage", MIN_PER_PAGE)
        for selection in call.documents("selection"):
            if isinstance(selection, tuple):
                given = (value for key, value in selection if key.lower() == "perpage")
                sizes += [whole(value) for value in given if value is not None]
            else:
                sizes.append(None)
        per_page = dearest(sizes, MIN_PER_PAGE, MAX_PER_PAGE) if sizes else MIN_PER_PAGE
        is_unread = None in sizes
        shares: tuple[Share, ...] = (
            (name, base, 1),
            (unreadable_page if is_unread else page, 1, -(-per_page // 100)),
        )
        if call.flag("stats"):
            shares += (STATS,)
        return Price.of_shares(endpoint, None, shares, ("selection",) if is_unread else ())

    return price


def _search(endpoint: str, base: int, call: Parameters) -> Price:
    """`/search`: 10 for up to 20 products, whatever the `page`; categories: 1.

    An unknown type is taken for products. An override is the price of either search; one that
    repeats the default changes neither.
    """
    types = call.words("type")
    if types and all(word == "category" for word in types):
        tokens = CATEGORY_SEARCH_TOKENS if base == SEARCH_TOKENS else base
        return Price.of_shares(endpoint, None, (("category search", tokens, 1),))
    shares: tuple[Share, ...] = (("product search", base, 1),)
    if call.flag("rating"):
        shares += (SEARCH_RATING,)
    if refreshes(call):
        shares += (SEARCH_UPDATE,)
    return Price.of_shares(endpoint, None, shares)


def _category(endpoint: str, base: int, call: Parameters) -> Price:
    """`/category`: 1 for up to 10 ids together."""
    ids = max(call.items("category", MAX_CATEGORIES), 1)
    return Price(endpoint, base, ids, 0, base, (("{items} in one call", base, 1),))


def _seller(endpoint: str, base: int, call: Parameters) -> Price:
    """`/seller`: 1 each, 10 with `storefront`.

    Keepa documents one seller for a storefront, yet its Python client sends it with a batch: should
    Keepa serve that, it would charge each, so each is reserved.
    """
    sellers = max(call.items("seller", MAX_SELLERS), 1)
    if not call.flag("storefront"):
        return Price.of_items(endpoint, sellers, base)
    return Price.of_shares(endpoint, sellers, ((ITEMS, base, 1), STOREFRONT))


def _lightning_deal(endpoint: str, base: int, call: Parameters) -> Price:
    """`/lightningdeal`: 1 per ASIN; 500 for the whole list, which is what naming none gives."""
    asins = call.items("asin", MAX_DEALS)
    if asins == 0 or call.unread:
        return Price.of_shares(endpoint, None, (ALL_LIGHTNING_DEALS,))
    return Price.of_items(endpoint, asins, base)


def _tracking(endpoint: str, base: int, call: Parameters) -> Price:
    """`/tracking`: 1 for each tracking added; the documented other types are free.

    A missing or unknown type is taken for `add`, and trackings that cannot be read for as many as
    Keepa takes at once.
    """
    types = call.words("type")
    if types and all(word.lower() in FREE_TRACKING_TYPES for word in types):
        return Price.flat(endpoint, 0)
    counts = call.lengths("tracking")
    if None in counts:
        wording = "{each} x {items}, for they cannot be read"
        return Price.of_shares(endpoint, MAX_TRACKINGS, ((wording, base, 1),), ("tracking",))
    trackings = min(max(sum(filter(None, counts)), 1), MAX_TRACKINGS)
    return Price.of_shares(endpoint, trackings, ((ITEMS, base, 1),))


class Rule(NamedTuple):
    """How an endpoint is priced: a base, which ENDPOINT_COSTS may replace, and what comes on top.

    The base is for one item where calls have items, else for the call; without a function it is the
    whole price.
    """

    base: int
    price: Callable[[str, int, Parameters], Price] | None = None


UNKNOWN = "unknown"
"""The name of every endpoint that neither this table nor the operator's has."""
ALIASES = {"deals": "deal"}
ENDPOINTS: Mapping[str, Rule] = {
    "bestsellers": Rule(50),
    "category": Rule(1, _category),
    "deal": Rule(5),
    "graphimage": Rule(1),
    "lightningdeal": Rule(1, _lightning_deal),
    "product": Rule(1, price_products),
    "query": Rule(10, _finder("products", "product finder")),
    "search": Rule(SEARCH_TOKENS, _search),
    "seller": Rule(1, _seller),
    "sellerquery": Rule(10, _finder("sellers", "seller finder")),
    "token": Rule(0),
    "topseller": Rule(50),
    "tracking": Rule(1, _tracking),
    UNKNOWN: Rule(UNKNOWN_TOKENS),
}


class CostTable:
    """Prices calls by the table above and the operator's ENDPOINT_COSTS.

    Args:
        overrides: base tokens by endpoint name, integers of 0 or more; `deals` is read as `deal`. A
            name unknown here becomes an endpoint of that flat cost, `unknown` is the cost of those
            that neither this table nor the overrides have. Options still add to a base;
            offers still replace it. An override equal to the table's own number changes nothing.
    """

    def __init__(self, overrides: Mapping[str, int]) -> None:
        self._rules = dict(ENDPOINTS)
        for endpoint, base in overrides.items():
            name = canonical_name(endpoint)
            rule = self._rules.get(name, self._rules[UNKNOWN])
            self._rules[name] = rule._replace(base=base)

    def base(self, endpoint: str) -> int:
        """Return the base tokens of an endpoint that the table has."""
        return self._rules[canonical_name(endpoint)].base

    @property
    def names(self) -> Iterable[str]:
        """The endpoints that it has a price for, `unknown` among them."""
        return self._rules.keys()

    def knows(self, endpoint: str) -> bool:
        """Return whether the table has an endpoint, in any spelling that a call may use.

        `unknown` is one: it stands for all that the table does not have.
        """
        return canonical_name(endpoint) in self._rules

    def price(self, endpoint: str, query: str, body: bytes) -> Price:
        """Return the worst-case price of a call; it never raises, whatever was sent.

        Args:
            endpoint: the path's one word as sent, in any case.
            query: the raw query string, percent-encoded, without `?`.
            body: the request body, not compressed; empty for none.
        """
        name = canonical_name(endpoint)
        rule = self._rules.get(name)
        if rule is None:
            name, rule = UNKNOWN, self._rules[UNKNOWN]
        if rule.price is None:
            return Price.flat(name, rule.base)
        call = Parameters(query, body)
        price = rule.price(name, rule.base, call)
        return price._replace(shares=TOO_LARGE, unread=("call",)) if call.unread else price


def canonical_name(endpoint: str) -> str:
    """Return the name that a price gives an endpoint: in lower case, and `deals` as `deal`."""
    name = endpoint.lower()
    return ALIASES.get(name, name)
