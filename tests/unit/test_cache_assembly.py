"""Answers made of kept entries, read by whoever knows nothing of how they were made."""

import gzip
import json
import subprocess
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cache.assembly import (
    TokenFields,
    answer_of_products,
    answer_of_whole,
    list_products,
    write_gzip,
    write_plain,
)
from gateway.cache.entries import BadEntryError, Packed, pack

FIELDS = TokenFields(1_795_347_000_000, 1182, 23_300, 20, 0.5)
TOLD = {
    "processingTimeInMs": 0, "refillIn": 23_300, "refillRate": 20, "timestamp": 1_795_347_000_000,
    "tokenFlowReduction": 0.5, "tokensConsumed": 0, "tokensLeft": 1182,
}  # fmt: skip


def written(products):
    return [json.dumps(product).encode() for product in products]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.binary(max_size=200) | st.integers(0, 200_000).map(lambda n: b"ab1," * (n // 4))),
    st.lists(st.booleans()),
)
def test_any_parts_are_one_member(texts, packed):
    """Stored or deflated, in any order, empty ones too: `zlib` reads one member, to its end."""
    kinds = packed + [True] * len(texts)
    parts = [pack(text) if one else text for text, one in zip(texts, kinds, strict=False)]
    inflater = zlib.decompressobj(31)
    assert inflater.decompress(b"".join(write_gzip(parts))) == b"".join(texts)
    assert inflater.eof
    assert inflater.unused_data == b""
    assert b"".join(write_plain(parts)) == b"".join(texts)


def test_an_answer_of_products():
    """Keepa's sorted order, products as they were kept, and what the bucket is now."""
    products = [{"asin": "B000000001", "title": "é"}, {"asin": "B000000002"}]
    parts = answer_of_products([pack(text) for text in written(products)], FIELDS)
    answer = json.loads(gzip.decompress(b"".join(write_gzip(parts))))
    assert answer == TOLD | {"products": products}
    assert list(answer) == sorted(answer)
    assert json.loads(b"".join(write_plain(answer_of_products([], FIELDS))))["products"] == []


def test_a_whole_answer():
    """Its own members as they were, then the token fields."""
    parts = answer_of_whole(pack(b'"asinList":["B000000001"],"totalResults":1'), FIELDS)
    answer = json.loads(gzip.decompress(b"".join(write_gzip(parts))))
    assert answer == TOLD | {"asinList": ["B000000001"], "totalResults": 1}
    assert list(answer)[:2] == ["asinList", "totalResults"]


def test_before_anything_was_observed():
    """Clients divide by the rate, and some loop without a wait on 0: neither is ever told."""
    answer = json.loads(b"".join(write_plain(answer_of_products([], TokenFields(1)))))
    assert (answer["tokensLeft"], answer["refillIn"], answer["refillRate"]) == (0, 60_000, 1)
    assert all(type(answer[name]) is int for name in ("tokensLeft", "refillIn", "refillRate"))


def test_gunzip_reads_it(tmp_path):
    """A member of a hundred entries is whole for a reader that is no Python."""
    parts = list_products([pack(b'{"asin":"B%09d"}' % n) for n in range(100)])
    (tmp_path / "answer.gz").write_bytes(b"".join(write_gzip(parts)))
    done = subprocess.run(["gzip", "-dc", tmp_path / "answer.gz"], capture_output=True, check=True)
    assert len(json.loads(b"[" + done.stdout + b"]")) == 100


def test_nothing_is_joined_and_nothing_deflated():
    """20 MB of text are ready in milliseconds, in pieces that are no larger than an entry's."""
    body = pack(b"7000000,1999," * 16_000)
    parts = list_products([body] * 100)
    began = time.thread_time()
    pieces = list(write_gzip(parts))
    seconds = time.thread_time() - began
    assert max(map(len, pieces)) < 64 * 1024 + len(body.deflated) + 64
    assert seconds < 0.05
    assert sum(map(len, write_plain(parts))) == 100 * body.length + 99


def test_damage_is_seen_by_whoever_reads():
    """A text that is not what its sum says: no clean end of gzip, an error for a plain body."""
    good = pack(b"abc")
    bad = Packed(good.deflated, 3, good.crc ^ 1)
    with pytest.raises(zlib.error):
        zlib.decompress(b"".join(write_gzip([b"[", bad, b"]"])), 31)
    with pytest.raises(BadEntryError):
        list(write_plain([b"[", bad, b"]"]))
