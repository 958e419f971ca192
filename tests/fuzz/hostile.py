"""The requests that cost a server most for what they are: each an extreme of one kind.

Bodies of the kinds that are no genuine call go to `/token`, which is read and priced like any call,
and then answered without Keepa: the simulator would be busy with them for seconds.
"""

import gzip
import random
import zlib
from collections.abc import Callable

from fuzz.wire_noise import get, post, post_in_chunks

MEBIBYTE = 1024 * 1024
LARGEST = 16 * MEBIBYTE
_GZIP = b"Content-Encoding: gzip"
_HEADER_ROOM = 130_000


def _many_headers(count: int, size: int) -> bytes:
    lines = [b"X-%d: %s" % (number, b"y" * size) for number in range(count)]
    return get(b"/product?asin=B0MIN00001", *lines)


def _full_of(unit: bytes, size: int = LARGEST) -> bytes:
    return post(b"/token?a=1", unit * (size // len(unit)))


def _gzipped(plain: bytes, *, level: int = 1) -> bytes:
    return post(b"/token?a=1", gzip.compress(plain, level), _GZIP)


def _gzipped_in_flushes() -> bytes:
    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(b"a") + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(300_000)]
    return post(b"/token?a=1", b"".join([*pieces, packer.flush()]), _GZIP)


def _long_query(unit: bytes, path: bytes = b"/query?selection=") -> bytes:
    return get(path + unit * (_HEADER_ROOM // len(unit)))


HOSTILE: dict[str, Callable[[], bytes]] = {
    "pipelined own paths": lambda: get(b"/healthz") * 3000,
    "pipelined refusals": lambda: get(b"/product?offers=100&code-limit=10000&code=1") * 1000,
    "pipelined posts": lambda: post(b"/product", b"asin=" + b"B0MIN00001," * 90) * 300,
    "pipelined with many headers": lambda: get(b"/a/b", *[b"a: b"] * 60) * 700,
    "pipelined scrapes of /metrics": lambda: get(b"/metrics") * 200,
    "empty lines": lambda: b"\r\n" * 400_000 + get(b"/healthz"),
    "chunks of one byte": lambda: post_in_chunks(b"/token?a=1", *[b"x"] * 700_000),
    "a chunk extension of 1 MiB": lambda: (
        b"POST /token HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1;" + b"x" * MEBIBYTE + b"\r\nx\r\n0\r\n\r\n"
    ),
    "50 000 headers": lambda: _many_headers(50_000, 1),
    "110 headers of 1 KiB": lambda: _many_headers(110, 1100),
    "110 headers of 127 KiB": lambda: _many_headers(110, _HEADER_ROOM),
    "a long Accept-Encoding": lambda: get(
        b"/product?asin=B0MIN00001", b"Accept-Encoding: " + b"a," * 65_000
    ),
    "a long Connection": lambda: get(b"/product?asin=B0MIN00001", b"Connection: " + b"a," * 65_000),
    "a query of ampersands": lambda: _long_query(b"&", b"/product?"),
    "a query of keys": lambda: _long_query(b"&key=x", b"/product?"),
    "a query of nearly keys": lambda: _long_query(b"&k%65", b"/product?"),
    "a query of percent signs": lambda: _long_query(b"%"),
    "a query of opening brackets": lambda: _long_query(b"%5B"),
    "a query of empty arrays": lambda: _long_query(b"%5B%5D%2C"),
    "a query of UTF-8": lambda: _long_query("\u00e9".encode()),
    "a query of no UTF-8": lambda: _long_query(b"\xff"),
    "16 MiB of x": lambda: _full_of(b"x"),
    "16 MiB of ampersands": lambda: _full_of(b"&"),
    "16 MiB of blanks": lambda: _full_of(b" "),
    "16 MiB of keys": lambda: _full_of(b"&key=1"),
    "16 MiB of encoded keys": lambda: _full_of(b"&k%65y=1"),
    "16 MiB of nearly keys": lambda: _full_of(b"&k%6"),
    "16 MiB of %6": lambda: _full_of(b"%6"),
    "16 MiB of JSON": lambda: post(b"/deal", b"[" + b"{}," * (5 * MEBIBYTE)),
    "16 MiB that were gzipped": lambda: _gzipped(b"x" * LARGEST),
    "15 MiB of noise, gzipped": lambda: _gzipped(random.Random(1).randbytes(15 * MEBIBYTE)),
    "a gzip bomb": lambda: _gzipped(b"x" * 60 * MEBIBYTE, level=9),
    "gzip in 300 000 flushes": _gzipped_in_flushes,
    "a thousand nested arrays": lambda: post(b"/query", b"[" * 49_000),
    "many members": lambda: post(b"/query", b"{" + b'"":1,' * 49_000 + b'"":1}'),
    "long numbers": lambda: post(b"/query", b"[" + (b"1" * 4000 + b",") * 260 + b"1]"),
    "escapes": lambda: post(b"/query", b'{"a":"' + b"\\u1234" * 170_000 + b'"}'),
    "255 documents": lambda: post(
        b"/tracking?type=add", b"&".join([b"tracking=" + b"%5B" * 190] * 255)
    ),
    "a plain answer of 8 MB": lambda: get(b"/product?asin=B0MIN00001", b"X-Sim-Bytes: 8000000"),
    "a gzip answer of 8 MB": lambda: get(
        b"/product?asin=B0MIN00001", b"X-Sim-Bytes: 8000000", b"Accept-Encoding: gzip"
    ),
    "a gzip answer of 250 KB": lambda: get(
        b"/product?asin=B0MIN00001", b"X-Sim-Bytes: 250000", b"Accept-Encoding: gzip"
    ),
}
"""What each is, and how its bytes are made."""
