"""A response as it leaves: every header byte as it was given, and no header that was not."""

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import HttpVersion11, web
from aiohttp.helpers import rfc822_formatted_time
from multidict import MultiMapping

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
# RFC 9110, 8.6: these have no body and tell no length.
_BODILESS = frozenset({204, 304})


class Response(web.StreamResponse):
    """One response. Where it is there whole, head and body leave in one write.

    aiohttp's own responses add headers of their own (Server, a Content-Type), cannot send header
    bytes that are no UTF-8, and take several times as long for a small one.

    Attributes:
        fields: Headers, sent as they stand; beside them go Date (where there is none), the body's
            framing and what tells whether the connection stays.
        content: The body; None: it follows by `write` and ends by `write_eof`, and its
            Content-Length is among the fields where it is known.
    """

    def __init__(
        self,
        status: int,
        fields: Mapping[str, str] | MultiMapping[str],
        content: bytes | None,
        reason: str | None = None,
    ) -> None:
        # Not the base class' own: what that makes is for headers that are still to change.
        self._status = status
        self._reason = _PHRASES.get(status, "") if reason is None else reason
        self.fields = fields
        self.content = content

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send the head, once, and the body where it is there."""
        if self.prepared:
            return
        writer = self._payload_writer = request.writer
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        framing = self._frame(request)
        # What we speak, not what was asked for: HTTP/0.9 and 2.0 come as far as this.
        minor = int(request.version >= HttpVersion11)
        lines = [f"HTTP/1.{minor} {self._status} {self._reason}"]
        lines += map(": ".join, self.fields.items())
        if "Date" not in self.fields:
            lines.append(f"Date: {rfc822_formatted_time()}")
        if framing:
            lines.append(framing)
        if not self._keep_alive:
            lines.append("Connection: close")
        elif minor == 0:
            lines.append("Connection: keep-alive")
        lines.append("\r\n")
        head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
        if self.content is None:
            await writer.write(head)
            if framing:
                writer.enable_chunking()
            return
        self._eof_sent = True
        has_body = request.method != "HEAD" and self._status not in _BODILESS
        await writer.write(head + self.content if has_body else head)
        await writer.drain()

    def _frame(self, request: web.BaseRequest) -> str:
        """Return the header that tells where the body ends, where the fields do not tell it."""
        if self.content is not None:
            return "" if self._status in _BODILESS else f"Content-Length: {len(self.content)}"
        if "Content-Length" in self.fields:
            return ""
        if request.version >= HttpVersion11:
            return "Transfer-Encoding: chunked"
        self._keep_alive = False
        return ""
