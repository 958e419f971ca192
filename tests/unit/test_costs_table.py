"""Keepa's cost table: where its documents stand, its names, and what the operator overrides.

What each shape of call costs is in test_call_shapes.py.
"""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from gateway.keepa.costs import CostTable, Price, canonical_name


def tokens(endpoint, query="", body=b""):
    return CostTable({}).price(endpoint, query, body).tokens


SELECTION = json.dumps({"perPage": 1000, "sort": [["current_SALES", "asc"]]})


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("", b"", 11),
        ("selection=%7B%7D", b"", 11),
        ("selection=%7B%22perPage%22%3A50%7D", b"", 11),
        ("selection=%7B%22perPage%22%3A100%7D", b"", 11),
        ("selection=%7B%22perPage%22%3A101%7D", b"", 12),
        ("selection=" + quote(SELECTION), b"", 20),
        ("selection=" + SELECTION, b"", 20),
        ("selection=%7B%22perPage%22%3A+10000%7D", b"", 110),
        ("selection=%7B%7D&stats=1", b"", 42),
        ("selection=%7B%7D&stats=0", b"", 11),
        ("key=K&domain=1", SELECTION.encode(), 20),
        ("key=K&domain=1&stats=1", SELECTION.encode(), 51),
        ("key=K", b" \r\n" + SELECTION.encode(), 20),
        ("", b"key=K&domain=1&selection=" + quote(SELECTION).encode(), 20),
        ("selection=%7B%7D", SELECTION.encode(), 20),
    ],
)
def test_query(query, body, expected):
    """A finder call costs 10 and 1 for each 100 of its page, wherever the selection stands."""
    assert tokens("query", query, body) == expected


TWO_TRACKINGS = json.dumps([{"asin": "B1", "thresholdValues": [{}, {}]}, {"asin": "B2"}])


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("type=add&tracking=" + quote('{"asin":"B1"}'), b"", 1),
        ("type=add&tracking=" + quote(TWO_TRACKINGS), b"", 2),
        ("type=add", TWO_TRACKINGS.encode(), 2),
        ("type=add", b'{"asin":"B1","ttl":0}', 1),
        ("type=add", b"tracking=" + quote(TWO_TRACKINGS).encode(), 2),
        ("", b"type=add&tracking=" + quote(TWO_TRACKINGS).encode(), 2),
        ("type=get&asin=B1", b"", 0),
    ],
)
def test_tracking(query, body, expected):
    """Each tracking added costs 1, wherever they stand."""
    assert tokens("tracking", query, body) == expected


@pytest.mark.parametrize(
    ("endpoint", "canonical", "expected"),
    [
        ("Product", "product", 1),
        ("BESTSELLERS", "bestsellers", 50),
        ("deals", "deal", 5),
        ("sellerQuery", "sellerquery", 11),
        ("products", "unknown", 50),
        ("", "unknown", 50),
        ("B000000001", "unknown", 50),
    ],
)
def test_the_label_comes_from_a_closed_set(endpoint, canonical, expected):
    """A known endpoint is named in lower case, any other one `unknown`, at 50 tokens."""
    price = CostTable({}).price(endpoint, "", b"")
    assert (price.endpoint, price.tokens) == (canonical, expected)


@pytest.mark.parametrize(
    ("overrides", "endpoint", "query", "expected"),
    [
        ({"product": 3}, "product", "asin=B1,B2", 6),
        ({"product": 3}, "product", "asin=B1,B2&rating=1&buybox=1", 12),
        ({"product": 3}, "product", "asin=B1&offers=20", 12),
        ({"product": 0}, "product", "asin=B1,B2", 0),
        ({"product": 3}, "product", "code=C1&code-limit=10", 30),
        ({"query": 20}, "query", "", 21),
        ({"query": 20}, "query", "selection=%7B%22perPage%22%3A1000%7D&stats=1", 61),
        ({"deal": 7}, "deal", "", 7),
        ({"deals": 7}, "deal", "", 7),
        ({"deals": 7}, "deals", "", 7),
        ({"search": 12}, "search", "type=product&page=0&rating=1", 32),
        ({"search": 12}, "search", "type=product", 12),
        ({"search": 12}, "search", "type=category", 12),
        ({"search": 10}, "search", "type=category", 1),
        ({"category": 3}, "category", "category=1,2", 3),
        ({"bestsellers": 60}, "bestsellers", "", 60),
        ({"seller": 2}, "seller", "seller=A1,A2", 4),
        ({"seller": 2}, "seller", "seller=A1&storefront=1", 11),
        ({"seller": 2}, "seller", "seller=A1&storefront=1&update=0", 11),
        ({"sellerquery": 20}, "sellerquery", "", 21),
        ({"sellerquery": 20}, "query", "", 11),
        ({"lightningdeal": 2}, "lightningdeal", "asin=B1,B2", 4),
        ({"lightningdeal": 2}, "lightningdeal", "", 500),
        ({"tracking": 2}, "tracking", "type=add&tracking=[{},{}]", 4),
        ({"tracking": 2}, "tracking", "type=list", 0),
        ({"token": 1}, "token", "", 1),
        ({"brandnew": 9}, "BrandNew", "asin=B1,B2", 9),
        ({"unknown": 9}, "brandnew", "", 9),
        ({"unknown": 0}, "brandnew", "", 0),
        ({"bestsellers": 60}, "topseller", "", 50),
    ],
)
def test_overrides_replace_the_base(overrides, endpoint, query, expected):
    """ENDPOINT_COSTS replaces a base, per item where calls have items, and options still add."""
    assert CostTable(overrides).price(endpoint, query, b"").tokens == expected


def test_an_override_names_its_own_label():
    """An endpoint only the operator knows is labelled with the operator's name, in lower case."""
    assert CostTable({"BrandNew": 9}).price("brandNEW", "", b"") == Price("brandnew", 9, None, 0, 9)


@pytest.mark.parametrize(
    ("name", "canonical", "known"),
    [
        ("product", "product", True),
        ("Deals", "deal", True),
        ("deal", "deal", True),
        ("TOKEN", "token", True),
        ("unknown", "unknown", True),
        ("brandNEW", "brandnew", True),
        ("SellerQuery", "sellerquery", True),
        ("products", "products", False),
        ("", "", False),
    ],
)
def test_names(name, canonical, known):
    """An operator's list of endpoints is read as paths and ENDPOINT_COSTS are."""
    table = CostTable({"BrandNew": 9})
    assert canonical_name(name) == canonical
    assert table.knows(name) is known
    assert (table.price(name, "", b"").endpoint == canonical) is known


def test_tables_do_not_share_overrides():
    """One table's overrides leave the next table as it is."""
    CostTable({"product": 99})
    assert tokens("product", "asin=B1") == 1
