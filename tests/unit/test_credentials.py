"""The `key` parameter: swapped in place, whatever its spelling, nothing else touched."""

import contextlib
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.measure.exploring import measure_ms

from gateway.errors import BadRequest
from gateway.front.credentials import add_key, swap_key

REAL = "REAL%2Bkey"


@pytest.mark.parametrize(
    ("text", "swapped", "given_keys"),
    [
        ("", "", []),
        ("a=1", "a=1", []),
        ("key=x", f"key={REAL}", ["x"]),
        ("key=", f"key={REAL}", [""]),
        ("key", f"key={REAL}", [""]),
        ("a=1&key=x&b=2", f"a=1&key={REAL}&b=2", ["x"]),
        ("key=x&key=y", f"key={REAL}&key={REAL}", ["x", "y"]),
        ("key=x&", f"key={REAL}&", ["x"]),
        ("&&key=x&&", f"&&key={REAL}&&", ["x"]),
        ("%6Bey=x", f"key={REAL}", ["x"]),
        ("k%65%79=x&%6b%65y=y", f"key={REAL}&key={REAL}", ["x", "y"]),
        ("key=a%2Bb+c%26", f"key={REAL}", ["a+b c&"]),
        ("key=a=b", f"key={REAL}", ["a=b"]),
        ("key=%ff", f"key={REAL}", ["\ufffd"]),
        ("key=x%0A&a=1", f"key={REAL}&a=1", ["x"]),
        ("a=1&key=%20x%0d%0a", f"a=1&key={REAL}", ["x"]),
        ("apikey=x&a=1", f"key={REAL}&a=1", ["x"]),
        ("a=1&api_key=x", f"a=1&key={REAL}", ["x"]),
        ("a=1&apiKey=x&api-key=y&b=2", f"a=1&key={REAL}&key={REAL}&b=2", ["x", "y"]),
        ("key=x&apiKey=y", f"key={REAL}&key={REAL}", ["x", "y"]),
        ("key=x&apikey=y&k%65y=z", f"key={REAL}&key={REAL}&key={REAL}", ["x", "y", "z"]),
        ("apikeys=1&myapikey=2&b=apikey=4", "apikeys=1&myapikey=2&b=apikey=4", []),
        ("monkey=1&keys=2&key2=3&Key=4&KEY=5", "monkey=1&keys=2&key2=3&Key=4&KEY=5", []),
        ("a=key=x&b=%26key=y", "a=key=x&b=%26key=y", []),
        ("a[key]=1&key[]=2&key.x=3", "a[key]=1&key[]=2&key.x=3", []),
        ("asin=B1;key=x", "asin=B1;key=x", []),
    ],
)
@pytest.mark.parametrize("kind", [str, bytes])
def test_each_key_is_swapped_in_place(kind, text, swapped, given_keys):
    """Every `key` pair becomes the real key's, every other byte stays, for text and for bytes."""
    if kind is bytes:
        got, keys = swap_key(text.encode(), REAL.encode())
        assert (got.decode(), keys) == (swapped, given_keys)
    else:
        assert swap_key(text, REAL) == (swapped, given_keys)


@given(st.lists(st.text("keyKEY%6b5=&+a", max_size=12), max_size=6))
def test_no_key_survives_and_nothing_else_changes(parts):
    """Whatever a query is made of: all its `key` pairs are swapped, all others are as before."""
    text = "&".join(parts)
    got, keys = swap_key(text, REAL)
    before, after = text.split("&"), got.split("&")
    assert len(before) == len(after)
    swapped = 0
    for old, new in zip(before, after, strict=True):
        name = old.partition("=")[0]
        if unquote_plus(name) == "key" or name in {"apikey", "apiKey", "api_key", "api-key"}:
            assert new == f"key={REAL}"
            swapped += 1
        else:
            assert new == old
    assert len(keys) == swapped


@pytest.mark.parametrize(
    ("query", "added"),
    [
        ("", "key=K"), ("a=1", "a=1&key=K"), ("a=1&", "a=1&key=K"), ("&", "&key=K"),
        ("a", "a&key=K"),
    ],
)  # fmt: skip
def test_key_is_added_at_the_end(query, added):
    """A query without a key gets it at its end."""
    assert add_key(query, "K") == added


@pytest.mark.parametrize(
    "piece", [b"&key", b"&keyword=1", b"&k%65y=1", b"k%65y=", b"&", b"x", b"%6b%65%79"]
)
@pytest.mark.long
def test_the_largest_form_holds_nobody_up(piece):
    """A form of 16 MiB is searched in no time, whatever it is made of, or it is refused."""
    body = piece * (16 * 1024 * 1024 // len(piece))

    def search():
        with contextlib.suppress(BadRequest):
            got, _ = swap_key(body, REAL.encode())
            assert len(got) < len(body) + 10_000

    # 60 to 450 ms on a machine that has other work, too; with a step of Python for each, seconds.
    assert measure_ms(search, enough_ms=1000) < 1000


@pytest.mark.parametrize("count", [100, 101])
def test_more_keys_than_anybody_sends_are_refused(count):
    """A hundred keys are swapped, more are no call."""
    text = "a=1" + "&key=x" * count
    if count > 100:
        with pytest.raises(BadRequest):
            swap_key(text, REAL)
    else:
        assert swap_key(text, REAL) == ("a=1" + f"&key={REAL}" * count, ["x"] * count)
