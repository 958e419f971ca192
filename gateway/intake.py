"""Reads a caller's request: which endpoint, whose call, how dear, and what of it goes to Keepa."""

import asyncio
import re
from dataclasses import dataclass

from aiohttp import HttpVersion11, web
from isal import isal_zlib

from gateway.costs import CostTable, Price
from gateway.credentials import add_key, swap_key
from gateway.door import MAX_BODY
from gateway.errors import (
    BadRequest,
    MethodNotAllowed,
    NotFound,
    RefusedCall,
    TooLarge,
    TooSlow,
    UnsupportedEncoding,
    UriTooLong,
)
from gateway.headers import credentials_of
from gateway.services import Services

MAX_URL = 128 * 1024
_BODY_SECONDS = 30
_PATH = re.compile(r"/([A-Za-z0-9_-]{1,64})/?")
# The gateway's own words, whether they are served yet or not: never taken for Keepa's.
OWN_PATHS = frozenset({"healthz", "readyz", "metrics", "status", "dashboard", "usage", "quote"})
_GZIP_MAGIC = b"\x1f\x8b"
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


@dataclass(slots=True)
class Call:
    """One call on its way to Keepa."""

    method: str
    target: str
    """Path as it came, and the query with the real key."""
    body: bytes
    is_rewritten: bool
    """Whether the body is not as it came: then without its Content-Encoding."""
    service: str
    price: Price


class Intake:
    """Reads requests.

    Args:
        real_key: Percent-encoded.
    """

    def __init__(self, services: Services, costs: CostTable, real_key: str) -> None:
        self._services = services
        self._costs = costs
        self._real_key = real_key

    async def read(self, request: web.BaseRequest, facts: RefusedCall) -> Call:
        """Return the call that the request asks for; `facts` learns what is known of it on the way.

        Raises:
            Refusal: What no call may ever do: 400, 401, 404, 405, 408, 413, 414, 415.
        """
        path, endpoint, query = _split_target(request)
        body, plain = await _read_body(request) if request.can_read_body else (b"", b"")
        query, given = swap_key(query, self._real_key)
        in_query = bool(given)
        if plain and plain.lstrip()[:1] not in {b"{", b"["}:
            form, in_form = swap_key(plain, self._real_key.encode())
            if in_form:
                given += in_form
                body = form
        else:
            in_form = []
        if not in_query and not in_form:
            query = add_key(query, self._real_key)
        facts.service = self._services.identify(
            (*given, *credentials_of(request.headers)), request.headers.get("X-Service-Name")
        )
        price = self._costs.price(endpoint, query, plain)
        facts.endpoint = price.endpoint
        facts.required_tokens = price.tokens
        return Call(request.method, f"{path}?{query}", body, bool(in_form), facts.service, price)


def _split_target(request: web.BaseRequest) -> tuple[str, str, str]:
    """Return path, endpoint and query of the request's raw target."""
    target = request.raw_path
    if len(target) > MAX_URL:
        raise UriTooLong
    path, _, query = target.partition("?")
    match = _PATH.fullmatch(path)
    if not match or match[1].lower() in OWN_PATHS or "#" in query:
        raise NotFound
    if request.method not in {"GET", "POST"}:
        raise MethodNotAllowed
    try:
        query.encode()
    except UnicodeEncodeError:
        raise BadRequest("The request target is not valid UTF-8") from None
    return path, match[1], query


async def _read_body(request: web.BaseRequest) -> tuple[bytes, bytes]:
    """Return the body as it came, and as it reads."""
    if (request.content_length or 0) > MAX_BODY:
        raise TooLarge
    expects = request.headers.get("Expect", "").lower() == "100-continue"
    if expects and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise TooSlow from None
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge from None
    # All of them, for Keepa may undo all of them: one that is not undone here hides what it costs.
    coding = ",".join(request.headers.getall("Content-Encoding", ())).strip().lower()
    if coding in {"", "identity"}:
        if not body.startswith(_GZIP_MAGIC):
            return body, body
        # Not labelled, but who reads it may go by its first bytes: neither form nor JSON begins so.
        coding = "gzip"
    if coding not in _WINDOW_BITS:
        raise UnsupportedEncoding
    return body, _inflate(body, _WINDOW_BITS[coding])


def _inflate(body: bytes, window_bits: int) -> bytes:
    """Inflate a body to at most what an uncompressed one may have."""
    inflater = isal_zlib.decompressobj(window_bits)
    try:
        plain = inflater.decompress(body, MAX_BODY)
    except isal_zlib.error:  # type: ignore[misc] # the stub has an instance where a class is
        raise UnsupportedEncoding from None
    if inflater.unconsumed_tail:
        raise TooLarge
    if not inflater.eof or inflater.unused_data:
        # What follows, another gzip member perhaps, would be paid for and not priced.
        raise UnsupportedEncoding
    return plain
