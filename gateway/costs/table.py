"""Keepa's cost table: what each call may cost at worst, in tokens.

The numbers come from Keepa's documentation and from recorded answers. A call beyond Keepa's limits
is priced as if it stood at the limit, and Keepa is left to answer it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.costs.parameters import Parameters, dearest, whole
from gateway.costs.price import Price

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_PRODUCTS = 100  # ASINs or codes in one call
MAX_SELLERS = 100
MAX_CATEGORIES = 10
MAX_TRACKINGS = 1000

MIN_OFFERS, MAX_OFFERS = 20, 100
TOKENS_PER_OFFER_PAGE = 6  # of 10 offers

MAX_PRODUCTS_PER_CODE = 10_000
"""Keepa states no limit for `code-limit`; 1 500 products of one code were seen, several times that
is covered. A larger number says no more than "all there are"."""

MIN_PER_PAGE, MAX_PER_PAGE = 50, 10_000  # the minimum is also the default
FINDER_STATS_TOKENS = 31  # 30, and 1 for up to a million products; more of them are an overrun

SEARCH_PAGE_TOKENS = 10
SEARCH_PRODUCTS_PER_PAGE = 10
SEARCH_DEFAULT_PAGES = 4
SEARCH_RATING_TOKENS = 5
CATEGORY_SEARCH_TOKENS = 1

STOREFRONT_TOKENS = 9  # 10 with the seller's own 1
STOREFRONT_UPDATE_TOKENS = 49

ALL_LIGHTNING_DEALS_TOKENS = 500

# What Keepa's Java client sends besides `add`, in lower case.
FREE_TRACKING_TYPES = frozenset({"get", "list", "notification", "remove", "removeall", "webhook"})


def _product(endpoint: str, base: int, call: Parameters) -> Price:
    """`/product?asin=|code=`: per product 1, or 6 for each page of 10 offers, and options."""
    codes = call.items("code", MAX_PRODUCTS)
    products = min(codes + call.items("asin", MAX_PRODUCTS), MAX_PRODUCTS)
    if offers := call.numbers("offers"):
        pages = -(-dearest(offers, MIN_OFFERS, MAX_OFFERS) // 10)
        each = TOKENS_PER_OFFER_PAGE * pages + 2 * call.flag("stock")
    else:
        each = base + 2 * call.flag("buybox")
    each += call.flag("rating") + call.flag("historical-variations") + _updates(call)
    # Without a limit a code may match any number of products: 1 is reserved, the rest is overrun.
    if codes and (limits := call.numbers("code-limit")):
        each *= dearest(limits, 1, MAX_PRODUCTS_PER_CODE)
    return Price.of_items(endpoint, max(products, 1), each)


def _finder(endpoint: str, base: int, call: Parameters) -> Price:
    """`/query`: 10, and 1 for each 100 products of the page asked for; `stats` costs 31 more.

    A selection that cannot be read counts as the largest page, one without `perPage` as 50.
    """
    sizes = call.numbers("perpage")
    for selection in call.documents("selection"):
        if isinstance(selection, tuple):
            given = (value for key, value in selection if key.lower() == "perpage")
            sizes += [whole(value) for value in given if value is not None]
        else:
            sizes.append(None)
    per_page = dearest(sizes, MIN_PER_PAGE, MAX_PER_PAGE) if sizes else MIN_PER_PAGE
    stats = FINDER_STATS_TOKENS * call.flag("stats")
    return Price.flat(endpoint, base - (-per_page // 100) + stats)


def _search(endpoint: str, base: int, call: Parameters) -> Price:
    """`/search`: 10 for each page of 10 products, 4 pages unless one is named; categories: 1.

    An unknown type is taken for products. An override is the price of a page and of a category
    search; one that repeats the default changes neither.
    """
    types = call.words("type")
    if types and all(word == "category" for word in types):
        tokens = CATEGORY_SEARCH_TOKENS if base == SEARCH_PAGE_TOKENS else base
        return Price.flat(endpoint, tokens)
    named = call.numbers("page")
    one_page = named and all(number is not None and number >= 0 for number in named)
    pages = 1 if one_page else SEARCH_DEFAULT_PAGES
    updates = SEARCH_PRODUCTS_PER_PAGE * pages * _updates(call)
    rating = SEARCH_RATING_TOKENS * call.flag("rating")
    return Price.flat(endpoint, base * pages + updates + rating)


def _category(endpoint: str, base: int, call: Parameters) -> Price:
    """`/category`: 1 for up to 10 ids together."""
    ids = max(call.items("category", MAX_CATEGORIES), 1)
    return Price.of_items(endpoint, ids, per_item=0, fixed=base)


def _seller(endpoint: str, base: int, call: Parameters) -> Price:
    """`/seller`: 1 each; 10 with `storefront`, 50 with any `update` of it.

    Keepa documents one seller for a storefront, yet its Python client sends it with a batch: should
    Keepa serve that, it would charge each, so each is reserved.
    """
    sellers = max(call.items("seller", MAX_SELLERS), 1)
    each = base
    if call.flag("storefront"):
        each += STOREFRONT_UPDATE_TOKENS if call.words("update") else STOREFRONT_TOKENS
    return Price.of_items(endpoint, sellers, each)


def _lightning_deal(endpoint: str, base: int, call: Parameters) -> Price:
    """`/lightningdeal`: 1 per ASIN; 500 for the whole list, which is what naming none gives."""
    asins = call.items("asin", MAX_PRODUCTS)
    if asins == 0 or call.unread:
        return Price.flat(endpoint, ALL_LIGHTNING_DEALS_TOKENS)
    return Price.of_items(endpoint, asins, base)


def _tracking(endpoint: str, base: int, call: Parameters) -> Price:
    """`/tracking`: 1 for each tracking added; the documented other types are free.

    A missing or unknown type is taken for `add`, and trackings that cannot be read for a thousand.
    """
    types = call.words("type")
    if types and all(word.lower() in FREE_TRACKING_TYPES for word in types):
        return Price.flat(endpoint, 0)
    trackings = 0
    for document in call.documents("tracking"):
        if isinstance(document, list):
            trackings += len(document)
        else:
            trackings += 1 if isinstance(document, tuple) else MAX_TRACKINGS
    return Price.of_items(endpoint, min(max(trackings, 1), MAX_TRACKINGS), base)


def _updates(call: Parameters) -> bool:
    """Return whether `update` is 0, the one value that makes Keepa refresh every product."""
    return any(hours is None or hours == 0 for hours in call.numbers("update"))


class Rule(NamedTuple):
    """How an endpoint is priced: a base, which ENDPOINT_COSTS may replace, and what comes on top.

    The base is for one item where calls have items, for one page of a search, else for the call;
    without a function it is the whole price.
    """

    base: int
    price: Callable[[str, int, Parameters], Price] | None = None


UNKNOWN = "unknown"
ALIASES = {"deals": "deal"}
ENDPOINTS: Mapping[str, Rule] = {
    "bestsellers": Rule(50),
    "category": Rule(1, _category),
    "deal": Rule(5),
    "graphimage": Rule(1),
    "lightningdeal": Rule(1, _lightning_deal),
    "product": Rule(1, _product),
    "query": Rule(10, _finder),
    "search": Rule(SEARCH_PAGE_TOKENS, _search),
    "seller": Rule(1, _seller),
    "token": Rule(0),
    "topseller": Rule(50),
    "tracking": Rule(1, _tracking),
    UNKNOWN: Rule(1),
}


class CostTable:
    """Prices calls by the table above and the operator's ENDPOINT_COSTS.

    Args:
        overrides: base tokens by endpoint name, integers of 0 or more; `deals` is read as `deal`. A
            name unknown here becomes an endpoint of that flat cost. Options still add to a base;
            offers still replace it. An override equal to the table's own number changes nothing.
    """

    def __init__(self, overrides: Mapping[str, int]) -> None:
        self._rules = dict(ENDPOINTS)
        for endpoint, base in overrides.items():
            name = _canonical(endpoint)
            rule = self._rules.get(name, self._rules[UNKNOWN])
            self._rules[name] = rule._replace(base=base)

    def price(self, endpoint: str, query: str, body: bytes) -> Price:
        """Return the worst-case price of a call; it never raises, whatever was sent.

        Args:
            endpoint: the path's one word as sent, in any case.
            query: the raw query string, percent-encoded, without `?`.
            body: the request body, not compressed; empty for none.
        """
        name = _canonical(endpoint)
        rule = self._rules.get(name)
        if rule is None:
            name, rule = UNKNOWN, self._rules[UNKNOWN]
        if rule.price is None:
            return Price.flat(name, rule.base)
        return rule.price(name, rule.base, Parameters(query, body))


def _canonical(endpoint: str) -> str:
    name = endpoint.lower()
    return ALIASES.get(name, name)
