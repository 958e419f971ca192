"""Pasted text: white space and quotes around it, invisible characters in it.

`docker run --env-file` keeps quotes and a Windows editor's CR, a Kubernetes secret made with `echo`
ends in a newline, a web page adds no-break or zero-width spaces.
"""

import unicodedata

_QUOTES = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "\xab": "\xbb"}
# Control and format characters, lone surrogates (bytes that are no UTF-8), line and paragraph ends.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class BadText(ValueError):
    """Says what is allowed, without any part of the text."""


def trim(text: str) -> str:
    """Return the text without white space and invisible characters at both ends."""
    start, end = 0, len(text)
    while start < end and _is_margin(text[start]):
        start += 1
    while end > start and _is_margin(text[end - 1]):
        end -= 1
    return text[start:end]


def check_unquoted(text: str) -> None:
    """Check that the text is not quoted.

    Raises:
        BadText: It is.
    """
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        raise BadText("the same without the quotes around it")


def read_secret(text: str) -> str:
    """Return a secret, trimmed.

    Raises:
        BadText: It is quoted, or contains invisible characters.
    """
    secret = trim(text)
    check_unquoted(secret)
    if any(unicodedata.category(char) in _UNSEEN for char in secret):
        raise BadText("one line of text without control or zero-width characters")
    return secret


def _is_margin(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) in _UNSEEN
