"""Keepa, or what stands before it, repeats our URL: no byte of an answer shows the real key."""

import gzip
import random
import zlib
from urllib.parse import quote

import pytest
from support.callers.wire import Caller, write_request
from support.gateways.served import REAL_KEY
from support.keepa.scripted import answer, fields

TARGET = "/product?asin=B1"
KEY = REAL_KEY.encode()
STARS = b"*" * len(KEY)
ODD_KEY = 'a key with/odd&signs+%41"x'
URL = b"https://api.keepa.com/product?asin=B1&key="
PAGE = b"<html>No such page: %s%s, sorry</html>" % (URL, KEY)
NOISE = random.Random(7).randbytes(300_000)
# Text that packs to about half.
LONG = NOISE.hex().encode()

PACKERS = {
    "plain": (bytes, []),
    "gzip": (gzip.compress, [b"Content-Encoding: gzip"]),
    "deflate": (zlib.compress, [b"Content-Encoding: deflate"]),
}
UNPACK = {"plain": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}
STATUSES = ["200 OK", "404 Not Found", "500 Internal Server Error"]


def in_chunks(body, *lines, status="200 OK", size=40_000, trailer=b""):
    """Return the bytes of an answer in chunks."""
    head = [f"HTTP/1.1 {status}".encode(), *lines, b"Transfer-Encoding: chunked", b"", b""]
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"\r\n".join(head) + framed + b"0\r\n" + trailer + b"\r\n"


async def ask_raw(gateway):
    """Return the answer, and every byte that came, also of one that was cut."""
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(TARGET, ["Accept-Encoding: gzip", "Connection: close"]))
        got = await caller.receive()
        return got, got.head + got.body


def shown_text(packing, raw_body):
    """Return what a caller can read of a body, however little of it came."""
    if packing == "plain":
        return raw_body
    return zlib.decompressobj(wbits=31 if packing == "gzip" else 15).decompress(raw_body)


@pytest.mark.parametrize("framing", [answer, in_chunks])
@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("status", STATUSES)
async def test_a_small_answer_has_it_starred_out(serve, keepa, log, status, packing, framing):
    """Page or JSON, of any status, packed or not, in one piece or in chunks: the rest is kept."""
    gateway = await serve(keepa)
    pack, lines = PACKERS[packing]
    body = fields()[:-1] + b',"error":{"message":"%s%s"}}' % (URL, KEY)
    framed = {"size": 30} if framing is in_chunks else {}
    keepa.reply = framing(pack(body), *lines, status=status, **framed)
    got, raw = await ask_raw(gateway)
    assert (got.status, got.whole) == (int(status[:3]), True)
    assert UNPACK[packing](got.body) == body.replace(KEY, STARS)
    assert KEY not in raw
    assert [event["where"] for event in log if event["event"] == "real_key_in_answer"] == ["body"]
    assert (await gateway.at_rest())["remaining"] == 99


@pytest.mark.parametrize("place", ["start", "middle", "end"])
@pytest.mark.parametrize("status", STATUSES)
async def test_a_large_plain_answer_has_it_starred_out(serve, keepa, status, place):
    """Above 32 KiB too, and wherever the chunks are cut."""
    gateway = await serve(keepa)
    half = len(LONG) // 2
    parts = {"start": (b"", LONG), "middle": (LONG[:half], LONG[half:]), "end": (LONG, b"")}[place]
    body = PAGE.join(parts)
    assert KEY in body
    # Chunk borders inside of the key.
    at = body.index(KEY)
    size = at // max(1, at // 50_000) + 20 if at > 1000 else at + 20
    keepa.reply = in_chunks(body, status=status, size=size)
    got, _ = await ask_raw(gateway)
    assert (got.status, got.whole) == (int(status[:3]), True)
    assert got.body == body.replace(KEY, STARS)


@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("packing", ["gzip", "deflate"])
@pytest.mark.parametrize("status", STATUSES)
async def test_a_large_packed_answer_ends_before_it(serve, keepa, log, status, packing, place):
    """What cannot be changed on its way is cut before it shows the key, and the log says so."""
    gateway = await serve(keepa, upstream_retries=3)
    pack, lines = PACKERS[packing]
    text = PAGE + LONG + fields() if place == "start" else LONG + LONG + PAGE
    keepa.reply = answer(pack(text), *lines, status=status)
    got, raw = await ask_raw(gateway)
    assert not got.whole or got.status == 502
    if got.status == 502:
        assert got.json()["reason"] == "upstream_unreachable"
    else:
        assert KEY not in shown_text(packing, got.body)
    assert KEY not in raw
    outcomes = [event["outcome"] for event in log if event["event"] == "real_key_in_answer"]
    assert outcomes == ["cut"]
    # It would repeat it again.
    assert len(keepa.requests) == 1


