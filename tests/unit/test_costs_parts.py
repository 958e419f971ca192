"""What a price is made of, in the words of `/quote`."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from gateway.keepa.costs import CostTable, Part, Price


def parts(endpoint, query="", body=b"", overrides=None):
    """Return a call's parts, having seen that they add up to its tokens."""
    price = CostTable(overrides or {}).price(endpoint, query, body)
    described = price.describe()
    assert sum(part.tokens for part in described) == price.tokens
    return [tuple(part) for part in described]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("asin=B1", [("1 x 1 product", 1)]),
        ("asin=B1,B2,B3", [("1 x 3 products", 3)]),
        ("", [("1 x 1 product", 1)]),
        ("asin=B1,B2,B3&offers=20", [("6 x 2 offer pages x 3 products", 36)]),
        ("asin=B1&offers=100&buybox=1", [("6 x 10 offer pages x 1 product", 60)]),
        ("asin=B1&offers=", [("6 x 2 offer pages x 1 product", 12)]),
        ("asin=B1&offers=x", [("6 x 10 offer pages x 1 product, for offers cannot be read", 60)]),
        (
            "asin=B1,B2&offers=20&stock=1",
            [("6 x 2 offer pages x 2 products", 24), ("stock: 2 x 2 products", 4)],
        ),
        ("asin=B1,B2&buybox=1", [("1 x 2 products", 2), ("buybox: 2 x 2 products", 4)]),
        ("asin=B1,B2&rating=1", [("1 x 2 products", 2), ("rating: 1 x 2 products", 2)]),
        ("asin=B1&update=0", [("1 x 1 product", 1), ("update: 1 x 1 product", 1)]),
        (
            "asin=B1,B2&historical-variations=1",
            [("1 x 2 products", 2), ("historical variations: 1 x 2 products", 2)],
        ),
        ("asin=B1&stock=1&code-limit=9&stats=90", [("1 x 1 product", 1)]),
        ("code=C1,C2&code-limit=5", [("1 x 2 codes x code-limit 5", 10)]),
        (
            "code=C1&code-limit=5&offers=20&rating=1",
            [
                ("6 x 2 offer pages x 1 code x code-limit 5", 60),
                ("rating: 1 x 1 code x code-limit 5", 5),
            ],
        ),
        ("code=C1,C2", [("1 x 2 codes, at least (no code-limit)", 2)]),
        (
            "code=C1&code-limit=",
            [("1 x 1 code x code-limit 10000, for it cannot be read", 10_000)],
        ),
        ("code=C1&asin=B1&code-limit=5", [("1 x 2 products and codes x code-limit 5", 10)]),
        ("code=C1&asin=B1", [("1 x 2 products and codes, at least (no code-limit)", 2)]),
    ],
)
def test_product(query, expected):
    """A product call names what each product costs, each option, and what codes multiply by."""
    assert parts("product", query) == expected


TWO_TRACKINGS = "tracking=" + quote(json.dumps([{"asin": "B1"}, {"asin": "B2"}]))


@pytest.mark.parametrize(
    ("endpoint", "query", "expected"),
    [
        (
            "query",
            "selection=" + quote('{"perPage":1000}') + "&stats=1",
            [
                ("product finder", 10),
                ("page of up to 1000 products: 1 per 100", 10),
                ("stats: 30 + 1 for up to 1000000 products", 31),
            ],
        ),
        ("query", "", [("product finder", 10), ("page of up to 100 products: 1 per 100", 1)]),
        (
            "query",
            "selection=abc",
            [
                ("product finder", 10),
                ("page of 10000 products, for it cannot be read: 1 per 100", 100),
            ],
        ),
        ("search", "type=product&page=3", [("product search", 10)]),
        (
            "search",
            "type=product&rating=1&update=0",
            [
                ("product search", 10),
                ("rating: 1 x up to 20 products", 20),
                ("update: 1 x up to 20 products", 20),
            ],
        ),
        (
            "sellerquery",
            "selection=" + quote('{"perPage":1000}'),
            [("seller finder", 10), ("page of up to 1000 sellers: 1 per 100", 10)],
        ),
        (
            "sellerquery",
            "selection=abc",
            [
                ("seller finder", 10),
                ("page of 10000 sellers, for it cannot be read: 1 per 100", 100),
            ],
        ),
        ("search", "type=category", [("category search", 1)]),
        ("category", "category=1,2,3", [("3 categories in one call", 1)]),
        ("category", "category=1", [("1 category in one call", 1)]),
        ("seller", "seller=A1", [("1 x 1 seller", 1)]),
        ("seller", "seller=A1,A2", [("1 x 2 sellers", 2)]),
        (
            "seller",
            "seller=A1&storefront=1",
            [("1 x 1 seller", 1), ("storefront: 9 x 1 seller", 9)],
        ),
        (
            "seller",
            "seller=A1,A2&storefront=1&update=48",
            [("1 x 2 sellers", 2), ("storefront: 9 x 2 sellers", 18)],
        ),
        ("lightningdeal", "asin=B1", [("1 x 1 lightning deal", 1)]),
        ("lightningdeal", "asin=B1,B2", [("1 x 2 lightning deals", 2)]),
        ("lightningdeal", "", [("all lightning deals", 500)]),
        ("tracking", "type=add&" + TWO_TRACKINGS, [("1 x 2 trackings", 2)]),
        ("tracking", "type=add", [("1 x 1 tracking", 1)]),
        ("tracking", "tracking=x", [("1 x 3000 trackings, for they cannot be read", 3000)]),
        ("tracking", "type=list", [("tracking: free", 0)]),
        ("token", "", [("token: free", 0)]),
        ("deals", "", [("deal", 5)]),
        ("bestsellers", "", [("bestsellers", 50)]),
        ("topseller", "", [("topseller", 50)]),
        ("graphimage", "", [("graphimage", 1)]),
        ("nonsense", "", [("unknown endpoint", 50)]),
    ],
)
def test_other_endpoints(endpoint, query, expected):
    """Every other endpoint names its pieces, too; a free call has one part of 0 tokens."""
    assert parts(endpoint, query) == expected


