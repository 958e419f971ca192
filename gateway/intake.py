"""Reads a caller's request: which endpoint, whose call, how dear, and what of it goes to Keepa."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import HttpVersion11, web
from isal import isal_zlib

from gateway.bodies import MAX_BODY, Bodies
from gateway.costs import CostTable, Price
from gateway.credentials import add_key, swap_key, swap_key_in_turns
from gateway.door import door_of
from gateway.errors import (
    BadRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
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
# `/tracking` changes what is tracked; what an unknown endpoint changes, nobody knows.
_READING = frozenset(
    {
        "bestsellers",
        "category",
        "deal",
        "graphimage",
        "lightningdeal",
        "product",
        "query",
        "search",
        "seller",
        "topseller",
    }
)
_GZIP_MAGIC = b"\x1f\x8b"
# Of a body, what is inflated at a time.
_STRIDE_BYTES = 64 * 1024
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

    @property
    def is_repeatable(self) -> bool:
        """Whether it surely changes nothing at Keepa but the balance."""
        return self.price.endpoint in _READING


class Intake:
    """Reads requests.

    Args:
        real_key: Percent-encoded.
        bodies: Where request bodies are counted.
    """

    def __init__(self, services: Services, costs: CostTable, real_key: str, bodies: Bodies) -> None:
        self._services = services
        self._costs = costs
        self._real_key = real_key
        self._bodies = bodies

    async def read(self, request: web.BaseRequest, facts: RefusedCall) -> Call:
        """Return the call that the request asks for; `facts` learns what is known of it on the way.

        Raises:
            Refusal: What no call may ever do: 400, 401, 404, 405, 408, 413, 414, 415.
            Overloaded: Too many callers are connected, or too many bodies are held.
        """
        path, endpoint, query = _split_target(request)
        if door_of(request).is_surplus:
            raise Overloaded("Too many callers are connected")
        body, plain = await self._read_body(request) if request.can_read_body else (b"", b"")
        query, given = swap_key(query, self._real_key)
        in_query = bool(given)
        if plain and plain.lstrip()[:1] not in {b"{", b"["}:
            form, in_form = await swap_key_in_turns(plain, self._real_key.encode())
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

    async def _read_body(self, request: web.BaseRequest) -> tuple[bytes, bytes]:
        """Return the body as it came, and as it reads."""
        self._bodies.check(request)
        expects = request.headers.get("Expect", "").lower() == "100-continue"
        if expects and request.version >= HttpVersion11:
            # A caller who has left meanwhile is none of our faults.
            with suppress(ConnectionError):
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            # For all of it: a body that drips gains nothing.
            async with asyncio.timeout(_BODY_SECONDS):
                body = await self._bodies.read(request)
        except TimeoutError:
            raise TooSlow from None
        # All of them, for Keepa may undo all of them: one that is not undone here hides what it
        # costs.
        coding = ",".join(request.headers.getall("Content-Encoding", ())).strip().lower()
        if coding in {"", "identity"}:
            if not body.startswith(_GZIP_MAGIC):
                return body, body
            # Not labelled, but who reads it may go by its first bytes: neither form nor JSON begins
            # so.
            coding = "gzip"
        if coding not in _WINDOW_BITS:
            raise UnsupportedEncoding
        return body, await _inflate(body, _WINDOW_BITS[coding])


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


async def _inflate(body: bytes, window_bits: int) -> bytes:
    """Inflate a body to at most what an uncompressed one may have; others have turns meanwhile."""
    inflater = isal_zlib.decompressobj(window_bits)
    pieces: list[bytes] = []
    room = MAX_BODY
    for start in range(0, len(body), _STRIDE_BYTES):
        rest = body[start : start + _STRIDE_BYTES]
        is_full = True
        # A full piece: more of the text may be waiting, even if all the data has been taken.
        while is_full and not inflater.eof:
            if pieces:
                await asyncio.sleep(0)
            try:
                piece = inflater.decompress(rest, _STRIDE_BYTES)
            except isal_zlib.error:  # type: ignore[misc] # the stub has an instance where a class is
                raise UnsupportedEncoding from None
            pieces.append(piece)
            room -= len(piece)
            if room < 0:
                raise TooLarge
            rest = inflater.unconsumed_tail
            is_full = len(piece) == _STRIDE_BYTES
        if inflater.eof and (inflater.unused_data or start + _STRIDE_BYTES < len(body)):
            # What follows, another gzip member perhaps, would be paid for and not priced.
            raise UnsupportedEncoding
    if not inflater.eof:
        raise UnsupportedEncoding
    return b"".join(pieces)
