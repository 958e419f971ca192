"""Callers that cost little: raw connections, one request after the other on each."""

import asyncio
import itertools
import statistics
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_numbers = itertools.count()


@dataclass
class Run:
    """What one run saw; times in seconds."""

    seconds: float = 0.0
    answers: int = 0
    received: int = 0
    statuses: set[int] = field(default_factory=set)
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds

    @property
    def median_ms(self) -> float:
        return statistics.median(self.latencies) * 1000


class Caller(asyncio.Protocol):
    """One connection that repeats one request until the deadline."""

    def __init__(self, request: bytes, deadline: float, pause: float, run: Run) -> None:
        self.request, self.deadline, self.pause, self.run = request, deadline, pause, run
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.head = b""
        self.missing = 0
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.sent_at = time.perf_counter()
        # No two calls are alike: what is kept of one must not flatter the next.
        self.transport.write(self.request % next(_numbers))

    def data_received(self, data: bytes) -> None:
        self.run.received += len(data)
        if not self.missing:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            low = self.head[:end].lower()
            at = low.index(b"content-length:") + 15
            stop = low.find(b"\r", at)
            self.missing = int(low[at : stop if stop > 0 else end])
            self.run.statuses.add(int(low[9:12]))
            data, self.head = self.head[end + 4 :], b""
        self.missing -= len(data)
        if self.missing == 0:
            self.answered()

    def answered(self) -> None:
        now = time.perf_counter()
        self.run.answers += 1
        self.run.latencies.append(now - self.sent_at)
        if now >= self.deadline:
            self.transport.close()
        elif self.pause:
            asyncio.get_running_loop().call_later(self.pause, self.ask)
        else:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.missing or self.head:
            self.done.set_exception(exc or ConnectionError("cut"))
        else:
            self.done.set_result(None)


async def call(
    url: str, target: str, *, connections: int, seconds: float, pause: float = 0.0
) -> Run:
    """Keep that many connections busy for that long."""
    address = urlsplit(url)
    request = (
        f"GET {target} HTTP/1.1\r\nHost: {address.netloc}\r\nAccept-Encoding: gzip\r\n"
        "User-Agent: bench\r\nAccept: */*\r\nX-Request-Id: call-%d\r\n\r\n"
    ).encode()
    run = Run()
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    callers = [
        loop.create_connection(
            lambda: Caller(request, started + seconds, pause, run), address.hostname, address.port
        )
        for _ in range(connections)
    ]
    for _, protocol in await asyncio.gather(*callers):
        await protocol.done
    run.seconds = time.perf_counter() - started
    return run
