"""What the simulated Amazon holds: how many offers, matches and lists there are to be charged for.

Everything is decided by a stable hash of the name asked for, so that the same call costs the same
on every run and in every process. Some names decide it themselves, for tests that need an extreme:

- ASINs beginning `B0MAX` cost the worst case (all the offer pages asked for, an update, a rating to
  collect); those beginning `B0MIN` the least.
- The code `CODE_WITH_MANY_PRODUCTS` matches 1 500 products, as one was seen to.
- A finder selection with `"simMatches": n` matches n products.
- Search terms beginning `MAX` fill every page; those beginning `MIN` find nothing.
- Sellers beginning `AMAX` always need the update they are asked for; those beginning `AMIN` never.
- The category `0` has no list of best sellers.
"""

import zlib
from typing import Any

import orjson

CODE_WITH_MANY_PRODUCTS = "1500150015001"
CATEGORY_WITHOUT_LIST = "0"
PRODUCTS_PER_CODE = 5
MOST_OFFERS = 130
MOST_FINDER_MATCHES = 3_500_000
MOST_SEARCH_RESULTS = 60


def draw(about: str, name: str, sides: int) -> int:
    """Throw a die of `sides` sides, 0 to sides - 1, that always falls the same for a name."""
    return zlib.crc32(f"{about}:{name}".encode("utf-8", "replace")) % sides


def count_offers(asin: str) -> int:
    """Tell how many offers a product has."""
    if asin.startswith("B0MAX"):
        return MOST_OFFERS
    return 0 if asin.startswith("B0MIN") else draw("offers", asin, MOST_OFFERS)


def needs_update(asin: str) -> bool:
    """Tell whether a product is older than `update=0` allows: only then is it fetched anew."""
    return asin.startswith("B0MAX") or (
        not asin.startswith("B0MIN") and draw("update", asin, 2) == 1
    )


def needs_rating(asin: str) -> bool:
    """Tell whether a product's rating must be collected anew: only then does `rating=1` cost."""
    return asin.startswith("B0MAX") or (
        not asin.startswith("B0MIN") and draw("rating", asin, 3) > 0
    )


def seller_needs_update(seller: str) -> bool:
    """Tell whether a seller's storefront is older than the `update` asked for."""
    return seller.startswith("AMAX") or (
        not seller.startswith("AMIN") and draw("storefront", seller, 2) == 1
    )


def find_by_code(code: str, limit: int | None) -> list[str]:
    """List the ASINs that share a code (UPC, EAN), at most `limit`."""
    many = code == CODE_WITH_MANY_PRODUCTS
    found = 1_500 if many else 1 + draw("code", code, PRODUCTS_PER_CODE)
    return [
        name_asin(code, place) for place in range(found if limit is None else min(found, limit))
    ]


def count_finder_matches(selection: dict[str, Any]) -> int:
    """Tell how many products a finder selection matches; its page is not part of the question."""
    asked = selection.get("simMatches")
    if isinstance(asked, int):
        return max(0, asked)
    question = {key: value for key, value in selection.items() if key not in {"page", "perPage"}}
    return draw(
        "finder", orjson.dumps(question, option=orjson.OPT_SORT_KEYS).decode(), MOST_FINDER_MATCHES
    )


def count_search_results(term: str) -> int:
    """Tell how many products a search term finds, over all pages."""
    if term.startswith("MAX"):
        return 1_000
    return 0 if term.startswith("MIN") else draw("search", term, MOST_SEARCH_RESULTS)


def name_asin(about: str, place: int) -> str:
    """Name the ASIN at a place of some list; 10 characters, as every ASIN."""
    return f"B0{zlib.crc32(f'{about}:{place}'.encode('utf-8', 'replace')):08X}"
