"""The `code-limit` of an operator, put into a lookup of codes that has none."""

from __future__ import annotations

from gateway.keepa.costs.parameters import Parameters


def limit_codes(query: str, body: bytes, limit: int) -> tuple[str, bytes]:
    """Add `code-limit` to a `/product` call whose price `is_unlimited`, where its codes stand.

    That is the query or a form body, or both: nobody knows which of them Keepa would pair. JSON is
    never changed; beside it the limit stands in the query. No other byte of either changes.

    The result is to be priced again: a call that only just was not too large to read may be so with
    the limit, and is dearer then, never unlimited.

    Args:
        query: the raw query string, percent-encoded, without `?`.
        body: the request body, not compressed; empty for none.
        limit: 1 or more.
    """
    is_form = body.lstrip()[:1] not in (b"", b"{", b"[")
    in_form = is_form and Parameters("", body).has("code")
    if in_form:
        body += _field(limit, is_open=body.endswith(b"&")).encode()
    if not in_form or Parameters(query, b"").has("code"):
        query += _field(limit, is_open=not query or query.endswith("&"))
    return query, body


def _field(limit: int, *, is_open: bool) -> str:
    """Return the field as it goes to an end that is open for one, or still needs its `&`."""
    return f"{'' if is_open else '&'}code-limit={limit}"
