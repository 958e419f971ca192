"""The real key in what comes back: starred out wherever it can be told from a word."""

from urllib.parse import quote, quote_plus

import pytest

from gateway.credentials import RealKey


@pytest.mark.parametrize("key", ["REALKEY123", "realkey0123456789" * 4, "odd key/with+signs"])
@pytest.mark.parametrize("spell", [str, quote_plus, lambda key: quote(key, safe="")])
def test_each_spelling_is_starred_out(key, spell):
    """A body that repeats the key has stars in its place, and keeps its length."""
    body = f"<a href='/?key={spell(key)}'>{spell(key)}</a>".encode()
    hidden = RealKey(key).hide_in(body)
    assert spell(key).encode() not in hidden
    assert len(hidden) == len(body)
    assert hidden.startswith(b"<a href='/?key=***")


@pytest.mark.parametrize("key", ["a", "asin", "none", "12345"])
def test_a_word_is_left_alone(key):
    """A key as short as a word, which only a simulator takes, spoils no answer."""
    body = b'{"asin":"none12345"}'
    assert RealKey(key).hide_in(body) == body
    assert RealKey(key).shown == ""


def test_other_bodies_are_the_same_object():
    """A body without the key is not even copied."""
    body = b"x" * 100
    assert RealKey("REALKEY123").hide_in(body) is body
