"""What the calls cost that carry a selection: the two finders and the deals."""

import dataclasses
from collections.abc import Callable
from typing import Any

from gateway.simulator import catalogue
from gateway.simulator.call import Call, malformed, out_of_range
from gateway.simulator.charge import Charge
from gateway.simulator.shelf import Shelf

LEAST_PER_PAGE, MOST_PER_PAGE = 50, 10_000
RESULTS_A_TOKEN = 100
MATCHES_A_TOKEN = 1_000_000


def price_query(call: Call, _shelf: Shelf) -> Charge:
    """`/query`, the Product Finder: by the results on the page, and by the matches for `stats`."""
    page = _find(call, catalogue.name_asin)
    if not call.asks_for("stats"):
        return page
    stats = 30 + _round_up(page.total, MATCHES_A_TOKEN)
    return dataclasses.replace(page, tokens=page.tokens + stats)


def price_sellerquery(call: Call, _shelf: Shelf) -> Charge:
    """`/sellerquery`, the Seller Finder: by the results on the page."""
    return _find(call, catalogue.name_seller)


def _find(call: Call, name: Callable[[str, int], str]) -> Charge:
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
    first = page * per_page
    items = tuple(name("finder", place) for place in range(first, first + listed))
    return Charge(10 + _round_up(listed, RESULTS_A_TOKEN), items, total)


def price_deal(call: Call, _shelf: Shelf) -> Charge:
    """`/deal`: 5, whatever is found."""
    _read_selection(call)
    return Charge(5, tuple(catalogue.name_asin("deal", place) for place in range(10)))


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


def _round_up(amount: int, unit: int) -> int:
    return -(-amount // unit)
