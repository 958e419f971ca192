"""What the simulated Amazon holds: how many offers, matches and lists there are to be charged for.

Everything is decided by a stable hash of the name asked for, so that the same call costs the same
on every run and in every process. Some names decide it themselves, for tests that need an extreme:

| name | what it does |
|---|---|
| `B0MAX...` | a product that always costs the worst case: all offer pages that are asked for, fetched anew; an update, a rating and a stock that are charged |
| `B0MIN...` | one that always costs the least: no offers, and no option costs more |
| `B0KEPT...` | one whose offers Keepa has already |
| `B0FAIL...` | one whose offers cannot be fetched |
| `B0NONE...` | an ASIN that nobody has: it is left out of the answer |
| `B0SHUT...`, `B0GONE...`, `B0PARE...` | `productType` 3 (not accessible), 4 (no such product), 5 (a parent) |
| code `1500150015001` | matches 1 500 products, as one was seen to |
| finder selection `"simMatches": n` | matches n products, or sellers |
| search terms `MAX...`, `MIN...` | find all that an answer holds; find nothing |
| sellers `ANONE...` | unknown to Keepa: left out, and free |
| category `0` | has no list of best sellers |
"""  # noqa: E501 - a table

import zlib
from typing import Any

import orjson

CODE_WITH_MANY_PRODUCTS = "1500150015001"
CATEGORY_WITHOUT_LIST = "0"
PRODUCTS_PER_CODE = 5
MOST_OFFERS = 130
MOST_FINDER_MATCHES = 3_500_000
MOST_SEARCH_RESULTS = 30
PRODUCT_TYPES = {"B0SHUT": 3, "B0GONE": 4, "B0PARE": 5}


def draw(about: str, name: str, sides: int) -> int:
    """Throw a die of `sides` sides, 0 to sides - 1, that always falls the same for a name."""
    return zlib.crc32(f"{about}:{name}".encode("utf-8", "replace")) % sides


def draw_for_product(about: str, asin: str, sides: int) -> int:
    """Throw such a die for a product: the highest side for the worst case, 0 for the least."""
    if asin.startswith("B0MAX"):
        return sides - 1
    return 0 if asin.startswith("B0MIN") else draw(about, asin, sides)


def count_offers(asin: str) -> int:
    """Tell how many offers a product has."""
    return draw_for_product("offers", asin, MOST_OFFERS)


def is_known(asin: str) -> bool:
    """Tell whether there is such an ASIN anywhere."""
    return not asin.startswith("B0NONE")


def can_fetch_offers(asin: str) -> bool:
    """Tell whether Keepa gets at a product's offers."""
    return not asin.startswith("B0FAIL")


def find_product_type(asin: str) -> int:
    """Tell `productType`: 0 for what is sold like any other."""
    return PRODUCT_TYPES.get(asin[:6], 0)


def is_known_seller(seller: str) -> bool:
    """Tell whether Keepa knows a seller."""
    return not seller.startswith("ANONE")


def find_by_code(code: str, limit: int | None) -> list[str]:
    """List the ASINs that share a code (UPC, EAN), at most `limit`."""
    many = code == CODE_WITH_MANY_PRODUCTS
    found = 1_500 if many else 1 + draw("code", code, PRODUCTS_PER_CODE)
    return [
        name_asin(code, place) for place in range(found if limit is None else min(found, limit))
    ]


def count_finder_matches(selection: dict[str, Any]) -> int:
    """Tell how much a finder selection matches; its page is not part of the question."""
    asked = selection.get("simMatches")
    if isinstance(asked, int):
        return max(0, asked)
    question = {key: value for key, value in selection.items() if key not in {"page", "perPage"}}
    return draw(
        "finder", orjson.dumps(question, option=orjson.OPT_SORT_KEYS).decode(), MOST_FINDER_MATCHES
    )


def count_search_results(term: str) -> int:
    """Tell how many products a search term finds."""
    if term.startswith("MAX"):
        return 1_000
    return 0 if term.startswith("MIN") else draw("search", term, MOST_SEARCH_RESULTS)


def name_asin(about: str, place: int) -> str:
    """Name the ASIN at a place of some list; 10 characters, as every ASIN."""
    return f"B0{zlib.crc32(f'{about}:{place}'.encode('utf-8', 'replace')):08X}"


def name_seller(about: str, place: int) -> str:
    """Name the seller at a place of some list; 14 characters, as most sellers."""
    return f"A{zlib.crc32(f'{about}:{place}'.encode('utf-8', 'replace')):013X}"
