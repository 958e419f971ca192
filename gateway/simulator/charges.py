"""What a call really costs, and the things it is answered with.

Written from the table "What a call costs" in the project's page on Keepa, and from nothing else:
the gateway's own tariff is judged by this one, so the two share no line. The table gives worst
cases; where Keepa charges less (offer pages that do not exist, ratings that are fresh), so does
this, as decided by the catalogue. A cost above the worst case happens only where the table says
that there is no bound: products per code without `code-limit`, and products a finder query matches.
"""

import dataclasses
from collections.abc import Callable, Sized
from typing import Any

from gateway.simulator import catalogue
from gateway.simulator.call import Call, RejectedCallError, malformed, out_of_range

MOST_ITEMS = 100
MOST_CATEGORIES = 10
MOST_TRACKINGS = 1_000
LEAST_OFFERS, MOST_OFFERS = 20, 100
OFFERS_A_PAGE = 10
LEAST_PER_PAGE, MOST_PER_PAGE = 50, 10_000
RESULTS_A_TOKEN = 100
MATCHES_A_TOKEN = 1_000_000
SEARCH_RESULTS_A_PAGE = 10
SEARCH_PAGES_WITHOUT_PAGE = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Charge:
    """What a call costs, in tokens, and what it found.

    Attributes:
        tokens: the cost; `tokensConsumed` of the answer.
        items: what the answer lists: ASINs, sellers or categories; one picture of `/graphimage`.
        total: how many products a finder query or a search matches, on all pages.
    """

    tokens: int
    items: tuple[str, ...] = ()
    total: int = 0


def price(call: Call) -> Charge:
    """Price a call of any endpoint.

    The price of `/graphimage` is that of a picture nobody asked for lately; see `Pictures`.

    Raises:
        RejectedCallError: Keepa answers 400 or 405 and charges nothing.
    """
    endpoint = ENDPOINTS.get(call.endpoint)
    if endpoint is None:
        raise RejectedCallError(404, f"there is no /{call.endpoint}", call.endpoint)
    call.integer("domain")  # a domain that is no number is malformed wherever it stands
    return endpoint(call)


def price_product(call: Call) -> Charge:
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
    return Charge(_price_products(call, asins), tuple(asins))


def _price_products(call: Call, asins: list[str]) -> int:
    offers = call.integer("offers")
    if offers is not None and not LEAST_OFFERS <= offers <= MOST_OFFERS:
        raise out_of_range("offers", f"{LEAST_OFFERS} to {MOST_OFFERS}")
    if offers is None:
        tokens = len(asins) * (3 if call.asks_for("buybox") else 1)
    else:
        tokens = sum(6 * count_offer_pages(asin, offers) for asin in asins)
        tokens += 2 * len(asins) if call.asks_for("stock") else 0
    if call.asks_for("rating"):
        tokens += sum(map(catalogue.needs_rating, asins))
    if call.integer("update") == 0:
        tokens += sum(map(catalogue.needs_update, asins))
    if call.asks_for("historical-variations"):
        tokens += len(asins)
    return tokens


def count_offer_pages(asin: str, offers: int) -> int:
    """Tell how many pages of ten offers Keepa opens: the first, and more while there are more."""
    there = _round_up(catalogue.count_offers(asin), OFFERS_A_PAGE)
    return min(_round_up(offers, OFFERS_A_PAGE), max(1, there))


def price_query(call: Call) -> Charge:
    """`/query`, the Product Finder: by the results on the page, and by the matches for `stats`."""
    selection = _read_selection(call)
    per_page = _read_integer(selection, "perPage", LEAST_PER_PAGE)
    if per_page > MOST_PER_PAGE:
        raise out_of_range("perPage", f"{LEAST_PER_PAGE} to {MOST_PER_PAGE}")
    per_page = max(per_page, LEAST_PER_PAGE)
    page = _read_integer(selection, "page", 0)
    if page < 0:
        raise out_of_range("page", "0 or more")
    total = catalogue.count_finder_matches(selection)
    listed = max(0, min(per_page, total - page * per_page))
    tokens = 10 + _round_up(listed, RESULTS_A_TOKEN)
    tokens += 30 + _round_up(total, MATCHES_A_TOKEN) if call.asks_for("stats") else 0
    first = page * per_page
    items = tuple(catalogue.name_asin("finder", place) for place in range(first, first + listed))
    return Charge(tokens, items, total)


def price_deal(call: Call) -> Charge:
    """`/deal`: 5, whatever is found."""
    _read_selection(call)
    return Charge(5, tuple(catalogue.name_asin("deal", place) for place in range(10)))


