"""An upstream that answers with the bytes it is told to, and keeps those it was sent."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import orjson

FIELDS = {
    "timestamp": 1_795_347_000_000,
    "tokensLeft": 99,
    "refillIn": 30_000,
    "refillRate": 20,
    "tokenFlowReduction": 0.0,
    "tokensConsumed": 1,
    "processingTimeInMs": 1,
}

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def fields(**changes):
    """Return the JSON of an answer with token fields only."""
    return orjson.dumps(FIELDS | changes)


def answer(body=None, *lines, status="200 OK"):
    """Return the bytes of an answer: these header lines, besides Content-Length only."""
    body = fields() if body is None else body
    head = [f"HTTP/1.1 {status}".encode(), *lines, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*head, b"", b""]) + body


class ScriptedKeepa:
    """Keeps every request but `/token`'s as it came; answers those by `reply`, or by `script`."""

    def __init__(self):
        self.url = ""
        self.requests = []
        self.connections = 0
        self.token_calls = 0
        self.token = fields(tokensConsumed=0, tokensLeft=100)
        self.token_answers = True
        self.before_token: Callable[[], Awaitable[object]] | None = None
        self.reply = answer()
        self.script: Script | None = None
        self.server: asyncio.Server | None = None
        self._writers = set()

    def tell(self, **changes):
        """Answer with these token fields from now on, and `/token` by the same balance.

        A gateway that is told of a drift asks `/token` at once, and believes it.
        """
        self.reply = answer(fields(**changes))
        self.token = fields(**changes | {"tokensConsumed": 0})

    async def serve(self, reader, writer):
        self.connections += 1
        self._writers.add(writer)
        try:
            while request := await self._read(reader):
                if request.startswith(b"GET /token"):
                    self.token_calls += 1
                    if self.before_token:
                        await self.before_token()
                    if not self.token_answers:
                        break
                    writer.write(answer(self.token))
                else:
                    self.requests.append(request)
                    if self.script:
                        await self.script(reader, writer)
                        break
                    writer.write(self.reply)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def go_away(self):
        """Stop listening, and hang up on everybody."""
        self.server.close()
        for writer in list(self._writers):
            writer.close()
            await writer.wait_closed()

    async def _read(self, reader):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return b""
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                return head + await reader.readexactly(int(value))
        return head


@asynccontextmanager
async def scripted_keepa(tls: ssl.SSLContext | None = None):
    """Run one on a free port."""
    keepa = ScriptedKeepa()
    server = await asyncio.start_server(keepa.serve, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
    keepa.server = server
    port = server.sockets[0].getsockname()[1]
    keepa.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield keepa
    finally:
        await keepa.go_away()