@pytest.mark.parametrize(
    ("overrides", "endpoint", "query", "expected"),
    [
        (
            {"product": 3},
            "product",
            "asin=B1,B2&rating=1",
            [("3 x 2 products", 6), ("rating: 1 x 2 products", 2)],
        ),
        ({"product": 3}, "product", "asin=B1&offers=20", [("6 x 2 offer pages x 1 product", 12)]),
        ({"product": 0}, "product", "asin=B1,B2", [("0 x 2 products", 0)]),
        (
            {"query": 20},
            "query",
            "",
            [("product finder", 20), ("page of up to 100 products: 1 per 100", 1)],
        ),
        ({"search": 12}, "search", "type=product", [("product search", 12)]),
        ({"search": 12}, "search", "type=category", [("category search", 12)]),
        ({"category": 3}, "category", "category=1,2", [("2 categories in one call", 3)]),
        ({"category": 0}, "category", "category=1,2", [("2 categories in one call", 0)]),
        (
            {"seller": 2},
            "seller",
            "seller=A1&storefront=1",
            [("2 x 1 seller", 2), ("storefront: 9 x 1 seller", 9)],
        ),
        ({"lightningdeal": 2}, "lightningdeal", "asin=B1,B2", [("2 x 2 lightning deals", 4)]),
        ({"tracking": 2}, "tracking", "", [("2 x 1 tracking", 2)]),
        ({"deals": 7}, "deal", "", [("deal", 7)]),
        ({"{new}": 9}, "{NEW}", "", [("{new}", 9)]),
        ({"deal": 0}, "deal", "", [("deal: free", 0)]),
        ({"token": 1}, "token", "", [("token", 1)]),
        ({"unknown": 4}, "nonsense", "", [("unknown endpoint", 4)]),
    ],
)
def test_overrides(overrides, endpoint, query, expected):
    """The parts show the operator's base where ENDPOINT_COSTS has one."""
    assert parts(endpoint, query, overrides=overrides) == expected


@pytest.mark.parametrize(
    ("endpoint", "worst"),
    [
        ("product", 65_000_000),
        ("query", 141),
        ("search", 50),
        ("seller", 1000),
        ("category", 1),
        ("lightningdeal", 500),
        ("tracking", 3000),
    ],
)
def test_a_call_too_large_to_read_says_so(endpoint, worst):
    """A call too large to read has one part, which says why it is so dear."""
    assert parts(endpoint, "a&" * 300) == [("too large to read: the endpoint's worst", worst)]


LARGE = "the call is too large to be read: its worst is counted"


@pytest.mark.parametrize(
    ("endpoint", "query", "body", "expected"),
    [
        ("query", "selection=%7B%7D", b"", ""),
        ("query", "selection=abc", b"", "selection could not be read: the worst is counted"),
        ("query", "", b"[1", "selection could not be read: the worst is counted"),
        ("sellerquery", "selection=7", b"", "selection could not be read: the worst is counted"),
        ("tracking", "tracking=[{}]", b"", ""),
        ("tracking", "tracking=[{}", b"", "tracking could not be read: the worst is counted"),
        ("product", "asin=B1&offers=20", b"", ""),
        ("product", "asin=B1&offers=", b"", ""),
        ("product", "asin=B1&offers=x", b"", "offers could not be read: the worst is counted"),
        (
            "product",
            "code=1&code-limit=",
            b"",
            "code-limit could not be read: the worst is counted",
        ),
        (
            "product",
            "code=1&code-limit=x&offers=x",
            b"",
            "offers and code-limit could not be read: the worst is counted",
        ),
        ("product", "a&" * 300, b"", LARGE),
        ("query", "", bytes(4_000_000), LARGE),
        ("deal", "", bytes(4_000_000), ""),
    ],
)
def test_doubts(endpoint, query, body, expected):
    """A price says what of the call could not be read, where that makes it as dear as it is."""
    assert CostTable({}).price(endpoint, query, body).doubt == expected


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (Price.flat("deal", 5), [("deal", 5)]),
        (Price.of_items("seller", 2, 3), [("3 x 2 sellers", 6)]),
        (Price.of_items("seller", 2, 3, fixed=4), [("seller", 4), ("3 x 2 sellers", 6)]),
        (Price.of_items("brandnew", 1, 3), [("3 x 1 item", 3)]),
    ],
)
def test_a_price_of_one_piece(price, expected):
    """A price that no shares came with is described by what it is per item and per call."""
    assert price.describe() == [Part(*part) for part in expected]
