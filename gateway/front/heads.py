"""What a request's head may be, and what is told of one that is not."""

import asyncio
from collections.abc import Callable

from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import LineTooLong

from gateway.errors import BadRequest, Overloaded, Refusal, TooLarge, UriTooLong
from gateway.front.request import Request
from gateway.front.turnstile import Turnstile

# Above the longest URL that a call may have, so that the intake refuses it and not the parser.
MAX_LINE = 136 * 1024
# All headers of a request together, and how many.
MAX_HEADERS = 64 * 1024
MAX_HEADER_LINES = 128
# What heads that are not whole may have in sum: nearly all others come in one packet, and are none
# of these.
_ALL_HEADS = 64 * 1024 * 1024
# From a request's first byte to its head's end, however it drips.
_HEAD_SECONDS = 30


def check_head(request: Request) -> None:
    """Refuse a head that another server might read otherwise, or that is too large.

    Raises:
        BadRequest: No HTTP/1.0 or 1.1, or a framing in doubt (RFC 9112, 6.1).
        TooLarge: All its headers together.
    """
    headers = request.headers
    if request.version not in {HttpVersion11, HttpVersion10}:
        raise BadRequest
    codings = headers.getall("Transfer-Encoding", ())
    if codings and (
        request.version == HttpVersion10 or [coding.lower() for coding in codings] != ["chunked"]
    ):
        raise BadRequest
    if sum(map(len, headers)) + sum(map(len, headers.values())) > MAX_HEADERS:
        raise too_large_headers()


def too_large_headers() -> TooLarge:
    """Return the refusal of a request with more headers than it may have."""
    return TooLarge("The request's headers are larger than 64 KiB")


def refusal_of(fault: HttpProcessingError) -> Refusal:
    """Return the refusal of bytes that are not a request."""
    if isinstance(fault, LineTooLong):
        return UriTooLong() if fault.args[1] == MAX_LINE else too_large_headers()
    return BadRequest()


class HeadWatch:
    """Bounds the head of one connection that comes in pieces: by itself, with all others, in time.

    Args:
        turnstile: Counts what has come of all heads.
        on_late: Called when the head's time is up.

    Attributes:
        size: What has come of the head.
    """

    __slots__ = ("_on_late", "_timer", "_turnstile", "size")

    def __init__(self, turnstile: Turnstile, on_late: Callable[[], None]) -> None:
        self._turnstile = turnstile
        self._on_late = on_late
        self._timer: asyncio.TimerHandle | None = None
        self.size = 0

    def take(self, size: int) -> Refusal | None:
        """Count a piece; return why there may be no more of them."""
        self.size += size
        self._turnstile.head_bytes += size
        if self.size > MAX_LINE + MAX_HEADERS:
            return too_large_headers()
        if self._turnstile.head_bytes > _ALL_HEADS:
            return Overloaded("Too many requests are only half here")
        if self._timer is None:
            self.wait()
        return None

    def wait(self, seconds: float | None = None) -> None:
        """Give the head so long from now on; None: as long as a head has."""
        if self._timer:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_HEAD_SECONDS if seconds is None else seconds, self._late)

    def end(self) -> None:
        """The head is whole, or is not waited for any more."""
        if self.size:
            self._turnstile.head_bytes -= self.size
            self.size = 0
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        self._on_late()
