"""A price's numbers, and how many items fit."""

from __future__ import annotations

import pytest

from gateway.keepa.costs import CostTable, Price


@pytest.mark.parametrize(
    ("endpoint", "query", "numbers"),
    [
        ("product", "asin=B1,B2,B3&offers=20", ("product", 36, 3, 12, 0)),
        ("product", "code=C1,C2&code-limit=5", ("product", 10, 2, 5, 0)),
        ("category", "category=1,2,3", ("category", 1, 3, 0, 1)),
        ("seller", "seller=A1&storefront=1", ("seller", 10, 1, 10, 0)),
        ("lightningdeal", "asin=B1,B2", ("lightningdeal", 2, 2, 1, 0)),
        ("lightningdeal", "", ("lightningdeal", 500, None, 0, 500)),
        ("tracking", "type=add&tracking=[{},{}]", ("tracking", 2, 2, 1, 0)),
        ("tracking", "type=list", ("tracking", 0, None, 0, 0)),
        ("query", "", ("query", 11, None, 0, 11)),
        ("search", "type=product", ("search", 10, None, 0, 10)),
        ("deal", "", ("deal", 5, None, 0, 5)),
    ],
)
def test_numbers_of_a_price(endpoint, query, numbers):
    """A price says how many items a call carries, what each costs, and what does not depend."""
    price = CostTable({}).price(endpoint, query, b"")
    assert (price.endpoint, price.tokens, price.items, price.per_item, price.fixed) == numbers


@pytest.mark.parametrize(
    ("price", "available", "expected"),
    [
        (Price.of_items("product", 10, 12), 120, 10),
        (Price.of_items("product", 10, 12), 1000, 10),
        (Price.of_items("product", 10, 12), 119, 9),
        (Price.of_items("product", 10, 12), 12, 1),
        (Price.of_items("product", 10, 12), 11, 0),
        (Price.of_items("product", 10, 12), 0, 0),
        (Price.of_items("product", 10, 12), -100, 0),
        (Price.of_items("product", 10, 0), 0, 10),
        (Price.of_items("product", 10, 0), -1, 0),
        (Price.of_items("category", 10, 0, fixed=1), 1, 10),
        (Price.of_items("category", 10, 0, fixed=1), 0, 0),
        (Price.of_items("product", 10, 2, fixed=5), 9, 2),
        (Price.flat("deal", 5), 100, None),
        (Price.flat("deal", 5), 0, None),
    ],
)
def test_items_within(price, available, expected):
    """As many items fit as the tokens above the fixed part pay for, from none to all."""
    assert price.items_within(available) == expected
