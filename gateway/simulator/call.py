"""A call as Keepa understands it: an endpoint, its parameters, and a JSON document if one came.

Keepa takes parameters from the query and from a form, JSON from a parameter or from the body, and
looks at the content rather than at its label: the official PHP client posts JSON labelled
`application/x-www-form-urlencoded`.
"""

import dataclasses
import re
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

GZIP_MAGIC = b"\x1f\x8b"
TRUE_WORDS = frozenset({"1", "true"})
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
"""As Java reads one: no blanks, no underscores, no digits of other scripts, and not without end."""


class RejectedCallError(Exception):
    """A call that Keepa turns down without charge: 400 malformed, 405 parameter out of range.

    Args:
        status: of the answer.
        message: for people.
        details: the parameter at fault.
    """

    def __init__(self, status: int, message: str, details: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details


def malformed(name: str, problem: str) -> RejectedCallError:
    """Make the 400 for a parameter that cannot be read."""
    return RejectedCallError(400, f"{name} {problem}", name)


def out_of_range(name: str, allowed: str) -> RejectedCallError:
    """Make the 405 for a parameter that can be read but not served."""
    return RejectedCallError(405, f"{name} must be {allowed}", name)


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One call: `endpoint` without slashes, `params` decoded, `document` a body that is no form."""

    endpoint: str
    params: Mapping[str, str]
    document: bytes = b""

    def asks_for(self, name: str) -> bool:
        """Tell whether a switch such as `stock` is on."""
        return self.params.get(name, "").lower() in TRUE_WORDS

    def integer(self, name: str) -> int | None:
        """Read a whole number; None when absent; raises the 400 when it is none."""
        text = self.params.get(name)
        if text is None:
            return None
        if not WHOLE_NUMBER.fullmatch(text):
            raise malformed(name, f"must be a whole number, got {text!r}")
        return int(text)

    def listed(self, name: str) -> list[str]:
        """Read a list without its empty places; repeated items stay repeated.

        Keepa's have commas. Nobody knows what it makes of blanks and newlines: here they separate,
        too, for so it is dearest.
        """
        return self.params.get(name, "").replace(",", " ").split()

    def json(self, name: str) -> Any:
        """Read JSON from the parameter `name` or else the body; raises the 400 without any."""
        text = self.params.get(name, self.document)
        if not text:
            raise malformed(name, "is missing")
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            raise malformed(name, "is not JSON") from None


def read_call(endpoint: str, query: str, body: bytes = b"") -> Call:
    """Read a call; of a parameter given twice the first counts, and the query before the form.

    Args:
        endpoint: the path without slashes.
        query: the raw query string.
        body: as received, possibly gzipped.
    """
    if not query.isascii():  # the server leaves stray bytes as lone surrogates, which JSON refuses
        query = query.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    pairs = parse_qsl(query, keep_blank_values=True)
    document = b""
    if body:
        body = _inflate(body)
        if body.lstrip()[:1] in {b"{", b"["}:
            document = body
        else:
            pairs += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    # The first of a name counts, as in the servlet API that Keepa's server is built on.
    return Call(endpoint, dict(reversed(pairs)), document)


def _inflate(body: bytes) -> bytes:
    """Unpack a gzipped body; any other, a broken one too, is given back as it is."""
    if not body.startswith(GZIP_MAGIC):
        return body
    try:
        return zlib.decompress(body, wbits=31)
    except zlib.error:
        return body
