"""Plain HTTP/1.x over a socket: bytes as written, answers as they came; nothing is normalised."""

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import orjson

PATIENCE_SECONDS = 240


@dataclass(slots=True)
class Answer:
    """An answer as it stood on the wire."""

    version: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    """Without the chunks' framing, still compressed."""
    whole: bool = False
    """Whether the body came to its proper end."""
    head: bytes = b""
    infos: list[int] = field(default_factory=list)
    """Statuses of the interim answers before it."""

    def all(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def plain(self) -> bytes:
        return gzip.decompress(self.body) if self.get("Content-Encoding") == "gzip" else self.body

    def json(self) -> Any:
        return orjson.loads(self.plain)


def write_request(
    target: str | bytes,
    headers: Iterable[str | bytes] = (),
    *,
    method: str = "GET",
    body: bytes = b"",
    version: str = "1.1",
) -> bytes:
    """Return the bytes of a request: these headers, besides Host and Content-Length only."""
    raw = target if isinstance(target, bytes) else target.encode()
    lines = [b"%s %s HTTP/%s" % (method.encode(), raw, version.encode()), b"Host: gateway"]
    lines += [line if isinstance(line, bytes) else line.encode("latin-1") for line in headers]
    if body or method == "POST":
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + body


class Caller:
    """One connection to a server; closes at the end of an `async with`."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._tls = tls

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(*self._address, ssl=self._tls)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Hang up at once, whatever is under way."""
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def receive(self, *, to: str = "GET") -> Answer:
        """Return the next answer; one cut short has `whole` false."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await self.receive_head()
            await self._receive_body(answer, to)
            return answer

    async def receive_head(self) -> Answer:
        """Return the next answer's head; ConnectionError or IncompleteReadError: none came."""
        infos: list[int] = []
        while True:
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")[:-2]
            version, status, reason = first.split(" ", 2)
            if status.startswith("1"):
                infos.append(int(status))
                continue
            headers = [(n, v.strip()) for n, _, v in (line.partition(":") for line in lines)]
            return Answer(version, int(status), reason, headers, head=head, infos=infos)

    async def has_ended(self) -> bool:
        """Wait for the other side to hang up; false where it says something more first."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    async def _receive_body(self, answer: Answer, to: str) -> None:
        length = answer.get("Content-Length")
        try:
            if to == "HEAD" or answer.status in {204, 304}:
                answer.whole = True
            elif answer.get("Transfer-Encoding") == "chunked":
                await self._receive_chunks(answer)
            elif length is not None:
                answer.body = await self.reader.readexactly(int(length))
                answer.whole = True
            else:
                answer.body = await self.reader.read(-1)
                answer.whole = True
        except asyncio.IncompleteReadError as error:
            answer.body += error.partial
        except ConnectionError:
            pass

    async def _receive_chunks(self, answer: Answer) -> None:
        pieces = []
        try:
            while True:
                size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
                piece = await self.reader.readexactly(size + 2)
                pieces.append(piece[:-2])
                if not size:
                    answer.whole = True
                    break
        finally:
            answer.body = b"".join(pieces)


async def ask(
    url: str,
    target: str | bytes,
    headers: Iterable[str | bytes] = (),
    *,
    method: str = "GET",
    body: bytes = b"",
    version: str = "1.1",
) -> Answer:
    """Make one call on a connection of its own."""
    async with Caller(url) as caller:
        await caller.send(write_request(target, headers, method=method, body=body, version=version))
        return await caller.receive(to=method)
