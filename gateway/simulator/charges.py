"""What a call really costs, and the things it is answered with.

Written from the table in the project's page on Keepa (docs/keepa.md), and from nothing else: the
gateway's own tariff is judged by this one, so the two share no line. The table gives worst cases;
where Keepa charges less (offer pages that do not exist, sellers that it does not know), so does
this, as decided by `fetching` and the catalogue. A cost above the worst case happens only where the
table says that there is no bound: products per code without `code-limit`, and products a finder
query matches.
"""

from collections.abc import Callable, Sized

from gateway.simulator import catalogue
from gateway.simulator.call import Call, RejectedCallError, malformed, out_of_range
from gateway.simulator.charge import Charge
from gateway.simulator.fetching import ALWAYS, Wanted, fetch
from gateway.simulator.finders import price_deal, price_query, price_sellerquery
from gateway.simulator.shelf import Shelf

MOST_ITEMS = 100
MOST_CATEGORIES = 10
MOST_TRACKINGS = 3_000
LEAST_OFFERS, MOST_OFFERS = 20, 100
NO_NUMBER = frozenset({"", "false", "true", "none", "null", "undefined"})
"""What some clients write for offers that nobody asked for. Keepa might read its least in it."""
MOST_SEARCH_RESULTS = 20
TRACKING_TYPES = frozenset(
    {"add", "get", "list", "listNames", "notification", "remove", "removeAll", "webhook"}
)


def price(call: Call, shelf: Shelf) -> Charge:
    """Price a call of any endpoint; it changes nothing.

    The price of `/graphimage` is that of a picture nobody asked for lately; see `Pictures`.

    Raises:
        RejectedCallError: Keepa answers 400 or 405 and charges nothing.
    """
    endpoint = ENDPOINTS.get(call.endpoint)
    if endpoint is None:
        raise RejectedCallError(404, f"there is no /{call.endpoint}", call.endpoint)
    call.integer("domain")  # a domain that is no number is malformed wherever it stands
    return endpoint(call, shelf)


def domain_of(call: Call) -> int:
    """Tell a call's domain; amazon.com where none is named."""
    return call.integer("domain") or 1


def price_product(call: Call, shelf: Shelf) -> Charge:
    """`/product`: each product for itself, by its options."""
    asins, codes = call.listed("asin"), call.listed("code")
    if bool(asins) == bool(codes):
        raise malformed("asin", "or code is needed, one of the two")
    _limit(asins or codes, MOST_ITEMS, "asin" if asins else "code")
    code_limit = call.integer("code-limit")
    if code_limit is not None and code_limit < 1:
        raise out_of_range("code-limit", "1 or more")
    for code in codes:
        asins += catalogue.find_by_code(code, code_limit)
    wanted, domain, now = _read_wanted(call), domain_of(call), shelf.now()
    fetched = [fetch(asin, shelf.look(domain, asin), wanted, now) for asin in asins]
    tokens = sum(one.tokens for one in fetched)
    return Charge(tokens, products=tuple(one for one in fetched if one.is_given))


def _read_wanted(call: Call) -> Wanted:
    if call.params.get("offers", "20").strip().lower() in NO_NUMBER:
        offers: int | None = LEAST_OFFERS
    else:
        offers = call.integer("offers")
    if offers is not None and not LEAST_OFFERS <= offers <= MOST_OFFERS:
        raise out_of_range("offers", f"{LEAST_OFFERS} to {MOST_OFFERS}")
    return Wanted(
        call.integer("update"),
        offers,
        stock=call.asks_for("stock"),
        buybox=call.asks_for("buybox"),
        rating=call.asks_for("rating"),
        variations=call.asks_for("historical-variations"),
    )


def price_search(call: Call, shelf: Shelf) -> Charge:
    """`/search`: 1 for categories, 10 for up to 20 products; the `page` of old changes nothing."""
    term = call.params.get("term", "").strip()
    if not term:
        raise malformed("term", "is missing")
    kind = call.params.get("type")
    if kind == "category":
        return Charge(1, (str(1 + catalogue.draw("category", term, 10**9)),))
    if kind != "product":
        raise malformed("type", "must be product or category")
    found = min(MOST_SEARCH_RESULTS, catalogue.count_search_results(term))
    tokens = 10
    if call.asks_for("rating"):
        # For the ten results of before Keepa charged up to five; of twenty nobody knows.
        tokens += found
    if call.integer("update") == ALWAYS:
        tokens += found
    wanted, domain, now = Wanted(call.integer("update")), domain_of(call), shelf.now()
    asins = [catalogue.name_asin(term, place) for place in range(found)]
    fetched = (fetch(asin, shelf.look(domain, asin), wanted, now) for asin in asins)
    return Charge(tokens, products=tuple(fetched))


