"""The real key in what comes back: found in every spelling, wherever it can be told from a word."""

import html
import json
from urllib.parse import quote, quote_plus

import pytest

from gateway.keepa.real_key import KeyWatch, RealKey, encode_key

KEYS = ["REALKEY123", "realkey0123456789" * 4, "odd key/with+signs", "<\"&'>%\\x", "ключ-ключ"]
SPELLINGS = {
    "plain": str,
    "form": quote_plus,
    "url": lambda key: quote(key, safe=""),
    "lower-case url": lambda key: quote(key, safe="").lower(),
    "url in a url": lambda key: quote(quote(key, safe=""), safe=""),
    "every byte": lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    "json": lambda key: json.dumps(key)[1:-1],
    "json with slashes": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "json, every letter": lambda key: "".join(
        f"\\u{unit.hex()}" for unit in _units(key.encode("utf-16-be"))
    ),
    "html": html.escape,
}


def _units(text):
    return [text[at : at + 2] for at in range(0, len(text), 2)]


@pytest.fixture(params=KEYS)
def key(request):
    return request.param


@pytest.fixture(params=SPELLINGS)
def spelt(request, key):
    text = SPELLINGS[request.param](key)
    if request.param == "lower-case url":
        # Only the digits of an escape have no case.
        upper = quote(key, safe="")
        pairs = zip(upper, text, strict=True)
        text = "".join(
            low if "%" in upper[max(0, at - 2) : at] else high
            for at, (high, low) in enumerate(pairs)
        )
    return text.encode()


def test_each_spelling_is_starred_out(key, spelt):
    """A body that repeats the key has stars in its place, and keeps its length."""
    body = b"<a href='/?key=%s'>%s</a>" % (spelt, spelt)
    hidden = RealKey(key).hide_in(body)
    assert spelt not in hidden
    assert len(hidden) == len(body)
    assert hidden.startswith(b"<a href='/?key=***")


def test_it_is_found_across_pieces(key, spelt):
    """Wherever a text is cut, the key is found, and what may be its beginning is known before."""
    real = RealKey(key)
    for cut in range(1, len(spelt)):
        watch = KeyWatch(real)
        watch.see(b"x" * 600 + spelt[:cut])
        assert not watch.is_found
        assert watch.open_bytes == cut
        watch.see(spelt[cut:] + b"xx")
        assert watch.is_found


def test_it_is_found_in_pieces_of_one_byte(key, spelt):
    """However small the pieces are."""
    watch = KeyWatch(RealKey(key))
    for byte in b"--" + spelt:
        assert not watch.is_found
        watch.see(bytes([byte]))
    assert watch.is_found


@pytest.mark.parametrize("key", ["a", "asin", "none", "12345"])
def test_a_word_is_left_alone(key):
    """A key as short as a word, which only a simulator takes, spoils no answer."""
    body = b'{"asin":"none12345"}'
    assert RealKey(key).hide_in(body) is body
    watch = KeyWatch(RealKey(key))
    watch.see(body)
    assert (watch.is_found, watch.open_bytes) == (False, 0)


def test_other_bodies_are_the_same_object():
    """A body without the key is not even copied, whatever else it has."""
    body = b"x" * 100 + b"%20%52EALKEY12 \\u0052 REALKEY12"
    assert RealKey("REALKEY123").hide_in(body) is body


@pytest.mark.parametrize(
    ("key", "encoded"),
    [("abc123", "abc123"), ("a+b/c&d=e%", "a%2Bb%2Fc%26d%3De%25"), ("é", "%C3%A9")],
)
def test_key_is_encoded_for_a_query(key, encoded):
    """A key with signs of its own stands percent-encoded in a query or form."""
    assert encode_key(key) == encoded
