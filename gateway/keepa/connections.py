"""Kept-alive connections to one server: each request is written once, by us, and never again.

aiohttp's ClientSession sends an idempotent request again by itself when a kept-alive connection
drops, and Keepa charges it twice; it also takes as much of a small call's time as the budget does.
So the pool and the connections are ours, on aiohttp's parser.
"""

import asyncio
import ssl
import time
from collections import deque
from ipaddress import ip_address
from typing import Any

from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.keepa.connection import Connection
from gateway.keepa.stalls import Deadline
from gateway.lane import in_task

CONNECT_SECONDS = 10
# Shorter than what servers keep idle connections for: one that the server closes just as a request
# is written leaves that request in doubt.
_IDLE_SECONDS = 15


class NoConnection(Exception):
    """Nothing was sent: the server could not be reached."""


class Answer:
    """An answer's head; its body is read from `content`.

    Attributes:
        status: Its code.
        reason: Its phrase, may be empty.
        headers: As they came.
        head_at: When they came, monotonic seconds.
        content: The body without its transfer coding; its content coding is untouched.
    """

    __slots__ = ("_connection", "_pool", "content", "head_at", "headers", "reason", "status")

    def __init__(
        self,
        message: RawResponseMessage,
        content: StreamReader,
        connection: Connection,
        pool: "Connections",
    ) -> None:
        self.status: int = message.code
        self.reason: str = message.reason
        self.headers: CIMultiDictProxy[str] = message.headers
        self.head_at = connection.head_at
        self.content = content
        self._connection = connection
        self._pool = pool

    def close(self) -> None:
        """Let go of the connection: it is kept where the body was read to its end."""
        if self.content.is_eof():
            self._pool.keep(self._connection)
        else:
            self._connection.abort()


class Connections:
    """A pool without a limit: the callers are bounded.

    Args:
        url: Scheme, host, port and the path that all requests begin with.
    """

    def __init__(self, url: URL) -> None:
        self._host = url.raw_host or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._prefix = url.raw_path.rstrip("/")
        self._host_header = url.host_port_subcomponent or ""
        # Only a name has addresses to choose among. (On Python 3.11 such a connect, when it is
        # cancelled, leaves its socket to the garbage collector.) uvloop tries them by itself.
        chooses = isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)
        self._addresses: dict[str, Any] = {}
        if chooses and not _is_address(self._host):
            self._addresses["happy_eyeballs_delay"] = 0.25
        self._tls: ssl.SSLContext | None = None
        if url.scheme == "https":
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Connection] = deque()

    async def request(
        self, method: str, target: str, headers: CIMultiDict[str], body: bytes
    ) -> Answer:
        """Send one request, return its answer's head.

        Args:
            method: GET or POST.
            target: Path and query, written as they are.
            headers: All but Host and Content-Length.
            body: Written as it is.

        Raises:
            NoConnection: Nothing was sent.
            aiohttp.ClientError, OSError: It was sent, at least in part, and no answer came.
        """
        connection = self._take() or await self._connect()
        try:
            head = [f"{method} {self._prefix}{target} HTTP/1.1\r\nHost: {self._host_header}\r\n"]
            head += [f"{name}: {value}\r\n" for name, value in headers.items()]
            if body or method == "POST":
                head.append(f"Content-Length: {len(body)}\r\n")
            head.append("\r\n")
            answer = connection.ask()
            await connection.write("".join(head).encode("utf-8", "surrogateescape"), body)
            message, content = await answer
        except BaseException:
            connection.abort()
            raise
        return Answer(message, content, connection, self)

    def keep(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        if connection.is_usable:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close what is idle, at once: over TLS a server that hangs would keep it half a minute."""
        while self._idle:
            self._idle.pop().abort()

    def _take(self) -> Connection | None:
        """Return the connection that was used last, and close those idle for too long."""
        oldest = time.monotonic() - _IDLE_SECONDS
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft().abort()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        await in_task()
        try:
            async with Deadline(self._loop.time() + CONNECT_SECONDS):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._loop),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                    **self._addresses,
                )
        except (OSError, ssl.CertificateError, UnicodeError) as error:  # TimeoutError is an OSError
            raise NoConnection(_word_of(error, has_tls=self._tls is not None)) from None
        return connection


def _word_of(error: Exception, *, has_tls: bool) -> str:
    """Return the error's class and what TLS says: its text has the address."""
    word = type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (
            f"TLS: {error.reason or word}; if the port speaks no TLS, the URL begins with http://"
        )
    # What a port that speaks something else does with the first bytes of TLS.
    if has_tls and isinstance(error, ConnectionResetError | ConnectionAbortedError | TimeoutError):
        return f"{word}, or no TLS at that port"
    return word


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
