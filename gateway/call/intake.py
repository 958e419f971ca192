"""Reads a caller's request: which endpoint, whose call, how dear, and what of it goes to Keepa."""

import asyncio

from aiohttp import HttpVersion11
from isal import isal_zlib

from gateway.call.allowances import Allowances
from gateway.call.asked import Asked
from gateway.call.services import Services
from gateway.errors import (
    Overloaded,
    TooLarge,
    TooSlow,
    UnsupportedEncoding,
)
from gateway.front.bodies import MAX_BODY, Bodies, reads_as_form
from gateway.front.credentials import add_key, swap_key, swap_key_in_turns
from gateway.front.headers import credentials_of, preferred_wait
from gateway.front.request import Request
from gateway.front.targets import split_quoted, split_target
from gateway.keepa.costs import CostTable, limit_codes
from gateway.lane import in_task

_BODY_SECONDS = 30
_GZIP_MAGIC = b"\x1f\x8b"
# Of a body, what is inflated at a time.
_STRIDE_BYTES = 64 * 1024
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class Intake:
    """Reads requests.

    Args:
        real_key: Percent-encoded.
        bodies: Where request bodies are counted.
        fills_limits: Whether a service's `code_limit` is put into its look-ups that have none.
    """

    def __init__(
        self,
        *,
        services: Services,
        allowances: Allowances,
        costs: CostTable,
        real_key: str,
        bodies: Bodies,
        fills_limits: bool,
    ) -> None:
        self._services = services
        self._allowances = allowances
        self._costs = costs
        self._real_key = real_key
        self._bodies = bodies
        self._fills_limits = fills_limits

    async def read(self, request: Request) -> Asked:
        """Return the call that the request asks for.

        Raises:
            Refusal: What no call may ever do: 400, 401, 404, 405, 408, 413, 414, 415.
            Overloaded: Too many callers are connected, or too many bodies are held.
        """
        return await self._read(request, *split_target(request))

    async def read_quoted(self, request: Request) -> Asked:
        """Return the call that a request for `/quote?path=<endpoint>&...` asks about.

        Raises:
            Refusal: As `read`.
        """
        return await self._read(request, *split_quoted(request))

    async def _read(self, request: Request, path: str, endpoint: str, query: str) -> Asked:
        if request.connection.is_surplus:
            raise Overloaded("Too many callers are connected")
        body, plain = await self._read_body(request) if request.can_read_body else (b"", b"")
        query, given = swap_key(query, self._real_key)
        in_query = bool(given)
        if plain and reads_as_form(request.method, endpoint, plain):
            form, in_form = await swap_key_in_turns(plain, self._real_key.encode())
            if in_form:
                given += in_form
                body = plain = form
        else:
            in_form = []
        if not in_query and not in_form:
            query = add_key(query, self._real_key)
        headers = request.headers
        service = self._services.identify(
            (*given, *credentials_of(headers)), headers.get("X-Service-Name")
        )
        allowance = self._allowances.of(service)
        price = self._costs.price(endpoint, query, plain)
        limit = allowance.policy.code_limit
        is_rewritten = bool(in_form)
        if limit and price.is_unlimited and self._fills_limits:
            query, limited = limit_codes(query, plain, limit)
            price = self._costs.price(endpoint, query, limited)
            if limited != plain:
                body, is_rewritten = limited, True
        return Asked(
            request.method,
            # Of a form, the key is in the body: no question mark that the caller did not write.
            f"{path}?{query}" if query or "?" in request.raw_path else path,
            body,
            is_rewritten,
            service,
            price,
            allowance,
            allowance.objection(price),
            preferred_wait(headers) if "Prefer" in headers else None,
        )

    async def _read_body(self, request: Request) -> tuple[bytes, bytes]:
        """Return the body as it came, and as it reads."""
        self._bodies.check(request)
        expects = request.headers.get("Expect", "").lower() == "100-continue"
        if expects and request.version >= HttpVersion11:
            request.connection.write_interim(b"HTTP/1.1 100 Continue\r\n\r\n")
        await in_task()
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
