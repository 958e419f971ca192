"""Kept-alive connections to one server: each request is written once, by us, and never again.

aiohttp's ClientSession sends an idempotent request again by itself when a kept-alive connection
drops, and Keepa charges it twice; it also takes as much of a small call's time as the budget does.
So the pool is ours, and aiohttp's connection (parsing, back-pressure) is used as it is. It has no
public name: the tests of forwarding guard it, and the version of aiohttp is pinned.
"""

import asyncio
import ssl
import time
from collections import deque
from http import HTTPStatus
from ipaddress import ip_address
from typing import NamedTuple, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_parser import RawResponseMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.keepa.stalls import Deadline

CONNECT_SECONDS = 10
# Shorter than what servers keep idle connections for: one that the server closes just as a request
# is written leaves that request in doubt.
_IDLE_SECONDS = 15
_BUFFER_BYTES = 262_144
# What is read at once: of a small answer as much as asyncio does, for with more the allocator asks
# the system each time; of a body that streams, twice that, for each piece costs a turn of the loop.
_READ_BYTES = 262_144
_STREAM_READ_BYTES = 524_288
_MAX_HEAD_BYTES = 65_536
# A larger body goes out in slices of this, each when there is room for it.
_SLICE_BYTES = 65_536
# RFC 9110, 15.2: an answer follows.
_INTERIM = range(100, 200)


class NoConnection(Exception):
    """Nothing was sent: the server could not be reached."""


class _Idle(NamedTuple):
    connection: ResponseHandler
    since: float


class Answer:
    """An answer's head; its body is read from `content`.

    Attributes:
        status: Its code.
        reason: Its phrase, may be empty.
        headers: As they came.
        content: The body without its transfer coding; its content coding is untouched.
    """

    def __init__(
        self,
        message: RawResponseMessage,
        content: aiohttp.StreamReader,
        connection: ResponseHandler,
        pool: "Connections",
    ) -> None:
        self.status = message.code
        self.reason = message.reason
        self.headers: CIMultiDictProxy[str] = message.headers
        self.content = content
        self._should_close = message.should_close
        self._connection = connection
        self._pool = pool

    def expect_much(self) -> None:
        """Read the rest in larger pieces."""
        _read_at_once(self._connection, _STREAM_READ_BYTES)

    def close(self) -> None:
        """Let go of the connection: it is kept where the body was read to its end."""
        if self.content.is_eof() and not self._should_close:
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
        # cancelled, leaves its socket to the garbage collector.)
        self._eyeballs_delay = None if _is_address(self._host) else 0.25
        self._tls: ssl.SSLContext | None = None
        if url.scheme == "https":
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        self._loop = asyncio.get_running_loop()
        self._idle: deque[_Idle] = deque()

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
        connection = self._take()
        # Not `or`: a connection is false while nothing has come on it.
        if connection is None:
            connection = await self._connect()
        try:
            connection.set_response_params(
                read_until_eof=True,
                auto_decompress=False,
                read_bufsize=_BUFFER_BYTES,
                max_line_size=_MAX_HEAD_BYTES,
                max_field_size=_MAX_HEAD_BYTES,
            )
            head = [f"{method} {self._prefix}{target} HTTP/1.1\r\nHost: {self._host_header}\r\n"]
            head += [f"{name}: {value}\r\n" for name, value in headers.items()]
            if body or method == "POST":
                head.append(f"Content-Length: {len(body)}\r\n")
            head.append("\r\n")
            await _write(connection, "".join(head).encode("utf-8", "surrogateescape"), body)
            message, content = await _read_head(connection)
        except BaseException:
            connection.abort()
            raise
        return Answer(message, content, connection, self)

    def keep(self, connection: ResponseHandler) -> None:
        """Keep a connection for the next request."""
        if connection.is_connected() and not connection.should_close:
            _read_at_once(connection, _READ_BYTES)
            self._idle.append(_Idle(connection, time.monotonic()))
        else:
            connection.abort()

    def close(self) -> None:
        """Close what is idle, at once: over TLS a server that hangs would keep it half a minute."""
        while self._idle:
            self._idle.pop().connection.abort()

    def _take(self) -> ResponseHandler | None:
        """Return the connection that was used last, and close those idle for too long."""
        oldest = time.monotonic() - _IDLE_SECONDS
        while self._idle and self._idle[0].since < oldest:
            self._idle.popleft().connection.abort()
        while self._idle:
            connection = self._idle.pop().connection
            if connection.is_connected() and not connection.should_close:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> ResponseHandler:
        try:
            async with Deadline(self._loop.time() + CONNECT_SECONDS):
                _, connection = await self._loop.create_connection(
                    lambda: ResponseHandler(self._loop),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                    happy_eyeballs_delay=self._eyeballs_delay,
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


def _read_at_once(connection: ResponseHandler, size: int) -> None:
    """Read no more at once than so many bytes. Over TLS this changes nothing."""
    # A connection may be lost, and the rest of its answer still be unread.
    if connection.transport is not None:
        vars(connection.transport)["max_size"] = size


async def _read_head(
    connection: ResponseHandler,
) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    """Return the head of the final answer, and its body to come."""
    while True:
        message, content = await connection.read()
        is_http = message.version.major == 1 and message.code >= _INTERIM.start
        if not is_http or message.code == HTTPStatus.SWITCHING_PROTOCOLS:
            # Nobody asked for another protocol, and what follows is no HTTP.
            raise aiohttp.ClientConnectionError
        if message.code not in _INTERIM:
            return message, content


async def _write(connection: ResponseHandler, head: bytes, body: bytes) -> None:
    """Write head and body, a small body in one go with the head."""
    transport = cast("asyncio.Transport", connection.transport)
    if len(body) <= _SLICE_BYTES:
        transport.write(head + body)
        return
    transport.write(head)
    for start in range(0, len(body), _SLICE_BYTES):
        transport.write(body[start : start + _SLICE_BYTES])
        await connection._drain_helper()  # noqa: SLF001 - as aiohttp's own writer waits for room
