"""What of Keepa's answer reaches the caller: status, reason, end-to-end headers, every byte."""

import gzip
import zlib

import pytest
from support.callers.wire import Caller, write_request
from support.gateways.served import REAL_KEY
from support.keepa.scripted import answer, fields

OWN = {"x-request-id", "x-keepa-gateway-reserved", "ratelimit", "ratelimit-policy"}
# Of HTTP itself: how the body is framed, whether the connection goes on, when it was sent.
FRAMING = {"content-length", "transfer-encoding", "connection", "date"}


def end_to_end(answer):
    return [(n, v) for n, v in answer.headers if n.lower() not in OWN | FRAMING]


def streamed(*chunks, lines=(), status="200 OK"):
    """Return the bytes of an answer in chunks, as Keepa sends a large one."""
    head = [f"HTTP/1.1 {status}".encode(), *lines, b"Transfer-Encoding: chunked", b"", b""]
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"\r\n".join(head) + body + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "status",
    ["200 OK", "200 Fine by me", "201 Created", "203 ", "400 Bad Request", "402 REQUEST_REJECTED",
     "405 METHOD_NOT_ALLOWED", "500 Oops", "503 Service Unavailable", "599 Odd"],
)  # fmt: skip
async def test_status_and_reason_pass(serve, keepa, status):
    """Status and reason are Keepa's own, whatever they are."""
    gateway = await serve(keepa)
    keepa.reply = answer(status=status)
    got = await gateway.ask("/product?asin=B1")
    assert f"{got.status} {got.reason}" == status
    assert got.body == fields()


@pytest.mark.parametrize("framing", [answer, streamed])
async def test_end_to_end_headers_pass_with_their_duplicates(serve, keepa, framing):
    """End-to-end headers arrive in order and as often as Keepa sent them, and none is added."""
    gateway = await serve(keepa)
    lines = [
        b"Content-Type: application/json;charset=UTF-8",
        b"Set-Cookie: a=1; Path=/",
        b"Set-Cookie: b=2",
        b"Server: nginx/1.24",
        b"Cache-Control: no-store",
        b"Vary: Accept-Encoding",
        b"x-lower-Case: Kept",
        b"X-Empty: ",
    ]
    if framing is answer:
        keepa.reply = answer(fields(), *lines)
    else:
        keepa.reply = streamed(fields(), lines=lines)
    got = await gateway.ask("/product?asin=B1")
    assert end_to_end(got) == [tuple(line.decode().split(": ", 1)) for line in lines]
    assert got.body == fields()


@pytest.mark.parametrize("framing", ["whole", "streamed"])
async def test_no_header_is_made_up(serve, keepa, framing):
    """Where Keepa sent no Server and no Content-Type, the caller gets none."""
    gateway = await serve(keepa)
    keepa.reply = answer(fields()) if framing == "whole" else streamed(fields()[:9], fields()[9:])
    assert end_to_end(await gateway.ask("/product?asin=B1")) == []


async def test_date_is_keepas(serve, keepa):
    """A Date that Keepa sent is passed on, not replaced."""
    gateway = await serve(keepa)
    keepa.reply = answer(fields(), b"Date: Mon, 01 Jan 2024 00:00:00 GMT")
    got = await gateway.ask("/product?asin=B1")
    assert got.get("Date") == "Mon, 01 Jan 2024 00:00:00 GMT"


async def test_hop_by_hop_headers_stay_here(serve, keepa):
    """Hop-by-hop headers of Keepa's, and what its Connection names, do not reach the caller."""
    gateway = await serve(keepa)
    keepa.reply = answer(
        fields(),
        b"Connection: keep-alive, X-Private",
        b"Keep-Alive: timeout=7",
        b"Proxy-Authenticate: Basic",
        b"Trailer: X-Sum",
        b"Upgrade: h2c",
        b"X-Private: 1",
        b"X-Kept: 2",
    )
    assert end_to_end(await gateway.ask("/product?asin=B1")) == [("X-Kept", "2")]


async def test_gateways_own_headers_replace_those_of_the_same_name(serve, keepa):
    """A name that the gateway adds is there once, with the gateway's value."""
    gateway = await serve(keepa)
    keepa.reply = answer(fields(), b"X-Request-Id: keepas", b'RateLimit: "other";r=1')
    got = await gateway.ask("/product?asin=B1", "X-Request-Id: mine")
    assert got.get("X-Request-Id") == "mine"
    assert got.get("RateLimit").startswith('"keepa";r=')


ODD_BODIES = {
    "empty": b"",
    "one byte": b"x",
    "html": b"<html>\xff\xfe</html>",
    "json": fields(products=[]),
    "spaces": b" \r\n " + fields() + b"\r\n",
    "all bytes": bytes(range(256)) * 3,
}


