"""No call stops the pricing or the event loop, whatever it carries."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.measure.exploring import measure_ms

from gateway.keepa.costs import CostTable

TABLE = CostTable({})
CEILING = 65_000_000
"""100 codes x 10 000 products each x (10 offer pages x 6 + stock 2 + rating, update, variations)"""


def tokens(endpoint, query="", body=b""):
    return TABLE.price(endpoint, query, body).tokens


@pytest.mark.parametrize(
    ("endpoint", "worst"),
    [
        ("product", CEILING),
        ("query", 141),
        ("sellerquery", 141),
        ("search", 50),
        ("seller", 1000),
        ("category", 1),
        ("lightningdeal", 500),
        ("tracking", 3000),
        ("deal", 5),
        ("token", 0),
        ("nonsense", 50),
    ],
)
@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("a&" * 300, b""),
        ("", b"a&" * 300),
        ("a&" * 150, b"a&" * 150),
        ("", bytes(16 * 1024 * 1024)),
    ],
    ids=["query", "body", "both", "16 MiB"],
)
def test_what_is_too_much_to_read_is_the_worst(endpoint, worst, query, body):
    """A call of too many fields or bytes is not read but priced as the dearest of its endpoint."""
    assert tokens(endpoint, query, body) == worst


ENDPOINTS = (
    "product query sellerquery search seller category lightningdeal tracking deal token nonsense"
)
NAMES = (
    "asin code offers stock buybox rating update historical-variations code-limit selection "
    "perPage stats type page seller storefront tracking category %61sin OFFERS %ff"
)
VALUES = st.one_of(
    st.text(),
    st.integers().map(str),
    st.sampled_from(["0", "1", "add", "list", "product", "category", "A,B,,C", "%2C%2c%", "NaN"]),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.just("perPage") | st.text(), inner),
        max_leaves=8,
    ).map(json.dumps),
)
FORMS = st.lists(st.tuples(st.sampled_from(NAMES.split()) | st.text(), VALUES)).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
QUERIES = st.one_of(st.text(st.characters(exclude_categories=())), FORMS)
BODIES = st.one_of(
    st.binary(),
    FORMS.map(lambda form: form.encode(errors="replace")),
    VALUES.map(lambda value: value.encode(errors="replace")),
)


@given(endpoint=st.sampled_from(ENDPOINTS.split()) | st.text(), query=QUERIES, body=BODIES)
@example(endpoint="query", query="selection=\udcff%\ud800+", body=b"")
@example(endpoint="\u0130", query="\udcff=%", body=b"\x00")
def test_anything_has_a_price(endpoint, query, body):
    """Whatever is sent has a price, whose parts add up, between nothing and the ceiling."""
    price = TABLE.price(endpoint, query, body)
    assert 0 <= price.tokens <= CEILING
    assert price.tokens == price.fixed + (price.items or 0) * price.per_item
    assert price.tokens == sum(part.tokens for part in price.describe())
    assert price.endpoint in {
        *ENDPOINTS.split(),
        "unknown",
        "bestsellers",
        "graphimage",
        "topseller",
    }
    fits = price.items_within(price.tokens)
    assert fits == price.items
    assert price.items_within(-1) == (None if price.items is None else 0)


MIB = 1024 * 1024


@pytest.mark.parametrize(
    "body",
    [
        b"&" * 16 * MIB,
        b"selection=" + b"%5B" * 5 * MIB,
        b"[" + b"[]," * 5 * MIB + b"1]",
        b"[" + b"[]," * (MIB // 3 - 3) + b"1]",
        b"{" + b'"":1,' * 16_000 + b'"":1}',
        b"{" + b",".join(b'"%d":1' % n for n in range(75_000)) + b"}",
        b'[{"a":[]},' * 40_000 + b"1]",
        b"[" + (b"1" * 4000 + b",") * 780 + b"1]",
        b'["' + b"\\u4f60" * (MIB // 2 - 10) + b'"]',
        b"[" + b" " * (3 * MIB - 10) + b"]",
        b"&".join([b"tracking=" + b"%5B" * 1360] * 255),
    ],
    ids=[
        "fields",
        "escapes",
        "arrays",
        "1 MiB",
        "members",
        "names",
        "nested",
        "digits",
        "signs",
        "blanks",
        "many",
    ],
)
@pytest.mark.parametrize("endpoint", ["product", "query", "tracking"])
def test_no_body_stops_the_event_loop(endpoint, body):
    """The worst bodies are priced in milliseconds (a fat margin is left to slow machines)."""
    query = "selection=" + "%5B%5D%2C" * (128 * 1024 // 9 - 2)
    assert measure_ms(lambda: TABLE.price(endpoint, query, body)) < 50
