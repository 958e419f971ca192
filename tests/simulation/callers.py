"""Callers that behave like people: they burst, poll, wait, retry, hang up, read slowly, err."""

import asyncio
import gzip
import json
import random
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from simulation.story import MAX_WAIT_SECONDS, UPSTREAM_SECONDS, CallerPlan

if TYPE_CHECKING:
    from simulation.fleet import Fleet

# Waiting for an unknown balance, the last answers of a gateway that drains, the network.
SLACK_SECONDS = 10.0
_GIVE_UP_SECONDS = 150.0


class Answer(NamedTuple):
    """A whole answer; header names in lower case, the body as it is when unpacked."""

    status: int
    headers: dict[str, str]
    body: bytes


class Gone(Exception):
    """The connection ended before the answer did."""


class Line(asyncio.Protocol):
    """A caller's connection: one request at a time, in bytes."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.is_lost = False
        self._buffer = bytearray()
        self._reply: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._reply and not self._reply.done():
            self._reply.set_exception(Gone("cut in its answer" if self._buffer else "cut"))

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        self._reply = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._reply

    def _look(self) -> None:  # noqa: C901 - one step after the other
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or self._reply is None or self._reply.done():
            return
        first, *lines = buffer[:end].decode("latin-1").split("\r\n")
        status = int(first.split(" ", 2)[1])
        if status < 200:
            del buffer[: end + 4]
            self._look()
            return
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        at = end + 4
        if headers.get("transfer-encoding") == "chunked":
            body = bytearray()
            while True:
                line_end = buffer.find(b"\r\n", at)
                if line_end < 0:
                    return
                size = int(buffer[at:line_end], 16)
                if len(buffer) < line_end + 4 + size:
                    return
                body += buffer[line_end + 2 : line_end + 2 + size]
                at = line_end + 4 + size
                if not size:
                    break
        else:
            size = int(headers.get("content-length", 0))
            if len(buffer) < at + size:
                return
            body = buffer[at : at + size]
            at += size
        del buffer[:at]
        is_packed = headers.get("content-encoding") == "gzip"
        try:
            plain = gzip.decompress(body) if is_packed else bytes(body)
        except (OSError, EOFError, zlib.error):
            # Keepa's own, or cut in a way that its length did not tell.
            plain = b""
        self._reply.set_result(Answer(status, headers, plain))


class Call(NamedTuple):
    """One request, and what to hold its answer against."""

    target: str
    asins: tuple[str, ...] = ()
    headers: str = ""
    wait_seconds: float = 0.0
    method: str = "GET"
    body: bytes = b""
    is_wrong: bool = False


class Caller:
    """One caller."""

    def __init__(self, fleet: "Fleet", plan: CallerPlan) -> None:
        self.fleet, self.plan = fleet, plan
        self.chance = random.Random(f"{fleet.story.seed}-{plan.name}")
        self._lines: dict[str, Line] = {}
        self._count = 0

    async def run(self, until: float) -> None:
        """Call until then."""
        loop, chance = self.fleet.loop, self.chance
        await asyncio.sleep(chance.uniform(0, 3))
        act = getattr(self, f"_{self.plan.kind}")
        while loop.now < until:
            await asyncio.sleep(chance.expovariate(1 / self.plan.pause))
            if loop.now < until:
                await act()
        for line in self._lines.values():
            line.transport.close()
        self._lines.clear()

    # --- what each kind does ---
    async def _poller(self) -> None:
        await self.ask(self.product(1))

    async def _burst(self) -> None:
        calls = [self.product(self.chance.randint(1, 5)) for _ in range(self.chance.randint(3, 15))]
        await asyncio.gather(*(self.ask(call, keeps=False) for call in calls))

    async def _batch(self) -> None:
        await self.ask(self.product(self.chance.choice((20, 50, 100))))

    async def _finder(self) -> None:
        self._count += 1
        term = f"{self.plan.name}n{self._count}"
        target = self.chance.choice(
            (
                f"/search?domain=1&type=product&term={term}",
                f"/bestsellers?domain=1&category={self.chance.randrange(1, 10**9)}",
                f"/query?domain=1&selection=%7B%22perPage%22%3A50%2C%22title%22%3A%22{term}%22%7D",
                f"/category?domain=1&category={self.chance.randrange(1, 10**9)}&parents=0",
                f"/graphimage?domain=1&asin=B{self.chance.randrange(10**9):09d}",
                "/token?",
            )
        )
        await self.ask(Call(target, headers=self.latency()))

    async def _stock(self) -> None:
        """As Keepa's own clients: wait as long as the refusal says, then once more."""
        call = self.product(self.chance.randint(1, 10))
        answer = await self.ask(call)
        if answer and answer.status == 429:
            refill_in = json.loads(answer.body).get("refillIn", 0)
            await asyncio.sleep(min(refill_in, 60_000) / 1000)
            await self.ask(call)

    async def _waiter(self) -> None:
        seconds = self.chance.choice((2, 10, MAX_WAIT_SECONDS))
        call = self.product(self.chance.choice((1, 1, 5, 20)))
        headers = f"{call.headers}Prefer: wait={seconds}\r\n"
        await self.ask(call._replace(headers=headers, wait_seconds=seconds), keeps=False)

    async def _hasty(self) -> None:
        """Leave before the answer, or in it."""
        seconds = self.chance.choice((0.0, 0.003, 0.1, 0.4))
        half = self.chance.random() < 0.2
        await self.ask(self.product(3), leaves_after=seconds, half_closes=half, keeps=False)

    async def _slow(self) -> None:
        size = self.chance.randrange(10_000, 600_000)
        call = self.product(2)
        await self.ask(
            call._replace(headers=f"{call.headers}X-Sim-Bytes: {size}\r\n"),
            pauses=self.chance.uniform(0.5, 4), keeps=False,
        )  # fmt: skip

    async def _wrong(self) -> None:
        wrong = (
            Call("/no/such/path"),
            Call("/product?domain=1"),
            Call("/product", method="POST", body=b'{"asin": 1}'),
            Call("/product?domain=1&asin=B1", method="PUT"),
            Call("/ping"),
            Call("/product?domain=1&asin=" + "B" * 9000),
            Call("/x" * 50),
            Call("/newendpoint?domain=1"),
        )
        await self.ask(self.chance.choice(wrong)._replace(is_wrong=True), keeps=False)

    async def _looker(self) -> None:
        path = self.chance.choice(
            ("/status", "/readyz", "/metrics", "/usage", "/quote?path=product&domain=1&asin=B1")
        )
        await self.ask(Call(path))

    # --- calls ---
    def latency(self) -> str:
        ms = self.chance.choice((5, 30, 120, 400, 2500))
        return f"X-Sim-Latency-Ms: {ms}\r\n"

    def product(self, items: int) -> Call:
        asins = tuple(f"B{self.chance.randrange(10**9):09d}" for _ in range(items))
        headers = self.latency()
        if self.chance.random() < 0.3:
            headers += "Accept-Encoding: gzip\r\n"
        return Call(f"/product?domain=1&history=0&asin={','.join(asins)}", asins, headers)

    async def ask(
        self,
        call: Call,
        *,
        host: str = "",
        keeps: bool = True,
        leaves_after: float | None = None,
        half_closes: bool = False,
        pauses: float = 0.0,
    ) -> Answer | None:
        """Make one call, and hand what came of it to the judges; None: no answer."""
        fleet, loop = self.fleet, self.fleet.loop
        self._count += 1
        call_id = f"{self.plan.name}-{self._count}"
        host = host or self.chance.choice(fleet.gateways).node
        began_at = loop.now
        request = self._write(call, host, call_id)
        answer, ending = None, ""
        line = self._lines.pop(host, None)
        was_kept = line is not None and not line.is_lost and not line.transport.is_closing()
        try:
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                if line is None or not was_kept:
                    line = (await loop.create_connection(Line, host, 8080))[1]
                reply = line.send(request)
                if half_closes:
                    line.transport.write_eof()
                if leaves_after is not None and not half_closes:
                    await asyncio.wait({reply}, timeout=leaves_after)
                    line.transport.abort()
                if pauses:
                    line.transport.pause_reading()
                    await asyncio.sleep(pauses)
                    line.transport.resume_reading()
                answer = await reply
        except Gone as gone:
            ending = "left" if leaves_after is not None else str(gone)
        except TimeoutError:
            ending = "no answer"
        except OSError as error:
            ending = type(error).__name__
        if line is not None:
            if answer and keeps and answer.headers.get("connection") != "close":
                self._lines[host] = line
            else:
                line.transport.abort()
        bound = call.wait_seconds or fleet.default_wait_seconds
        fleet.judges.hear_answer(
            self.plan, call, call_id, host, began_at, answer, ending,
            bound=bound + UPSTREAM_SECONDS + SLACK_SECONDS + pauses,
        )  # fmt: skip
        return answer

    def _write(self, call: Call, host: str, call_id: str) -> bytes:
        head = (
            f"{call.method} {call.target} HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: {call_id}\r\n"
            f"X-Service-Name: {self.plan.service}\r\n{call.headers}"
        )
        if call.body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(call.body)}\r\n"
        return head.encode() + b"\r\n" + call.body
