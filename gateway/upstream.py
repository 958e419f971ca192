"""Keepa: a bounded number of calls in flight, and what a failed call may have cost."""

import asyncio
import time

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gateway.connections import Answer, Connections, NoConnection
from gateway.errors import Overloaded, UpstreamTimeout, UpstreamUnreachable

_TOKEN_SECONDS = 5
_TOKEN_BYTES = 65_536


class NotSent(UpstreamUnreachable):
    """No connection: Keepa surely charged nothing."""


class Slots:
    """Calls to Keepa in flight, first come first served; `async with` holds one.

    Args:
        at_once: How many run.
        queue: How many may wait for one of them to end.

    Raises:
        Overloaded: On entering, where the queue is full.
    """

    def __init__(self, at_once: int, queue: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._queue = queue
        self._waiting = 0

    def check(self) -> None:
        """Raise Overloaded where a call that came now would find the queue full."""
        if self._free.locked() and self._waiting >= self._queue:
            raise Overloaded

    async def __aenter__(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        self.check()
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        self._free.release()


class Upstream:
    """Sends calls to Keepa exactly once. To be made where the event loop runs.

    Args:
        base_url: Keepa's, without a trailing slash.
        key: The real key, percent-encoded.
    """

    def __init__(self, base_url: str, key: str) -> None:
        self._connections = Connections(URL(base_url))
        self._token_target = f"/token?key={key}"

    async def close(self) -> None:
        """Close the connection pool."""
        await self._connections.close()

    async def send(
        self, method: str, target: str, headers: CIMultiDict[str], body: bytes
    ) -> Answer:
        """Send one call and return its answer when the headers are there; the body is unread.

        Args:
            method: GET or POST.
            target: Path as the caller wrote it, and the query with the real key.
            headers: End-to-end ones.
            body: As the caller sent it.

        Raises:
            NotSent: No connection; nothing was charged.
            UpstreamUnreachable: Dropped without an answer; it may have been charged.
        """
        try:
            return await self._connections.request(method, target, headers, body)
        except NoConnection:
            raise NotSent from None
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError):
            # From None: their texts may have the URL, and so the key.
            raise UpstreamUnreachable from None

    async def fetch_token(self) -> tuple[bytes, str | None, float]:
        """Ask for the balance, which costs nothing.

        Returns:
            The answer's body, its Content-Encoding, and when its headers came (monotonic seconds).

        Raises:
            UpstreamUnreachable: No answer.
            UpstreamTimeout: None in 5 s.
        """
        try:
            async with asyncio.timeout(_TOKEN_SECONDS):
                answer = await self.send(
                    "GET", self._token_target, CIMultiDict({"Accept-Encoding": "gzip"}), b""
                )
                seen_at = time.monotonic()
                try:
                    body = bytearray()
                    while len(body) < _TOKEN_BYTES and (chunk := await answer.content.readany()):
                        body += chunk
                finally:
                    answer.close()
        except TimeoutError:
            raise UpstreamTimeout from None
        except aiohttp.ClientError:
            raise UpstreamUnreachable from None
        return bytes(body), answer.headers.get("Content-Encoding"), seen_at