def price_search(call: Call) -> Charge:
    """`/search`: 1 for categories, 10 for each page of ten products."""
    term = call.params.get("term", "").strip()
    if not term:
        raise malformed("term", "is missing")
    kind = call.params.get("type")
    if kind == "category":
        return Charge(1, (str(1 + catalogue.draw("category", term, 10**9)),))
    if kind != "product":
        raise malformed("type", "must be product or category")
    page = call.integer("page")
    if page is not None and page < 0:
        raise out_of_range("page", "0 or more")
    total = catalogue.count_search_results(term)
    first = (page or 0) * SEARCH_RESULTS_A_PAGE
    pages = SEARCH_PAGES_WITHOUT_PAGE if page is None else 1
    found = max(0, min(pages * SEARCH_RESULTS_A_PAGE, total - first))
    tokens = 10 * max(1, _round_up(found, SEARCH_RESULTS_A_PAGE))
    if call.asks_for("rating"):
        tokens += min(5, found)
    if call.integer("update") == 0:
        tokens += found
    items = tuple(catalogue.name_asin(term, place) for place in range(first, first + found))
    return Charge(tokens, items, total)


def price_category(call: Call) -> Charge:
    """`/category`: 1 for up to ten ids."""
    ids = _need(call, "category")
    for text in ids:
        if not text.isdecimal():
            raise malformed("category", f"must be a list of ids, got {text!r}")
    _limit(ids, MOST_CATEGORIES, "category")
    return Charge(1, tuple(ids))


def price_bestsellers(call: Call) -> Charge:
    """`/bestsellers`: 50, or nothing when there is no list."""
    category = _need(call, "category")[0]
    if category == catalogue.CATEGORY_WITHOUT_LIST:
        return Charge(0)
    return Charge(50, tuple(catalogue.name_asin(category, place) for place in range(100)))


def price_topseller(_call: Call) -> Charge:
    """`/topseller`: 50 for the list of the most rated sellers."""
    return Charge(50, tuple(f"A{place:013d}" for place in range(100)))


def price_seller(call: Call) -> Charge:
    """`/seller`: 1 each; the storefront of one seller 10, or 50 when it must be collected anew."""
    sellers = _need(call, "seller")
    _limit(sellers, MOST_ITEMS, "seller")
    update = call.integer("update")
    if not call.asks_for("storefront"):
        return Charge(len(sellers), tuple(sellers))
    if len(sellers) > 1:
        raise out_of_range("seller", "a single one when storefront is asked for")
    renewed = update is not None and catalogue.seller_needs_update(sellers[0])
    return Charge(50 if renewed else 10, tuple(sellers))


def price_lightningdeal(call: Call) -> Charge:
    """`/lightningdeal`: 1 per ASIN; 500 for the whole list, which an empty `asin` asks for too."""
    asins = call.listed("asin")
    _limit(asins, MOST_ITEMS, "asin")
    if asins:
        return Charge(len(asins), tuple(asins))
    return Charge(500, tuple(catalogue.name_asin("lightning", place) for place in range(50)))


def price_graphimage(call: Call) -> Charge:
    """`/graphimage`: 1 for a picture, which everything but the key describes."""
    _need(call, "asin")
    described = sorted(pair for pair in call.params.items() if pair[0] != "key")
    return Charge(1, (repr(described),))


def price_tracking(call: Call) -> Charge:
    """`/tracking`: 1 for each tracking that is added; everything else is free."""
    kind = call.params.get("type")
    if not kind:
        raise malformed("type", "is missing")
    if kind != "add":
        return Charge(0)
    wanted = call.json("tracking")
    trackings = wanted if isinstance(wanted, list) else [wanted]
    if not trackings or not all(isinstance(one, dict) and one.get("asin") for one in trackings):
        raise malformed("tracking", "must be an object, or a list of objects, with an asin")
    _limit(trackings, MOST_TRACKINGS, "tracking")
    return Charge(len(trackings), tuple(str(one["asin"]) for one in trackings))


def price_token(_call: Call) -> Charge:
    """`/token`: free."""
    return Charge(0)


ENDPOINTS: dict[str, Callable[[Call], Charge]] = {
    "product": price_product,
    "query": price_query,
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


def _round_up(amount: int, unit: int) -> int:
    return -(-amount // unit)


def _limit(items: Sized, most: int, name: str) -> None:
    if len(items) > most:
        raise out_of_range(name, f"at most {most} at once")


def _need(call: Call, name: str) -> list[str]:
    items = call.listed(name)
    if not items:
        raise malformed(name, "is missing")
    return items


def _read_selection(call: Call) -> dict[str, Any]:
    selection = call.json("selection")
    if not isinstance(selection, dict):
        raise malformed("selection", "must be an object")
    return selection


def _read_integer(selection: dict[str, Any], name: str, default: int) -> int:
    """Read a number as Keepa's JSON reader does: 200, 200.0 and "200" are the same."""
    value = selection.get(name, default)
    if value is None:
        return default
    try:
        number = float(value) if isinstance(value, (int, float, str)) else None
    except ValueError:
        number = None
    if number is None or isinstance(value, bool) or not number.is_integer():
        raise malformed(name, f"must be a whole number, got {value!r}")
    return int(number)
