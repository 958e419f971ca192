"""Entries to keep, and the names that they are kept under."""

from gateway.cache.entries import Head, Kind, pack
from gateway.cache.store import Entry

NAMES = ["p:0123456789abcdef:1:B000000001", "p:0123456789abcdef:1:B000000002"]
LONG = "w:bestsellers:" + "0" * 32


def entry(name=NAMES[0], text=b'{"asin":"B000000001"}', **fields):
    head = {
        "kind": Kind.PRODUCT, "hours": 1, "life_ms": 60_000, "age_ms": 250, "data_age": 3600,
        "millitokens": 1500,
    }  # fmt: skip
    return Entry(name, Head(**(head | fields)), pack(text))
