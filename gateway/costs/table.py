"""Keepa's cost table: what each call may cost at worst, in tokens.

The numbers come from Keepa's documentation and from recorded answers. A call beyond Keepa's limits
is priced as if it stood at the limit, and Keepa is left to answer it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.costs.parameters import Parameters, dearest, whole
from gateway.costs.parts import ITEMS
from gateway.costs.price import TOO_LARGE, Price

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.costs.parts import Share

MAX_PRODUCTS = 100  # ASINs or codes in one call
MAX_SELLERS = 100
MAX_CATEGORIES = 10
MAX_TRACKINGS = 1000

MIN_OFFERS, MAX_OFFERS = 20, 100
TOKENS_PER_OFFER_PAGE = 6  # of 10 offers
OFFER_PAGES = "{each} x {number} offer page{s} x {items}"

# Shares are what an option adds: its wording, the tokens for one, how many of it.
STOCK: Share = ("stock: {each} x {items}", 2, 1)
BUYBOX: Share = ("buybox: {each} x {items}", 2, 1)
RATING: Share = ("rating: {each} x {items}", 1, 1)
UPDATE: Share = ("update: {each} x {items}", 1, 1)
VARIATIONS: Share = ("historical variations: {each} x {items}", 1, 1)

MAX_PRODUCTS_PER_CODE = 10_000
"""Keepa states no limit for `code-limit`; 1 500 products of one code were seen, several times that
is covered. A larger number says no more than "all there are"."""

MIN_PER_PAGE, MAX_PER_PAGE = 50, 10_000  # the minimum is also the default
PAGE = "page of up to {number}00 products: {each} per 100"
UNREADABLE_PAGE = "page of {number}00 products, for it cannot be read: {each} per 100"
# More than a million products are an overrun.
STATS: Share = ("stats: 30 + 1 for up to 1000000 products", 31, 1)

SEARCH_PAGE_TOKENS = 10
SEARCH_PRODUCTS_PER_PAGE = 10
SEARCH_DEFAULT_PAGES = 4
SEARCH_RATING: Share = ("rating", 5, 1)
CATEGORY_SEARCH_TOKENS = 1

STOREFRONT: Share = ("storefront: {each} x {items}", 9, 1)  # 10 with the seller's own 1
STOREFRONT_UPDATE: Share = ("updated storefront: {each} x {items}", 49, 1)

ALL_LIGHTNING_DEALS: Share = ("all lightning deals", 500, 1)

# What Keepa's Java client sends besides `add`, in lower case.
FREE_TRACKING_TYPES = frozenset({"get", "list", "notification", "remove", "removeall", "webhook"})


def _product(endpoint: str, base: int, call: Parameters) -> Price:
    """`/product?asin=|code=`: per product 1, or 6 for each page of 10 offers, and options."""
    codes = call.items("code", MAX_PRODUCTS)
    products = max(min(codes + call.items("asin", MAX_PRODUCTS), MAX_PRODUCTS), 1)
    offers = limit = None
    if given := call.numbers("offers"):
        offers = dearest(given, MIN_OFFERS, MAX_OFFERS)
        shares: tuple[Share, ...] = ((OFFER_PAGES, TOKENS_PER_OFFER_PAGE, -(-offers // 10)),)
        if call.flag("stock"):
            shares += (STOCK,)
    else:
        shares = ((ITEMS, base, 1),)
        if call.flag("buybox"):
            shares += (BUYBOX,)
    if call.flag("rating"):
        shares += (RATING,)
    if call.flag("historical-variations"):
        shares += (VARIATIONS,)
    if _updates(call):
        shares += (UPDATE,)
    each = 0
    for _, tokens, number in shares:
        each += tokens * number
    # Without a limit a code may match any number of products: 1 is reserved, the rest is overrun.
    if codes and (limits := call.numbers("code-limit")):
        limit = dearest(limits, 1, MAX_PRODUCTS_PER_CODE)
        each *= limit
    return Price(endpoint, products * each, products, each, 0, shares, offers, codes, limit)


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
    shares: tuple[Share, ...] = (
        ("product finder", base, 1),
        (UNREADABLE_PAGE if None in sizes else PAGE, 1, -(-per_page // 100)),
    )
    if call.flag("stats"):
        shares += (STATS,)
    return Price.of_shares(endpoint, None, shares)


def _search(endpoint: str, base: int, call: Parameters) -> Price:
    """`/search`: 10 for each page of 10 products, 4 pages unless one is named; categories: 1.

    An unknown type is taken for products. An override is the price of a page and of a category
    search; one that repeats the default changes neither.
    """
    types = call.words("type")
    if types and all(word == "category" for word in types):
        tokens = CATEGORY_SEARCH_TOKENS if base == SEARCH_PAGE_TOKENS else base
        return Price.of_shares(endpoint, None, (("category search", tokens, 1),))
    named = call.numbers("page")
    one_page = named and all(number is not None and number >= 0 for number in named)
    pages = 1 if one_page else SEARCH_DEFAULT_PAGES
    shares: tuple[Share, ...] = (("{each} x {number} page{s}", base, pages),)
    if call.flag("rating"):
        shares += (SEARCH_RATING,)
    if _updates(call):
        found = SEARCH_PRODUCTS_PER_PAGE * pages
        shares += (("update: {each} x {number} products", 1, found),)
    return Price.of_shares(endpoint, None, shares)


def _category(endpoint: str, base: int, call: Parameters) -> Price:
    """`/category`: 1 for up to 10 ids together."""
    ids = max(call.items("category", MAX_CATEGORIES), 1)
    return Price(endpoint, base, ids, 0, base, (("{items} in one call", base, 1),))


def _seller(endpoint: str, base: int, call: Parameters) -> Price:
    """`/seller`: 1 each; 10 with `storefront`, 50 with any `update` of it.

    Keepa documents one seller for a storefront, yet its Python client sends it with a batch: should
    Keepa serve that, it would charge each, so each is reserved.
    """
    sellers = max(call.items("seller", MAX_SELLERS), 1)
    if not call.flag("storefront"):
        return Price.of_items(endpoint, sellers, base)
    storefront = STOREFRONT_UPDATE if call.words("update") else STOREFRONT
    return Price.of_shares(endpoint, sellers, ((ITEMS, base, 1), storefront))


def _lightning_deal(endpoint: str, base: int, call: Parameters) -> Price:
    """`/lightningdeal`: 1 per ASIN; 500 for the whole list, which is what naming none gives."""
    asins = call.items("asin", MAX_PRODUCTS)
    if asins == 0 or call.unread:
        return Price.of_shares(endpoint, None, (ALL_LIGHTNING_DEALS,))
    return Price.of_items(endpoint, asins, base)


def _tracking(endpoint: str, base: int, call: Parameters) -> Price:
    """`/tracking`: 1 for each tracking added; the documented other types are free.

    A missing or unknown type is taken for `add`, and trackings that cannot be read for a thousand.
    """
    types = call.words("type")
    if types and all(word.lower() in FREE_TRACKING_TYPES for word in types):
        return Price.flat(endpoint, 0)
    trackings, wording = 0, ITEMS
    for document in call.documents("tracking"):
        if isinstance(document, list):
            trackings += len(document)
        elif isinstance(document, tuple):
            trackings += 1
        else:
            trackings, wording = MAX_TRACKINGS, "{each} x {items}, for they cannot be read"
    trackings = min(max(trackings, 1), MAX_TRACKINGS)
    return Price.of_shares(endpoint, trackings, ((wording, base, 1),))


def _updates(call: Parameters) -> bool:
    """Return whether `update` is 0, the one value that makes Keepa refresh every product."""
    hours = call.numbers("update")
    return 0 in hours or None in hours


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
            name = canonical_name(endpoint)
            rule = self._rules.get(name, self._rules[UNKNOWN])
            self._rules[name] = rule._replace(base=base)

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
        return price._replace(shares=TOO_LARGE) if call.unread else price


def canonical_name(endpoint: str) -> str:
    """Return the name that a price gives an endpoint: in lower case, and `deals` as `deal`."""
    name = endpoint.lower()
    return ALIASES.get(name, name)