@pytest.mark.parametrize("framing", ["whole", "streamed"])
@pytest.mark.parametrize("body", ODD_BODIES.values(), ids=ODD_BODIES.keys())
async def test_body_passes_byte_for_byte(serve, keepa, body, framing):
    """Any body arrives byte for byte, whether Keepa told its length or sent it in chunks."""
    gateway = await serve(keepa)
    pieces = [body[:1], body[1:]] if len(body) > 1 else [body]
    keepa.reply = answer(body) if framing == "whole" else streamed(*filter(None, pieces))
    got = await gateway.ask("/product?asin=B1")
    assert (got.body, got.whole) == (body, True)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
@pytest.mark.parametrize("framing", ["whole", "streamed"])
async def test_compressed_body_passes_compressed(serve, keepa, framing, pack):
    """A compressed body arrives with its Content-Encoding and the very same bytes."""
    gateway = await serve(keepa)
    packed = pack(fields(products=[{"asin": "B1"}] * 100))
    coding = b"gzip" if pack is gzip.compress else b"deflate"
    lines = [b"Content-Encoding: " + coding, b"Content-Type: application/json"]
    keepa.reply = answer(packed, *lines) if framing == "whole" else streamed(packed, lines=lines)
    got = await gateway.ask("/product?asin=B1", "Accept-Encoding: gzip")
    assert got.body == packed
    assert got.get("Content-Encoding") == coding.decode()


async def test_real_answers_pass_gzipped_or_not(gateway, simulator):
    """Callers who take gzip get Keepa's gzip, the others plain JSON."""
    for headers in [(), ("Accept-Encoding: gzip",), ("Accept-Encoding: zstd, gzip, deflate",)]:
        got = await gateway.ask("/product?domain=1&asin=B000000001&key=x", *headers)
        assert got.status == 200
        assert got.get("Content-Encoding") == ("gzip" if headers else None)
        assert got.json()["products"][0]["asin"] == "B000000001"


@pytest.mark.parametrize("code", [204, 304])
async def test_answers_that_have_no_body_pass(serve, keepa, code):
    """An answer that HTTP gives no body to ends at its head, and the connection goes on."""
    gateway = await serve(keepa)
    keepa.reply = f"HTTP/1.1 {code} Nothing\r\nX-Kept: 1\r\n\r\n".encode()
    async with Caller(gateway.url) as caller:
        await caller.send(write_request("/product?asin=B1"))
        got = await caller.receive()
        assert (got.status, got.get("X-Kept"), got.get("Transfer-Encoding")) == (code, "1", None)
        keepa.reply = answer()
        await caller.send(write_request("/product?asin=B1"))
        assert (await caller.receive()).status == 200


async def test_redirect_is_not_followed(serve, keepa):
    """A redirect of Keepa's is the caller's to follow."""
    gateway = await serve(keepa)
    keepa.reply = answer(b"", b"Location: https://keepa.com/elsewhere", status="302 Found")
    got = await gateway.ask("/product?asin=B1")
    assert (got.status, got.get("Location")) == (302, "https://keepa.com/elsewhere")
    assert len(keepa.requests) == 1


@pytest.mark.parametrize("key", [REAL_KEY, "a key with/odd&signs+%41"])
async def test_header_with_the_real_key_is_left_out(serve, keepa, key):
    """A header of Keepa's that repeats the real key, as a redirect does, never reaches a caller."""
    gateway = await serve(keepa, keepa_api_key=key)

    async def redirect(_, writer):
        target = keepa.requests[-1].split(b" ")[1]
        writer.write(answer(b"", b"Location: " + target, status="301 Moved Permanently"))
        await writer.drain()

    keepa.script = redirect
    got = await gateway.ask("/product?asin=B1&key=mine")
    sent_key = keepa.requests[-1].split(b" ")[1].partition(b"key=")[2]
    assert got.status == 301
    assert sent_key not in got.head


@pytest.mark.parametrize("key", ["a", "asin", "1", "json"])
async def test_key_that_is_a_common_word_spoils_no_answer(serve, keepa, key):
    """Where the key is so short that it is in every answer, answers stay as they are."""
    gateway = await serve(keepa, keepa_api_key=key)
    body = fields(products=[{"asin": "B1", "title": "Flight simulator"}])
    keepa.reply = answer(body)
    assert (await gateway.ask("/product?asin=B1")).body == body


async def test_header_bytes_that_are_no_utf8_pass(serve, keepa):
    """A header value of other bytes than UTF-8 reaches the caller as Keepa sent it."""
    gateway = await serve(keepa)
    keepa.reply = answer(fields(), b"X-Name: caf\xe9")
    got = await gateway.ask("/product?asin=B1")
    assert got.get("X-Name") == "caf\xe9"


async def test_interim_answers_of_keepas_are_not_the_answer(serve, keepa):
    """A 1xx of Keepa's is not taken for its answer."""
    gateway = await serve(keepa)
    keepa.reply = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer()
    got = await gateway.ask("/product?asin=B1")
    assert (got.status, got.body) == (200, fields())
