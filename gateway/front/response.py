"""A response as it leaves: every header byte as it was given, and no header that was not."""

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import HttpVersion11
from aiohttp.helpers import rfc822_formatted_time
from multidict import MultiMapping

from gateway.front.request import Request, Wire

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
# RFC 9110, 8.6: these have no body and tell no length.
_BODILESS = frozenset({204, 304})


class Response:
    """One response. Where it is there whole, head and body leave in one write.

    Attributes:
        status: Its code.
        fields: Headers, sent as they stand; beside them go Date (where there is none), the body's
            framing and what tells whether the connection stays.
        content: The body; None: it follows by `write`, ends by `end`, and its
            Content-Length is among the fields where it is known.
        has_begun: Whether its head has left.
        has_ended: Whether all of it has.
    """

    __slots__ = (
        "_is_chunked", "_is_last", "_reason", "_request", "content", "fields", "has_begun",
        "has_ended", "status",
    )  # fmt: skip

    def __init__(
        self,
        status: int,
        fields: Mapping[str, str] | MultiMapping[str],
        content: bytes | None,
        reason: str | None = None,
    ) -> None:
        self.status = status
        self.fields = fields
        self.content = content
        self.has_begun = False
        self.has_ended = False
        self._reason = _PHRASES.get(status, "") if reason is None else reason
        self._request: Request | None = None
        self._is_chunked = False
        self._is_last = False

    @property
    def is_last(self) -> bool:
        """Whether the connection closes after it; to be asked once it has begun."""
        return self._is_last

    def close_after(self) -> None:
        """Have it be the last on its connection."""
        self._is_last = True

    def send(self, request: Request) -> None:
        """Send the head, once, and the body where it is there; it does not wait for room.

        Raises:
            ConnectionError: The caller has left.
        """
        if self.has_begun:
            return
        self.has_begun = True
        self._request = request
        head = self._head(request)
        if self.content is None:
            request.connection.write(head)
            return
        self.has_ended = True
        has_body = request.method != "HEAD" and self.status not in _BODILESS
        request.connection.write(head + self.content if has_body else head)

    async def write(self, data: bytes) -> None:
        """Send a piece of the body, and wait until there is room for the next.

        Raises:
            ConnectionError: The caller has left.
        """
        connection = self._connection
        connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
        if connection.is_full:
            await connection.drain()

    def end(self) -> None:
        """End the body; raises as `write`."""
        self.has_ended = True
        if self._is_chunked:
            self._connection.write(b"0\r\n\r\n")

    @property
    def _connection(self) -> Wire:
        if self._request is None:
            raise RuntimeError("its head comes first")
        return self._request.connection

    def _head(self, request: Request) -> bytes:
        framing = self._frame(request)
        if not request.keep_alive:
            self._is_last = True
        # What we speak, not what was asked for: HTTP/0.9 and 2.0 come as far as this.
        minor = int(request.version >= HttpVersion11)
        lines = [f"HTTP/1.{minor} {self.status} {self._reason}"]
        lines += map(": ".join, self.fields.items())
        if "Date" not in self.fields:
            lines.append(f"Date: {rfc822_formatted_time()}")
        if framing:
            lines.append(framing)
        if self._is_last:
            lines.append("Connection: close")
        elif minor == 0:
            lines.append("Connection: keep-alive")
        lines.append("\r\n")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape")

    def _frame(self, request: Request) -> str:
        """Return the header that tells where the body ends, where the fields do not tell it."""
        if self.content is not None:
            return "" if self.status in _BODILESS else f"Content-Length: {len(self.content)}"
        if "Content-Length" in self.fields:
            return ""
        if request.version >= HttpVersion11:
            self._is_chunked = True
            return "Transfer-Encoding: chunked"
        self._is_last = True
        return ""
