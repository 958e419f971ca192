"""Keepa's cost table, row by row, on well-formed calls."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from gateway.costs import CostTable, Price, canonical_name

TEN = ",".join(f"B00000000{n}" for n in range(10))


def tokens(endpoint, query="", body=b""):
    return CostTable({}).price(endpoint, query, body).tokens


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("key=K&domain=1&asin=B000000001", 1),
        (f"key=K&domain=1&asin={TEN}", 10),
        ("asin=B1&offers=20", 12),
        ("asin=B1&offers=21", 18),
        ("asin=B1&offers=100", 60),
        ("asin=B1,B2&offers=40", 48),
        ("asin=B1&offers=20&buybox=1", 12),
        ("asin=B1,B2&offers=20&stock=1", 28),
        ("asin=B1&stock=1", 1),
        ("asin=B1,B2&buybox=1", 6),
        ("asin=B1,B2&rating=1", 4),
        ("asin=B1,B2&update=0", 4),
        ("asin=B1&update=-1", 1),
        ("asin=B1&update=48", 1),
        ("asin=B1,B2&historical-variations=1", 4),
        ("asin=B1&offers=20&stock=1&rating=1&update=0&historical-variations=1", 17),
        ("asin=B1&stats=90&history=1&days=30&videos=1&aplus=1&rental=1&only-live-offers=1", 1),
        ("asin=B1&stock=0&rating=0&buybox=false&historical-variations=False", 1),
        ("asin=B1,B2&code-limit=10", 2),
        ("code=9780000000001,9780000000002", 2),
        ("code=9780000000001,9780000000002&code-limit=10", 20),
        ("code=9780000000001&code-limit=10&offers=20&rating=1", 130),
    ],
)
def test_product(query, expected):
    """A product costs 1, or 6 for each page of offers, plus its options, times what codes match."""
    assert tokens("product", query) == expected


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


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("type=product&term=x&page=0", 10),
        ("type=product&term=x&page=9", 10),
        ("type=product&term=x", 40),
        ("type=product&page=0&rating=1", 15),
        ("type=product&rating=1", 45),
        ("type=product&page=0&update=0", 20),
        ("type=product&update=0", 80),
        ("type=product&page=0&update=24", 10),
        ("type=category&term=x", 1),
    ],
)
def test_search(query, expected):
    """A product search costs 10 a page plus its options, a category search 1."""
    assert tokens("search", query) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("seller=A1", 1),
        ("seller=A1,A2,A3", 3),
        ("seller=A1&storefront=1", 10),
        ("seller=A1&storefront=0", 1),
        ("seller=A1&storefront=1&update=48", 50),
        ("seller=A1&update=48", 1),
    ],
)
def test_seller(query, expected):
    """A seller costs 1, with its storefront 10, with a fresh one 50."""
    assert tokens("seller", query) == expected


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
        ("type=list", b"", 0),
        ("type=notification&since=1&revise=1", b"", 0),
        ("type=remove&asin=B1", b"", 0),
        ("type=removeAll", b"", 0),
        ("type=webhook&url=x", b"", 0),
    ],
)
def test_tracking(query, body, expected):
    """Each tracking added costs 1, every other use nothing."""
    assert tokens("tracking", query, body) == expected


@pytest.mark.parametrize(
    ("endpoint", "query", "expected"),
    [
        ("deal", "selection=%7B%7D", 5),
        ("category", "category=1", 1),
        ("category", "category=1,2,3,4,5,6,7,8,9,10&parents=1", 1),
        ("bestsellers", "category=1", 50),
        ("topseller", "", 50),
        ("lightningdeal", "asin=B1", 1),
        ("lightningdeal", "asin=B1,B2", 2),
        ("lightningdeal", "", 500),
        ("graphimage", "asin=B1&width=500", 1),
        ("token", "key=K", 0),
    ],
)
def test_other_endpoints(endpoint, query, expected):
    """The endpoints without options cost what Keepa's documentation says."""
    assert tokens(endpoint, query) == expected


def test_a_large_batch_of_trackings_is_counted_exactly():
    """A thousand trackings as rich as Keepa allows are still read, not guessed."""
    threshold = {"thresholdValue": 1500, "domain": 1, "csvType": 0, "isDrop": True}
    notify = {"domain": 1, "csvType": 0, "notifyIfType": 0}
    tracking = {
        "asin": "B000000001",
        "mainDomainId": 1,
        "ttl": 0,
        "updateInterval": 1,
        "thresholdValues": [threshold] * 3,
        "notifyIf": [notify],
        "notificationType": [False] * 8,
        "metaData": "ours",
    }
    body = json.dumps([tracking] * 990).encode()
    assert tokens("tracking", "type=add", body) == 990


@pytest.mark.parametrize(
    ("endpoint", "canonical", "expected"),
    [
        ("Product", "product", 1),
        ("BESTSELLERS", "bestsellers", 50),
        ("deals", "deal", 5),
        ("products", "unknown", 1),
        ("", "unknown", 1),
        ("B000000001", "unknown", 1),
    ],
)
def test_the_label_comes_from_a_closed_set(endpoint, canonical, expected):
    """A known endpoint is named in lower case, any other one `unknown`, at 1 token."""
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
        ({"search": 12}, "search", "type=product&page=0&rating=1", 17),
        ({"search": 12}, "search", "type=product", 48),
        ({"search": 12}, "search", "type=category", 12),
        ({"search": 10}, "search", "type=category", 1),
        ({"category": 3}, "category", "category=1,2", 3),
        ({"bestsellers": 60}, "bestsellers", "", 60),
        ({"seller": 2}, "seller", "seller=A1,A2", 4),
        ({"seller": 2}, "seller", "seller=A1&storefront=1", 11),
        ({"seller": 2}, "seller", "seller=A1&storefront=1&update=0", 51),
        ({"lightningdeal": 2}, "lightningdeal", "asin=B1,B2", 4),
        ({"lightningdeal": 2}, "lightningdeal", "", 500),
        ({"tracking": 2}, "tracking", "type=add&tracking=[{},{}]", 4),
        ({"tracking": 2}, "tracking", "type=list", 0),
        ({"token": 1}, "token", "", 1),
        ({"brandnew": 9}, "BrandNew", "asin=B1,B2", 9),
        ({"unknown": 9}, "brandnew", "", 9),
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
