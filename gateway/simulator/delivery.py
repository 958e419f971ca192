"""How an answer reaches the caller: whole, slowly, in part, or not at all."""

import asyncio
import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from aiohttp import hdrs, web

from gateway.simulator.pieces import Part, write_gzip, write_plain
from gateway.simulator.steering import Fault

WHOLE_AT_MOST = 64 * 1024
"""Bytes up to which an answer goes out in one write with its length; larger ones are streamed."""
SLICES = 10
"""Into so many slices a slow body is cut when it would otherwise be a single write."""
EARLY_BYTES = 12
"""So much of an answer that begins with its token fields is sent before an early cut."""
JSON = "application/json;charset=utf-8"
HTML = "text/html;charset=utf-8"


class Message(NamedTuple):
    """An answer ready to be sent.

    Attributes:
        status: of HTTP.
        content_type: the whole header.
        parts: the body, not compressed.
        fields_at: the index of the part with the last of the token fields.
        gzip: whether to compress the body.
    """

    status: int
    content_type: str
    parts: list[Part]
    fields_at: int = 0
    gzip: bool = False

    def encode(self) -> Iterator[bytes]:
        """Write the body as it goes over the wire."""
        return write_gzip(self.parts) if self.gzip else write_plain(self.parts)

    def head(self) -> dict[str, str]:
        """List the headers that are about the body."""
        headers: dict[str, str] = {hdrs.CONTENT_TYPE: self.content_type}
        if self.gzip:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        return headers

    def is_small(self) -> bool:
        """Tell whether the body goes out in one write, with a Content-Length."""
        return sum(map(len, self.parts)) <= WHOLE_AT_MOST


async def send(request: web.Request, message: Message) -> web.StreamResponse:
    """Send a whole answer: a small one in a single write, a large one as fast as it is read."""
    if message.is_small():
        body = b"".join(message.encode())
        return web.Response(status=message.status, body=body, headers=message.head())
    response = web.StreamResponse(status=message.status, headers=message.head())
    with contextlib.suppress(ConnectionError):  # the caller has left: nobody to tell
        await response.prepare(request)
        for block in gather(message.encode()):
            await response.write(block)
        await response.write_eof()
    return response


async def send_slowly(request: web.Request, message: Message, seconds: float) -> web.StreamResponse:
    """Send the head at once and the body spread evenly over `seconds`."""
    response = web.StreamResponse(status=message.status, headers=message.head())
    blocks: Iterable[bytes] = message.encode()
    pauses = len(message.parts)
    if message.is_small():
        body = b"".join(blocks)
        response.content_length = len(body)
        step = len(body) // SLICES + 1
        blocks = [body[at : at + step] for at in range(0, len(body), step)]
        pauses = len(blocks)
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        for block in blocks:
            await asyncio.sleep(seconds / pauses)
            await response.write(block)
        await response.write_eof()
    return response


async def send_cut(request: web.Request, message: Message, fault: Fault) -> web.StreamResponse:
    """Send a part of an answer, with the length or the chunks of the whole, and hang up.

    The connection closes once the part is on its way, so that the caller surely gets so much.
    """
    response = web.StreamResponse(status=message.status, headers=message.head())
    if message.is_small():
        response.content_length = sum(map(len, message.encode()))
    blocks = _encode_cut(message, fault)
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        for block in gather(blocks):
            await response.write(block)
    return hang_up(request, response)


def _encode_cut(message: Message, fault: Fault) -> Iterable[bytes]:
    """Write a part of the body as it goes over the wire."""
    if message.gzip and message.is_small() and fault is Fault.CUT_BODY:
        # A part that is cut is stored, not deflated: half of the text may be longer than the whole.
        body = b"".join(message.encode())
        return [body[: len(body) // 2]]
    parts = cut(message, fault)
    return write_gzip(parts, whole=False) if message.gzip else write_plain(parts)


def hang_up(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Close the connection, after what was written to it and without a proper end."""
    if request.transport is not None:
        request.transport.close()
    # aiohttp wants a response, finds the connection closing and drops both.
    return response or web.Response()


def cut(message: Message, fault: Fault) -> list[Part]:
    """Cut the body: early, before the last token fields; late, before its last byte; or halfway."""
    if fault is Fault.CUT_BODY_EARLY:
        if message.fields_at:
            return message.parts[: message.fields_at]
        return [_plain(message.parts[0])[:EARLY_BYTES]]
    if fault is Fault.CUT_BODY_LATE:
        return [*message.parts[:-1], _plain(message.parts[-1])[:-1]]
    half = sum(map(len, message.parts)) // 2
    kept: list[Part] = []
    for part in message.parts:
        if len(part) > half:
            return [*kept, _plain(part)[:half]]
        kept.append(part)
        half -= len(part)
    return kept


def gather(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Join small blocks: a hundred products are two hundred parts, but not as many writes."""
    waiting: list[bytes] = []
    size = 0
    for block in blocks:
        waiting.append(block)
        size += len(block)
        if size >= WHOLE_AT_MOST:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)


@functools.lru_cache(maxsize=256)
def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether an Accept-Encoding header lets an answer be gzipped (RFC 9110, 12.5.3)."""
    weights: dict[str, float] = {}
    for choice in accept_encoding.lower().split(","):
        coding, _, parameter = choice.partition(";")
        name, _, weight = parameter.partition("=")
        try:
            weights[coding.strip()] = float(weight) if name.strip() == "q" else 1.0
        except ValueError:
            weights[coding.strip()] = 0.0
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _plain(part: Part) -> bytes:
    return part if isinstance(part, bytes) else part.plain
