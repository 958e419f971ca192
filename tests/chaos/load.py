"""Many small calls that cost little to make: kept-alive connections, answers hardly looked at."""

import asyncio
import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from support.callers.mixed_calls import Request
from support.callers.wire import Answer, write_request

from chaos.calls import HANG_SECONDS, End, find_fault_with

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")
_REASON = re.compile(rb'"reason":"(\w+)"')
# One refusal of so many is read as a client would.
_LOOK_AT_EACH = 100


class _Line(asyncio.Protocol):
    """One connection: one request at a time, its answer's status, length and reason."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[tuple[bytes, bytes] | None] | None = None
        self._head, self._body, self._missing = b"", b"", 0
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._tell(None)

    async def ask(self, request: bytes) -> tuple[bytes, bytes] | None:
        """Return the answer's head and body; None: the connection ended before its end."""
        self._answer = asyncio.get_running_loop().create_future()
        self._head, self._body, self._missing = b"", b"", -1
        self.transport.write(request)
        return await self._answer

    @property
    def has_begun(self) -> bool:
        return bool(self._head)

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            data, self._head = self._head[end + 4 :], self._head[: end + 4]
            length = _LENGTH.search(self._head)
            if not length:
                # A stream: as good as a caller who leaves.
                self.transport.abort()
                return
            self._missing = int(length[1])
        self._body += data
        if len(self._body) >= self._missing:
            self._tell((self._head, self._body))

    def _tell(self, answer: tuple[bytes, bytes] | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(answer)


class Load:
    """Calls at a rate, on so many connections to each place in turn.

    Args:
        url_of: The URL of a place now; gateways are replaced.
        places: How many there are.
        rate: Calls a second, as long as they are answered fast enough.
        requests: Made in turn.
    """

    def __init__(
        self,
        url_of: Callable[[int], str],
        places: int,
        rate: float,
        requests: Sequence[Request],
        connections: int = 64,
    ) -> None:
        self._url_of, self._places = url_of, places
        self._pause = connections / rate
        self._requests = itertools.cycle(requests)
        self._connections = connections
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._refusals = 0
        self.headers: tuple[str, ...] = ()
        """Of all calls made from now on, besides their own."""
        self.told: Counter[str] = Counter()
        self.problems: list[str] = []
        self.slowest: dict[str, float] = {}
        """The longest that each verdict took, in seconds."""
        self.slowest_away = 0.0
        """Of the calls refused for Redis that were made while it was away."""
        self.away_since: float | None = None

    def start(self) -> None:
        """Begin calling."""
        self._stopping = False
        self._tasks = [asyncio.create_task(self._keep_calling(n)) for n in range(self._connections)]

    async def stop(self) -> None:
        """Make no more calls; wait for those under way and hang up."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _keep_calling(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        # Spread over the pause: a rate, and no bursts.
        next_at = loop.time() + self._pause * number / self._connections
        line: _Line | None = None
        while not self._stopping:
            await asyncio.sleep(next_at - loop.time())
            # Who was late is not faster afterwards.
            next_at = max(next_at, loop.time() - self._pause) + self._pause
            line = await self._call(number % self._places, line)
        if line:
            line.transport.abort()

    async def _call(self, place: int, line: _Line | None) -> _Line | None:
        request = next(self._requests)
        raw = write_request(
            request.target,
            (*request.headers, *self.headers),
            method=request.method,
            body=request.body,
        )
        began_at, away_since = time.monotonic(), self.away_since
        told = "gone"
        try:
            async with asyncio.timeout(HANG_SECONDS):
                if line is None or not line.is_open:
                    address = urlsplit(self._url_of(place))
                    _, line = await asyncio.get_running_loop().create_connection(
                        _Line, address.hostname, address.port
                    )
                answer = await line.ask(raw)
                told = self._judge(answer) if answer else ("cut" if line.has_begun else "gone")
        except TimeoutError:
            told = "hang"
        except OSError:
            line = None
        seconds = time.monotonic() - began_at
        self.told[told] += 1
        self.slowest[told] = max(self.slowest.get(told, 0.0), seconds)
        if told == "503 ledger_unavailable" and away_since and away_since == self.away_since:
            self.slowest_away = max(self.slowest_away, seconds)
        if told == "hang" and line:
            line.transport.abort()
        return line if line and line.is_open else None

    def note(self, end: End) -> None:
        """Count a call that was made elsewhere."""
        self.told[end.verdict] += 1
        self.slowest[end.verdict] = max(self.slowest.get(end.verdict, 0.0), end.seconds)
        if end.problem:
            self.problems.append(end.problem)

    def _judge(self, answer: tuple[bytes, bytes]) -> str:
        head, body = answer
        status = int(head[9:12])
        if status == 200:
            return "200"
        self._refusals += 1
        if self._refusals % _LOOK_AT_EACH == 1:
            lines = (line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:-2])
            headers = [(name, value) for name, value in lines]
            problem = find_fault_with(Answer("HTTP/1.1", status, "", headers, body, whole=True))
            if problem:
                self.problems.append(problem)
        reason = _REASON.search(body)
        if reason:
            return f"{status} {reason[1].decode()}"
        return f"{status} keepa" if b"tokensLeft" in body else f"{status} page"
