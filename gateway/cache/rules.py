"""The closed table of what is understood of each endpoint: its parameters, their forms, its answer.

A parameter or a form that Keepa adds is not shared before it stands here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ITEMS: Final = 100  # ASINs, codes or sellers in one call
SELECTION: Final = "selection"
"""A finder's JSON, as a parameter or as the body."""

Form = re.Pattern[str]


def _form(pattern: str) -> Form:
    return re.compile(pattern, re.ASCII)


def _list_of(item: str, most: int) -> Form:
    return _form(f"{item}(?:,{item}){{0,{most - 1}}}")


_FLAG: Final = _form("[01]")
_COUNT: Final = _form("0|[1-9][0-9]{0,8}")
_DOMAIN: Final = _form("[1-9]|1[0-2]")
_HOURS: Final = _form("-1|0|[1-9][0-9]{0,5}")
_OFFERS: Final = _form("[2-9][0-9]|100")
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_STATS: Final = _form(f"[1-9][0-9]{{0,4}}|{_DAY},{_DAY}")
_ASIN = "[A-Z0-9]{10}"
_ASINS: Final = _list_of(_ASIN, MAX_ITEMS)
_CODES: Final = _list_of("[0-9A-Z]{8,14}", MAX_ITEMS)
_SELLERS: Final = _list_of("[A-Z0-9]{9,21}", MAX_ITEMS)
_CATEGORIES: Final = _list_of("[0-9]{1,20}", 10)
_GROUP: Final = _form("[0-9]{1,20}|[A-Za-z][A-Za-z0-9_]{0,60}")
# Any script's letters; no control characters, which separate fields of what is digested.
_TERM: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,200}")

_PRODUCT_FLAGS: Final = (
    "buybox",
    "stock",
    "rating",
    "videos",
    "aplus",
    "rental",
    "only-live-offers",
    "historical-variations",
)
PRODUCT_DEFAULTS: Final = frozenset({("history", "1"), *((name, "0") for name in _PRODUCT_FLAGS)})
"""What a product call says without a difference, as Keepa's Python client does."""

_PRODUCT: Final[Mapping[str, Form]] = {
    "domain": _DOMAIN,
    "asin": _ASINS,
    "code": _CODES,
    "code-limit": _COUNT,
    "stats": _STATS,
    "days": _COUNT,
    "update": _HOURS,
    "offers": _OFFERS,
    "history": _FLAG,
    **dict.fromkeys(_PRODUCT_FLAGS, _FLAG),
}
_LARGE_PICTURE: Final = dict.fromkeys(
    ("amazon", "new", "used", "salesrank", "bb", "bbu", "fba", "fbm", "ld", "wd", "title"), _FLAG
)
_SELECTION: Final = re.compile(".+", re.DOTALL)  # JSON, which `questions` reads


@dataclass(frozen=True, slots=True)
class Rule:
    """What is understood of one endpoint.

    Attributes:
        forms: of its parameters' values, decoded, by name.
        needed: the parameters without which it is no question.
        members: what its answer has at its root, besides token fields and `error`.
    """

    forms: Mapping[str, Form]
    needed: frozenset[str] = frozenset({"domain"})
    members: frozenset[str] = frozenset()


def _rule(members: str, needed: str, **forms: Form) -> Rule:
    return Rule(
        {name.replace("_", "-"): form for name, form in forms.items()},
        frozenset(needed.split()),
        frozenset(members.split()),
    )


RULES: Final[Mapping[str, Rule]] = {
    "product": Rule(_PRODUCT, members=frozenset({"products"})),
    "search": _rule(
        "products categories categoryParents",
        "domain type term",
        domain=_DOMAIN,
        type=_form("product|category"),
        term=_TERM,
        page=_COUNT,
        stats=_STATS,
        update=_HOURS,
        history=_FLAG,
        rating=_FLAG,
        parents=_FLAG,
        asins_only=_FLAG,
    ),
    "category": _rule(
        "categories categoryParents",
        "domain category",
        domain=_DOMAIN,
        category=_CATEGORIES,
        parents=_FLAG,
    ),
    "bestsellers": _rule(
        "bestSellersList",
        "domain category",
        domain=_DOMAIN,
        category=_GROUP,
        range=_COUNT,
        month=_form("[1-9]|1[0-2]"),
        year=_form("20[0-9]{2}"),
        variations=_FLAG,
        sublist=_FLAG,
    ),
    "topseller": _rule("sellerIdList", "domain", domain=_DOMAIN),
    "seller": _rule(
        "sellers",
        "domain seller",
        domain=_DOMAIN,
        seller=_SELLERS,
        storefront=_FLAG,
        update=_HOURS,
    ),
    "query": _rule(
        "asinList totalResults searchInsights",
        "domain selection",
        domain=_DOMAIN,
        selection=_SELECTION,
        stats=_FLAG,
    ),
    "sellerquery": _rule(
        "sellerIdList totalResults", "domain selection", domain=_DOMAIN, selection=_SELECTION
    ),
    # Keepa's Python client names the domain, its Java client does not: two questions.
    "deal": _rule("deals", "selection", domain=_DOMAIN, selection=_SELECTION),
    "lightningdeal": _rule(
        "lightningDeals", "domain", domain=_DOMAIN, asin=_list_of(_ASIN, MAX_ITEMS)
    ),
    "graphimage": Rule(
        {
            "domain": _DOMAIN,
            "asin": _form(_ASIN),
            "range": _COUNT,
            "width": _COUNT,
            "height": _COUNT,
            "yzoom": _FLAG,
            **_LARGE_PICTURE,
        },
        frozenset({"domain", "asin"}),
    ),
}
POSTED: Final = frozenset({"query", "sellerquery", "deal"})
"""Endpoints that take their selection as a body of JSON, too."""
