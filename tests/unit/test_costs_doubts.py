"""Malformed and repeated parameters are priced the dearest way Keepa may read them."""

from __future__ import annotations

import pytest

from gateway.keepa.costs import CostTable

TABLE = CostTable({})


def tokens(endpoint, query="", body=b""):
    return TABLE.price(endpoint, query, body).tokens


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("", b"", 1),
        ("asin=", b"", 1),
        ("asin", b"", 1),
        ("asin=,,", b"", 1),
        ("asin=B1,,+,%20,B2,", b"", 2),
        ("asin=B1%2CB2%2cB3", b"", 3),
        ("asin=" + ",".join(["B1"] * 100), b"", 100),
        ("asin=" + ",".join(["B1"] * 101), b"", 100),
        ("asin=" + "%2C" * 10_000, b"", 100),
        ("asin=B1&asin=B2,B3", b"", 3),
        ("asin=B1%0AB2%0AB3", b"", 3),
        ("asin=B1%0D%0AB2%0D%0A", b"", 2),
        ("asin=B1+B2%20B3", b"", 3),
        ("asin=B1%09B2%3BB3%7CB4%2BB5", b"", 5),
        ("asin=B1%252CB2%250AB3", b"", 3),
        ("asin=B1,%20%0AB2", b"", 2),
        ("code=978-0-7862-2272-8", b"", 1),
        ("", b"asin=B1\nB2\n", 2),
        ("asin=B1,B2", b"asin=B3", 3),
        ("%61sin=B1,B2", b"", 2),
        ("%61%73%69%6E=B1,B2", b"", 2),
        ("ASIN=B1,B2", b"", 2),
        ("key=K&asin=B1,B2&", b"", 2),
        ("&&=&=x&asin=B1,B2&&", b"", 2),
        ("", b"key=K&domain=1&asin=B1%2CB2", 2),
        ("", b"asin=B1,B2\r\n", 2),
        ("asin=B1&code=C1", b"", 2),
        ("asin=B1&code=C1&code-limit=5", b"", 10),
        ("", b'{"asin":"B1,B2"}', 1),
        ("", b"{&asin=B1,B2", 2),
        ("x" * 1000 + "=1&asin=B1,B2", b"", 2),
    ],
)
def test_lists(query, body, expected):
    """Lists add up from wherever they stand, blanks aside, from one item to Keepa's limit."""
    assert tokens("product", query, body) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 12),
        ("-5", 12),
        ("19", 12),
        ("+30", 18),
        ("%2B30", 18),
        ("%33%30", 18),
        ("030", 18),
        ("\u0663\u0660", 18),
        ("101", 60),
        ("9" * 60, 60),
        ("9" * 10_000, 60),
        ("-" + "9" * 10_000, 60),
        ("", 12),
        ("%20", 12),
        ("+%0A", 12),
        ("false", 12),
        ("FALSE", 12),
        ("true", 12),
        ("None", 12),
        ("null", 12),
        ("undefined", 12),
        ("abc", 60),
        ("20.0", 60),
        ("2e1", 60),
        ("2_0", 60),
        ("NaN", 60),
        ("\u00b2", 60),
        ("%00", 60),
        ("%ff", 60),
        ("%", 60),
    ],
)
def test_offers(value, expected):
    """Offers are clamped to 20..100, 20 are taken for nothing said, 100 for what is no number."""
    assert tokens("product", f"asin=B1&offers={value}") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("offers=20&offers=100", 60),
        ("offers=100&offers=20", 60),
        ("offers=20&offers=x", 60),
        ("offers=&offers=40", 24),
        ("offers=false&offers=", 12),
        ("offers=20&Offers=40", 24),
        ("offers=20&stock=0&stock=1", 14),
        ("update=48&update=0", 2),
    ],
)
def test_repeated_parameters(query, expected):
    """Of numbers given twice the dearest counts, and a flag is on when it is on once."""
    assert tokens("product", "asin=B1&" + query) == expected


@pytest.mark.parametrize(
    ("value", "extra"),
    [
        ("=0", 0),
        ("=false", 0),
        ("=FALSE", 0),
        ("=%30", 0),
        ("=+0", 0),
        ("=1", 1),
        ("=true", 1),
        ("=2", 1),
        ("=-1", 1),
        ("=00", 1),
        ("=no", 1),
        ("=null", 1),
        ("=", 1),
        ("", 1),
        ("=" + "0" * 100, 1),
    ],
)
def test_flags(value, extra):
    """A flag is off only when it says 0 or false; blank or odd it may mean on."""
    assert tokens("product", "asin=B1&rating" + value) == 1 + extra


@pytest.mark.parametrize(
    ("value", "extra"),
    [
        *[(zero, 1) for zero in ("0", "00", "+0", "%2B0", "-0", "%200", "0" * 5000)],
        *[(doubt, 1) for doubt in ("", "x", "0.5", "9" * 5000)],
        *[(hours, 0) for hours in ("1", "-1", "48", "001")],
    ],
)
def test_update(value, extra):
    """An update of numerically 0, or of what is no number, costs 1; any other number nothing."""
    assert tokens("product", f"asin=B1&update={value}") == 1 + extra


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", 1),
        ("0", 1),
        ("-3", 1),
        ("1500", 1500),
        ("10000", 10_000),
        ("10001", 10_000),
        ("9" * 50, 10_000),
        ("x", 10_000),
        ("", 10_000),
        ("3&code-limit=7", 7),
    ],
)
def test_code_limit(value, expected):
    """A code may match up to `code-limit` products, one at least and ten thousand at most."""
    assert tokens("product", f"code=C1&code-limit={value}") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", 10),
        ("type=", 10),
        ("type=products", 10),
        ("type=Category", 10),
        ("type=category&type=product", 10),
        ("type=%63ategory", 1),
        ("type=product&page=x", 10),
        ("type=product&page=0&rating", 30),
        ("type=product&page=0&update=", 30),
        ("type=category&type=product&rating&update", 50),
    ],
)
def test_search_doubts(query, expected):
    """An unclear type is a product search, and a page changes nothing."""
    assert tokens("search", query) == expected


@pytest.mark.parametrize(
    ("endpoint", "query", "expected"),
    [
        ("seller", "", 1),
        ("seller", "seller=" + "A," * 200, 100),
        ("seller", "seller=A1,A2&storefront=1", 20),
        ("seller", "seller=A1&storefront", 10),
        ("seller", "seller=A1&storefront=1&update", 10),
        ("seller", "seller=A1%0AA2;A3", 3),
        ("category", "category=1%0A2", 1),
        ("lightningdeal", "asin=%0A", 500),
        ("lightningdeal", "asin=B1%0AB2", 2),
        ("lightningdeal", "asin=", 500),
        ("lightningdeal", "asin=,", 500),
        ("lightningdeal", "asin=" + "B1," * 200, 100),
        ("category", "", 1),
        ("category", "category=" + "1," * 200, 1),
    ],
)
def test_other_doubts(endpoint, query, expected):
    """What is missing or beyond Keepa's limits counts as the limit, each storefront as its own."""
    assert tokens(endpoint, query) == expected
