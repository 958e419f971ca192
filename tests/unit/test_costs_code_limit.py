"""What policies judge of a product call, and the limit put into a lookup of codes."""

from __future__ import annotations

import pytest

from gateway.keepa.costs import CostTable, limit_codes

TABLE = CostTable({})


def price(query, body=b""):
    return TABLE.price("product", query, body)


@pytest.mark.parametrize(
    ("query", "body", "offers"),
    [
        ("asin=B1", b"", None),
        ("asin=B1&offers=20", b"", 20),
        ("asin=B1&offers=35", b"", 35),
        ("asin=B1&offers=1", b"", 20),
        ("asin=B1&offers=101", b"", 100),
        ("asin=B1&offers=x", b"", 100),
        ("asin=B1&offers", b"", 20),
        ("asin=B1&offers=false", b"", 20),
        ("asin=B1&offers=40&OFFERS=20", b"", 40),
        ("asin=B1&offers=20", b"offers=60", 60),
        ("a&" * 300, b"", 100),
    ],
)
def test_offers(query, body, offers):
    """A price tells how many offers it is for, the dearest reading within Keepa's bounds."""
    assert price(query, body).offers == offers


@pytest.mark.parametrize(
    ("query", "body", "codes", "limit", "unlimited"),
    [
        ("asin=B1", b"", 0, None, False),
        ("asin=B1&code-limit=5", b"", 0, None, False),
        ("code=&code-limit=5", b"", 0, None, False),
        ("code=C1,C2", b"", 2, None, True),
        ("", b"code=C1", 1, None, True),
        ("asin=B1&code=C1", b"", 1, None, True),
        ("code=C1&code-limit=5", b"", 1, 5, False),
        ("code=C1&code-limit=0", b"", 1, 1, False),
        ("code=C1&code-limit=3&Code%2DLimit=7", b"", 1, 7, False),
        ("code=C1", b"code-limit=7", 1, 7, False),
        ("code=C1&code-limit=x", b"", 1, 10_000, False),
        ("code=C1&code-limit=99999", b"", 1, 10_000, False),
        ("a&" * 300, b"", 100, 10_000, False),
    ],
)
def test_codes(query, body, codes, limit, unlimited):
    """A price tells its codes and the dearest limit on them, and whether there is none."""
    priced = price(query, body)
    assert (priced.codes, priced.code_limit, priced.is_unlimited) == (codes, limit, unlimited)


@pytest.mark.parametrize("endpoint", ["seller", "search", "query", "tracking", "deal", "nonsense"])
def test_only_product_calls_have_them(endpoint):
    """Elsewhere the same words mean nothing."""
    priced = TABLE.price(endpoint, "code=C1&offers=20&code-limit=5", b"")
    assert (priced.offers, priced.codes, priced.code_limit) == (None, 0, None)
    assert not priced.is_unlimited


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("code=C1", b"", ("code=C1&code-limit=5", b"")),
        ("code=C1&", b"", ("code=C1&code-limit=5", b"")),
        ("key=K&c%6Fde=C%2C1+&&", b"", ("key=K&c%6Fde=C%2C1+&&code-limit=5", b"")),
        ("key=K", b"code=C1", ("key=K", b"code=C1&code-limit=5")),
        ("", b"domain=1&CODE=C1&", ("", b"domain=1&CODE=C1&code-limit=5")),
        ("", b"code=C1\r\n", ("", b"code=C1\r\n&code-limit=5")),
        ("code=C1", b"%63ode=C2", ("code=C1&code-limit=5", b"%63ode=C2&code-limit=5")),
        ("code=C1", b"domain=1", ("code=C1&code-limit=5", b"domain=1")),
        ("code=C1", b" \r\n", ("code=C1&code-limit=5", b" \r\n")),
        ("code=C1", b'{"domain":1}', ("code=C1&code-limit=5", b'{"domain":1}')),
        ("", b" {&code=C1", ("code-limit=5", b" {&code=C1")),
        ("key=K&", b"[&code=C1", ("key=K&code-limit=5", b"[&code=C1")),
        ("", b"\xff&code=\xfe", ("", b"\xff&code=\xfe&code-limit=5")),
    ],
)
def test_the_limit_goes_where_the_codes_stand(query, body, expected):
    """The limit is added behind the codes, in query or form, never in JSON, and nothing else."""
    assert price(query, body).is_unlimited
    assert limit_codes(query, body, 5) == expected
    assert price(*expected).code_limit == 5


def test_the_limit_is_priced():
    """With its limit a lookup costs that many times what one product of each code costs."""
    before = price("code=C1,C2&rating=1")
    after = price(*limit_codes("code=C1,C2&rating=1", b"", 10))
    assert (before.tokens, after.tokens, after.per_item) == (4, 40, 20)


def test_a_call_that_the_limit_makes_too_large_is_dear():
    """A call with as many fields as are read is too large with the limit, never unlimited."""
    query = "code=C1" + "&a=1" * 254
    assert price(query).is_unlimited
    assert price(*limit_codes(query + "&", b"", 5)).code_limit == 5
    assert price(*limit_codes(query + "&a=1", b"", 5)).code_limit == 10_000
