"""Keepa: a bounded number of calls in flight, and what a failed call may have cost."""

import asyncio
import random
import time
from collections.abc import Callable
from http import HTTPStatus

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gateway.errors import Overloaded, UpstreamTimeout, UpstreamUnreachable
from gateway.keepa.connections import Answer, Connections, NoConnection
from gateway.keepa.stalls import Deadline

_TOKEN_SECONDS = 5
# Between attempts: twice as long each time, and at random, so that callers do not come in step.
_BACKOFF_SECONDS = 0.2
_BACKOFF_AT_MOST_SECONDS = 5.0
_TOKEN_BYTES = 65_536
# What the simulator's answers say in `Server`.
_SIMULATOR = "keepa-simulator"


def backoff_seconds(attempts: int) -> float:
    """Return how long to wait after so many failed attempts: exponential, with full jitter."""
    longest = min(_BACKOFF_AT_MOST_SECONDS, _BACKOFF_SECONDS * 2 ** (attempts - 1))
    return random.uniform(0, longest)  # noqa: S311 - no secret


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
        self.on_the_way = _Place(self)
        """Keeps a place for a call that is not admitted yet, with `with`, or raises Overloaded.

        Of a crowd that comes at once, all would find room before the first has been admitted.
        """
        self._free = asyncio.Semaphore(at_once)
        self._places = at_once + queue
        # By calls that run, wait, or are on their way here.
        self._taken = 0

    def take_place(self) -> None:
        """Keep a place for one call; raise Overloaded where all are taken."""
        if self._taken >= self._places:
            raise Overloaded
        self._taken += 1

    def leave_place(self) -> None:
        """Leave it to another call."""
        self._taken -= 1

    async def __aenter__(self) -> None:
        self.take_place()
        try:
            await self._free.acquire()
        except BaseException:
            self.leave_place()
            raise

    async def __aexit__(self, *_: object) -> None:
        self.leave_place()
        if self._free.locked():
            # Who waits may take the connection that this call has left: a turn of the loop later it
            # is known whether the server has closed it.
            asyncio.get_running_loop().call_soon(self._free.release)
        else:
            self._free.release()


class _Place:
    """What `Slots.on_the_way` is: one for all calls, for it keeps nothing of any."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    def __enter__(self) -> None:
        self._slots.take_place()

    def __exit__(self, *_: object) -> None:
        self._slots.leave_place()


class Upstream:
    """Sends calls to Keepa exactly once. To be made where the event loop runs.

    Args:
        base_url: Keepa's, without a trailing slash.
        key: The real key, percent-encoded.
        on_token: Called when the free question was answered, whoever asked it.

    Attributes:
        is_simulated: Whether the simulator gave the last answer, wherever it runs.
    """

    def __init__(
        self, base_url: str, key: str, on_token: Callable[[], object] = lambda: None
    ) -> None:
        self.is_simulated = False
        self._connections = Connections(URL(base_url))
        self._is_plain = base_url.startswith("http:")
        self._token_target = f"/token?key={key}"
        self._on_token = on_token

    def close(self) -> None:
        """Close the connection pool."""
        self._connections.close()

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
            answer = await self._connections.request(method, target, headers, body)
        except NoConnection as error:
            raise NotSent(trouble=str(error)) from None
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError) as error:
            # From None: their texts may have the URL, and so the key.
            trouble = type(error).__name__
            if self._is_plain:
                trouble += "; if the port speaks TLS, the URL begins with https://"
            raise UpstreamUnreachable(trouble=trouble) from None
        self.is_simulated = answer.headers.get("Server") == _SIMULATOR
        return answer

    async def fetch_token(self) -> tuple[bytes, str | None, float]:
        """Ask for the balance, which costs nothing.

        Returns:
            The answer's body, its Content-Encoding, and when its headers came (monotonic seconds).

        Raises:
            UpstreamUnreachable: No answer, or an error of Keepa's own.
            UpstreamTimeout: None in 5 s.
        """
        try:
            async with Deadline(asyncio.get_running_loop().time() + _TOKEN_SECONDS):
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
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise UpstreamUnreachable
        self._on_token()
        return bytes(body), answer.headers.get("Content-Encoding"), seen_at