def price_category(call: Call, _shelf: Shelf) -> Charge:
    """`/category`: 1 for up to ten ids."""
    ids = _need(call, "category")
    for text in ids:
        if not text.isdecimal():
            raise malformed("category", f"must be a list of ids, got {text!r}")
    _limit(ids, MOST_CATEGORIES, "category")
    return Charge(1, tuple(ids))


def price_bestsellers(call: Call, _shelf: Shelf) -> Charge:
    """`/bestsellers`: 50, or nothing when there is no list."""
    category = _need(call, "category")[0]
    if category == catalogue.CATEGORY_WITHOUT_LIST:
        return Charge(0)
    return Charge(50, tuple(catalogue.name_asin(category, place) for place in range(100)))


def price_topseller(_call: Call, _shelf: Shelf) -> Charge:
    """`/topseller`: 50 for the list of the most rated sellers."""
    return Charge(50, tuple(f"A{place:013d}" for place in range(100)))


def price_seller(call: Call, _shelf: Shelf) -> Charge:
    """`/seller`: 1 each, the storefront of one seller 10; what Keepa does not know is free."""
    sellers = _need(call, "seller")
    _limit(sellers, MOST_ITEMS, "seller")
    storefront = call.asks_for("storefront")
    if storefront and len(sellers) > 1:
        raise out_of_range("seller", "a single one when storefront is asked for")
    known = tuple(filter(catalogue.is_known_seller, sellers))
    return Charge(len(known) * (10 if storefront else 1), known)


def price_lightningdeal(call: Call, _shelf: Shelf) -> Charge:
    """`/lightningdeal`: 1 per ASIN; 500 for the whole list, which an empty `asin` asks for too."""
    asins = call.listed("asin")
    _limit(asins, MOST_ITEMS, "asin")
    if asins:
        return Charge(len(asins), tuple(asins))
    return Charge(500, tuple(catalogue.name_asin("lightning", place) for place in range(50)))


def price_graphimage(call: Call, _shelf: Shelf) -> Charge:
    """`/graphimage`: 1 for a picture, which everything but the key describes."""
    _need(call, "asin")
    described = sorted(pair for pair in call.params.items() if pair[0] != "key")
    return Charge(1, (repr(described),))


def price_tracking(call: Call, _shelf: Shelf) -> Charge:
    """`/tracking`: 1 for each tracking that is added; everything else is free."""
    kind = call.params.get("type")
    if not kind:
        raise malformed("type", "is missing")
    if kind not in TRACKING_TYPES:
        raise malformed("type", f"must be one of {', '.join(sorted(TRACKING_TYPES))}")
    if kind != "add":
        return Charge(0)
    wanted = call.json("tracking")
    trackings = wanted if isinstance(wanted, list) else [wanted]
    if not trackings or not all(isinstance(one, dict) and one.get("asin") for one in trackings):
        raise malformed("tracking", "must be an object, or a list of objects, with an asin")
    _limit(trackings, MOST_TRACKINGS, "tracking")
    return Charge(len(trackings), tuple(str(one["asin"]) for one in trackings))


def price_token(_call: Call, _shelf: Shelf) -> Charge:
    """`/token`: free."""
    return Charge(0)


ENDPOINTS: dict[str, Callable[[Call, Shelf], Charge]] = {
    "product": price_product,
    "query": price_query,
    "sellerquery": price_sellerquery,
    "deal": price_deal,
    "search": price_search,
    "category": price_category,
    "bestsellers": price_bestsellers,
    "topseller": price_topseller,
    "seller": price_seller,
    "lightningdeal": price_lightningdeal,
    "graphimage": price_graphimage,
    "tracking": price_tracking,
    "token": price_token,
}
"""Keepa's endpoints; the one list of them in the simulator."""


def _limit(items: Sized, most: int, name: str) -> None:
    if len(items) > most:
        raise out_of_range(name, f"at most {most} at once")


def _need(call: Call, name: str) -> list[str]:
    items = call.listed(name)
    if not items:
        raise malformed(name, "is missing")
    return items
