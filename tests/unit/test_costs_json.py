"""JSON of any kind and place, priced the dearest way Keepa may read it."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from gateway.keepa.costs import CostTable

TABLE = CostTable({})


def tokens(endpoint, query="", body=b""):
    return TABLE.price(endpoint, query, body).tokens


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ('{"perPage":0}', 11),
        ('{"perPage":-1}', 11),
        ('{"perPage":null}', 11),
        ('{"page":3,"nested":{"perPage":10000}}', 11),
        ('{"perPage":"1000"}', 20),
        ('{"perpage":1000}', 20),
        ('{"\\u0070erPage":1000}', 20),
        ('{"perPage":1000.5}', 21),
        ('{"perPage":10001}', 110),
        ('{"perPage":1e400}', 110),
        ('{"perPage":NaN}', 110),
        ('{"perPage":true}', 110),
        ('{"perPage":[50]}', 110),
        ('{"perPage":' + "9" * 10_000 + "}", 110),
        ('{"perPage":10000,"perPage":50}', 110),
        ('{"perPage":50,"perPage":10000}', 110),
        ("[]", 110),
        ("7", 110),
        ("null", 110),
        ('"x"', 110),
        ("abc", 110),
        ('{"perPage":50', 110),
        ("[" * 100_000, 110),
        ('{"a":' * 20_000, 110),
        ("{" + '"a":1,' * 60_000 + '"b":1}', 110),
        ("\x00", 110),
        ("\ufeff{}", 11),
        ("", 11),
        (" ", 11),
    ],
)
def test_selections(selection, expected):
    """A page size is clamped to 50..10 000, and a selection that is none has the largest page."""
    assert tokens("query", "selection=" + quote(selection)) == expected
    if selection.lstrip().startswith(("{", "[")):
        assert tokens("query", "", selection.encode()) == expected


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("selection={}&selection=" + quote('{"perPage":1000}'), b"", 20),
        ("selection={}", b'{"perPage":1000}', 20),
        ("perPage=1000", b"", 20),
        ("perPage=", b"", 11),
        ("perPage=x", b"", 110),
        ("selection={}&stats", b"", 42),
        ("", b"stats=1&selection={}", 42),
        ("", b'{"perPage":\xff}', 110),
        ("", b"\xff\xfe\x00", 110),
        ("", '{"perPage":1000}'.encode("utf-16"), 20),
        ("", b"neither form nor JSON", 110),
        ("selection={}", b"domain=1", 11),
        ("", b'{"title":"salt & pepper","perPage":200}', 12),
        ("", b'{"a":"' + b"x" * 2_000_000 + b'"}', 110),
        ("", b'{"a":"' + b"x" * 4_000_000 + b'"}', 141),
    ],
)
def test_where_a_selection_stands(query, body, expected):
    """Selections are read wherever they stand, the dearest counts, and too much is the worst."""
    assert tokens("query", query, body) == expected


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("", b"", 1),
        ("type=add", b"", 1),
        ("type=add&tracking=", b"", 1),
        ("type=add&tracking=[]", b"", 1),
        ("tracking=[{},{}]", b"", 2),
        ("type=&tracking=[{},{}]", b"", 2),
        ("type=ADD&tracking=[{},{}]", b"", 2),
        ("type=list&type=add&tracking=[{},{}]", b"", 2),
        ("type=LIST", b"", 0),
        ("type=list", b"[{},{}]", 0),
        ("type=add&tracking=[{},{}]", b"[{},{},{}]", 5),
        ("type=add&tracking={}&tracking={}", b"", 2),
        ("type=add", b'[{"asin":"B1","asin":"B2"}]', 1),
        ("type=add", b"[" + b"{}," * 2998 + b"{}]", 2999),
        ("type=add", b"[" + b"{}," * 3000 + b"{}]", 3000),
        ("type=add", b"[NaN,{},{}]", 3),
        ("type=add", '[{"metaData":"\u4f60"}]'.encode("utf-16"), 1),
        ("type=add&tracking=abc", b"", 3000),
        ("type=add&tracking=7", b"", 3000),
        ("type=add", b"[{},{}", 3000),
        ("type=add", b"[" * 100_000, 3000),
        ("type=add", b"[{},{}]" + b" " * 2_000_000, 2),
        ("type=add", b"[{},{}]" + b" " * 4_000_000, 3000),
    ],
)
def test_tracking_doubts(query, body, expected):
    """Trackings add up to what Keepa takes, which is also what an unreadable text may hold."""
    assert tokens("tracking", query, body) == expected