async def test_a_packed_answer_without_it_passes_byte_for_byte(serve, keepa):
    """Whatever looks like the key's beginning, at whatever border, changes nothing."""
    gateway = await serve(keepa)
    text = b"".join(LONG[n * 997 : (n + 1) * 997] + KEY[: n % len(KEY)] for n in range(500))
    body = gzip.compress(text + fields())
    keepa.reply = in_chunks(body, b"Content-Encoding: gzip", size=1_009)
    got, _ = await ask_raw(gateway)
    assert (got.body, got.whole) == (body, True)
    keepa.reply = in_chunks(text, size=1_009)
    got, _ = await ask_raw(gateway)
    assert (got.body, got.whole) == (text, True)


SPELLINGS = {
    "url": lambda key: quote(key, safe=""),
    "every byte": lambda key: "".join(f"%{byte:02x}" for byte in key.encode()),
    "json": lambda key: "".join(f"\\u{ord(letter):04x}" for letter in key),
}


@pytest.mark.parametrize("key", [REAL_KEY, ODD_KEY])
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("large", [False, True])
async def test_no_spelling_passes(serve, keepa, key, spelling, large):
    """Percent-encoded or escaped as in JSON, in small answers and in large ones."""
    gateway = await serve(keepa, keepa_api_key=key)
    spelt = SPELLINGS[spelling](key).encode()
    body = LONG * large + b'{"url":"%s%s"}' % (URL, spelt)
    keepa.reply = in_chunks(body, size=33_333)
    got, _ = await ask_raw(gateway)
    assert got.body == body.replace(spelt, b"*" * len(spelt))


@pytest.mark.parametrize("large", [False, True])
async def test_a_false_label_hides_nothing(serve, keepa, large):
    """A plain page that is labelled as gzip is as readable as any."""
    gateway = await serve(keepa)
    body = LONG * large + PAGE
    keepa.reply = answer(body, b"Content-Encoding: gzip", status="404 Not Found")
    _, raw = await ask_raw(gateway)
    assert KEY not in raw


@pytest.mark.parametrize("coding", [b"br", b"gzip, gzip", b"zstd"])
@pytest.mark.parametrize("large", [False, True])
async def test_what_nobody_can_read_does_not_pass(serve, keepa, log, coding, large):
    """A coding that was never asked for might hide it: 502, and the call is in doubt."""
    gateway = await serve(keepa, upstream_retries=3)
    keepa.reply = answer(LONG * large + PAGE, b"Content-Encoding: " + coding)
    got, raw = await ask_raw(gateway)
    assert (got.status, got.json()["reason"]) == (502, "upstream_unreachable")
    assert KEY not in raw
    assert "answer_not_passed" in [event["event"] for event in log]
    assert len(keepa.requests) == 1
    await gateway.at_rest_but(1)


@pytest.mark.parametrize("status", ["200", "404", "500"])
async def test_the_reason_phrase_does_not_show_it(serve, keepa, log, status):
    """In its place is the usual phrase."""
    gateway = await serve(keepa)
    keepa.reply = answer(status=f"{status} No such page: {TARGET}&key={REAL_KEY}")
    got, raw = await ask_raw(gateway)
    assert got.status == int(status)
    assert got.reason in {"OK", "Not Found", "Internal Server Error"}
    assert KEY not in raw
    assert [event["where"] for event in log if event["event"] == "real_key_in_answer"] == ["reason"]


@pytest.mark.parametrize(
    "line", [b"Location: %s%s" % (URL, KEY), b"X-%s: 1" % KEY, b"Link: <%s%s>" % (URL, KEY)]
)
async def test_no_header_shows_it(serve, keepa, log, line):
    """Neither a value nor a name: such a header is left out, all others pass."""
    gateway = await serve(keepa)
    keepa.reply = answer(fields(), b"X-Before: 1", line, b"X-After: 2")
    got, raw = await ask_raw(gateway)
    assert (got.get("X-Before"), got.get("X-After"), got.body) == ("1", "2", fields())
    assert KEY not in raw
    where = [event["where"] for event in log if event["event"] == "real_key_in_answer"]
    assert where == ["headers"]


async def test_neither_trailers_nor_chunk_extensions_show_it(serve, keepa):
    """What frames a chunked body is the gateway's own on the caller's side."""
    gateway = await serve(keepa)
    body = in_chunks(fields(), trailer=b"X-Url: %s%s\r\n" % (URL, KEY))
    keepa.reply = body.replace(b"\r\n{", b";url=%s\r\n{" % KEY)
    got, raw = await ask_raw(gateway)
    assert (got.body, got.whole) == (fields(), True)
    assert KEY not in raw
