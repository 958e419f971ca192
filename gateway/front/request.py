"""One request of a caller's, on the connection that it came on."""

import asyncio
import re
from collections.abc import Callable
from typing import Protocol

from aiohttp.http import HttpVersion, RawRequestMessage
from aiohttp.streams import StreamReader
from multidict import MultiMapping

from gateway.front.headers import given_request_id

# What stands before the path in a request to an HTTP proxy (RFC 9112, 3.2.2).
_AUTHORITY = re.compile(r"https?://[^/?#]+", re.IGNORECASE)


class Wire(Protocol):
    """What is known of a caller's connection; nobody else touches the socket."""

    transport: asyncio.Transport | None
    """None once it is lost."""
    is_full: bool
    """Whether the caller has yet to take what was written."""
    is_surplus: bool
    """Whether there are too many connections for it to make calls."""
    has_responded: bool
    """Whether any of the response to the newest request has left."""
    new_id: Callable[[], str]
    """Returns a request id, one gateway's own."""

    @property
    def request(self) -> "Request | None":
        """What is answered now."""

    @property
    def is_ending(self) -> bool:
        """Whether the response under way is the connection's last."""

    @property
    def has_left(self) -> bool:
        """Whether the caller has gone, or is being left."""

    @property
    def may_be_spared(self) -> bool:
        """Whether something is spared where the caller has left."""

    @property
    def remote(self) -> str | None:
        """The caller's address."""

    def cancel_if_left(self) -> None:
        """From now on, a caller who leaves cancels what is done for it."""

    def carry_on(self) -> None:
        """From now on, a caller who leaves changes nothing."""

    def write(self, data: bytes) -> None:
        """Write a part of a response; raises ConnectionError where the caller has left."""

    def write_interim(self, data: bytes) -> None:
        """Write what comes before a response (RFC 9110, 15.2); not to who has left."""

    async def drain(self) -> None:
        """Wait until the caller has taken enough; raises ConnectionError where it has left."""

    def abort(self) -> None:
        """Close at once; what is not sent is dropped."""

    def reset(self) -> None:
        """Abort so that the caller hears of it: to HTTP/1.0, a plain close ends a body properly."""


class Request:
    """One request; its target is a path and a query, whichever way the caller wrote it.

    Attributes:
        connection: The one that it came on.
        method: In capitals.
        raw_path: Path and query, as they came.
        headers: As they came.
        version: The caller's HTTP.
        content: The body to come.
        held_bytes: Of its body, what counts as held.
    """

    __slots__ = (
        "_should_close", "connection", "content", "headers", "held_bytes", "method", "raw_path",
        "version",
    )  # fmt: skip

    headers: MultiMapping[str]

    def __init__(self, message: RawRequestMessage, content: StreamReader, connection: Wire) -> None:
        self.connection = connection
        self.content = content
        self.method: str = message.method
        self.raw_path: str = origin_form(message.path)
        self.headers = message.headers
        self.version: HttpVersion = message.version
        self.held_bytes = 0
        self._should_close = message.should_close

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays after the response."""
        return not self._should_close and not self.connection.is_ending

    @property
    def request_id(self) -> str:
        """The caller's `X-Request-Id` where it is harmless, else a new one at each look."""
        return given_request_id(self.headers) or self.connection.new_id()

    @property
    def can_read_body(self) -> bool:
        """Whether a body has come, or is to come."""
        return not self.content.at_eof()

    @property
    def content_length(self) -> int:
        """What the body's length is announced as; 0: it is not."""
        return int(self.headers.get("Content-Length", 0))


def origin_form(target: str) -> str:
    """Return path and query of a target, without the host that a request to a proxy names.

    Nor with the slash too many of a base URL that ends in one.
    """
    if target[:1] != "/":
        authority = _AUTHORITY.match(target)
        if authority is None:
            return target
        target = target[authority.end() :]
        if target[:1] != "/":
            target = f"/{target}"
    return f"/{target.lstrip('/')}" if target.startswith("//") else target
