"""Keepa: one session, a bounded number of calls in flight, and what a failed call may have cost."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gateway.errors import Overloaded, UpstreamTimeout, UpstreamUnreachable

CONNECT_SECONDS = 10
_TOKEN_SECONDS = 5
_TOKEN_BYTES = 65_536
# Shorter than what servers keep idle connections for: one that the server closes just as a call is
# written leaves that call in doubt.
_IDLE_SECONDS = 15
# Larger pieces go out in slices, so that no single write holds up the loop.
_BODY_SLICE = 65_536


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

    async def __aenter__(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        if self._waiting >= self._queue:
            raise Overloaded
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
        self.base_url = base_url
        self.key = key
        self._session = aiohttp.ClientSession(
            # The proxy's slots bound the calls; a second queue in here would hide behind them.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # aiohttp sends an idempotent call again by itself when a kept-alive connection drops, and
        # Keepa charges it twice. There is no public switch; a test guards this one.
        self._session._retry_connection = False  # noqa: SLF001

    async def close(self) -> None:
        """Close the connection pool."""
        await self._session.close()

    async def send(
        self, method: str, path: str, query: str, headers: CIMultiDict[str], body: bytes
    ) -> aiohttp.ClientResponse:
        """Send one call and return its answer when the headers are there; the body is unread.

        Args:
            method: GET or POST.
            path: As the caller wrote it.
            query: Percent-encoded, with the real key; leaves byte for byte.
            headers: End-to-end ones.
            body: As the caller sent it.

        Raises:
            NotSent: No connection; nothing was charged.
            UpstreamUnreachable: Dropped without an answer; it may have been charged.
        """
        url = URL(f"{self.base_url}{path}?{query}", encoded=True)
        if body:
            headers["Content-Length"] = str(len(body))
        try:
            return await self._session.request(
                method,
                url,
                headers=headers,
                data=_slices(body) if len(body) > _BODY_SLICE else body or None,
                allow_redirects=False,
                skip_auto_headers=_automatic(headers, body),
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            # From None: the exception's text has the URL, and so the key.
            raise NotSent from None
        except aiohttp.ClientError:
            raise UpstreamUnreachable from None

    async def fetch_token(self) -> tuple[bytes, str | None, float]:
        """Ask for the balance, which costs nothing.

        Returns:
            The answer's body, its Content-Encoding, and when its headers came (monotonic seconds).

        Raises:
            UpstreamUnreachable: No answer.
            UpstreamTimeout: None in 5 s.
        """
        url = URL(f"{self.base_url}/token?key={self.key}", encoded=True)
        try:
            async with (
                asyncio.timeout(_TOKEN_SECONDS),
                self._session.get(
                    url, headers={"Accept-Encoding": "gzip"}, allow_redirects=False
                ) as answer,
            ):
                seen_at = time.monotonic()
                body = await answer.content.read(_TOKEN_BYTES)
                return body, answer.headers.get("Content-Encoding"), seen_at
        except TimeoutError:
            raise UpstreamTimeout from None
        except aiohttp.ClientError:
            raise UpstreamUnreachable from None


def _automatic(headers: CIMultiDict[str], body: bytes) -> list[str] | None:
    """Return the headers that aiohttp would add and the caller did not send; None is cheapest."""
    names = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")[: 4 if body else 3]
    return [name for name in names if name not in headers] or None


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _BODY_SLICE):
        yield body[start : start + _BODY_SLICE]
