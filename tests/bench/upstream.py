"""A stand-in for Keepa that costs next to nothing, so that the proxies' own cost shows.

It counts tokens and answers in Keepa's shape, but knows no rules: that is the simulator's work.
`/product?answer=first|last` streams about 20 MB of gzip with the token fields first or last.
"""

import asyncio
import random
import sys
import time
import zlib
from typing import ClassVar

RATE = 1_000_000
TOKENS = 30 * RATE
WIRE_BYTES = 20 * 1024 * 1024
_FIELDS = (
    '"timestamp":1795347000000,"tokensLeft":%d,"refillIn":%d,"refillRate":1000000,'
    '"tokenFlowReduction":0.0,"tokensConsumed":%d,"processingTimeInMs":3'
)


def make_large(order: str) -> bytes:
    """Return a gzip body of WIRE_BYTES or a little more: price histories, as Keepa's are."""
    rng = random.Random(1)
    fields = (_FIELDS % (TOKENS, 30_000, 1)).encode()
    packer = zlib.compressobj(6, wbits=31)
    pieces = [packer.compress(b"{" + fields + b"," if order == "first" else b"{")]
    pieces.append(packer.compress(b'"products":['))
    minute, size, number = 5_000_000, 0, 0
    while size < WIRE_BYTES:
        history = []
        for _ in range(2_000):
            minute += rng.randrange(60, 5_000)
            history.append(f"{minute},{rng.randrange(-1, 99_999)}")
        product = (
            f'{"," if number else ""}{{"asin":"B{number:09d}","title":"A \\"quoted\\" title",'
            f'"tokensLeft":1,"csv":[[{",".join(history)}]]}}'
        )
        piece = packer.compress(product.encode())
        size += len(piece)
        pieces.append(piece)
        number += 1
    pieces.append(packer.compress(b"]}" if order == "first" else b"]," + fields + b"}"))
    pieces.append(packer.flush())
    return b"".join(pieces)


class Answering(asyncio.Protocol):
    """One connection; requests are GETs without bodies."""

    consumed = 0
    large: ClassVar[dict[bytes, bytes]] = {}

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head, self.buffer = self.buffer[:end], self.buffer[end + 4 :]
            self.answer(head)

    def answer(self, head: bytes) -> None:
        for order, body in self.large.items():
            if b"answer=" + order in head:
                self.send(body, b"Content-Encoding: gzip\r\n")
                return
        cost = 0 if head.startswith(b"GET /token") else 1
        Answering.consumed += cost
        refill_in = 60_000 - int(time.time() * 1000) % 60_000
        fields = _FIELDS % (TOKENS - Answering.consumed, refill_in, cost)
        self.send(b'{%s,"products":[{"asin":"B000000001","csv":[[1,2,3]]}]}' % fields.encode())

    def send(self, body: bytes, header: bytes = b"") -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=utf-8\r\n"
            + header
            + b"Content-Length: %d\r\n\r\n" % len(body)
            + body
        )


async def main() -> None:
    Answering.large = {order.encode(): make_large(order) for order in ("first", "last")}
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
