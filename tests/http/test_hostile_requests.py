"""Requests made to be misread: over raw sockets, in front of a scripted Keepa."""

import asyncio

import pytest
from support.callers.refusals import read_refusal
from support.callers.wire import Caller, write_request
from support.keepa.scripted import answer

H = b"Host: g\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"
TARGET = "/product?domain=1&asin=B000000001&key=x"


def post(headers, body=b"", version=b"1.1"):
    return b"POST /query?key=mine HTTP/" + version + b"\r\n" + headers + b"\r\n" + body


def get(headers=H, target=b"/product?asin=B1&key=mine", method=b"GET", version=b"HTTP/1.1"):
    return b"%s %s %s\r\n%s\r\n" % (method, target, version, headers)


def encoded_as(coding):
    return H + b"Transfer-Encoding:" + coding + b"\r\n"


def of_length(length):
    return H + b"Content-Length:" + length + b"\r\n"


# Behind each one stands another call, which nobody may see as one.
SMUGGLED = b"GET /product?asin=SMUGGLED&key=x HTTP/1.1\r\nHost: g\r\n\r\n"

DOUBTFUL_FRAMES = {
    "length and chunks": post(H + b"Content-Length: 5\r\n" + CHUNKED, END),
    "chunks and length": post(H + CHUNKED + b"Content-Length: 5\r\n", END),
    "two lengths": post(of_length(b" 2") + b"Content-Length: 3\r\n", b"{}"),
    "the same length twice": post(of_length(b" 2") + b"Content-Length: 2\r\n", b"{}"),
    "list of lengths": post(of_length(b" 2, 2"), b"{}"),
    "length with a plus": post(of_length(b" +2"), b"{}"),
    "negative length": post(of_length(b" -2"), b"{}"),
    "length with a space inside": post(of_length(b" 2 2"), b"{}"),
    "length in hex": post(of_length(b" 0x2"), b"{}"),
    "length with an underscore": post(of_length(b" 1_0"), b"{}"),
    "length as a float": post(of_length(b" 2.0"), b"{}"),
    "length in other digits": post(of_length(" ٢".encode()), b"{}"),
    "empty length": post(of_length(b" "), b"{}"),
    "endless length": post(of_length(b" " + b"9" * 30), b"{}"),
    "space before the length's colon": post(H + b"Content-Length : 2\r\n", b"{}"),
    "folded length": post(H + b"Content-Length:\r\n 2\r\n", b"{}"),
    "unknown coding": post(encoded_as(b" xchunked"), END),
    "chunked, but not last": post(encoded_as(b" chunked, identity"), END),
    "identity": post(encoded_as(b" identity"), END),
    "gzip under chunks": post(encoded_as(b" gzip, chunked"), END),
    "chunked twice in a list": post(encoded_as(b" chunked, chunked"), END),
    "chunked twice": post(H + CHUNKED + CHUNKED, END),
    "chunked after a vertical tab": post(encoded_as(b" \x0bchunked"), END),
    "chunked with a zero byte": post(encoded_as(b" chunked\x00"), END),
    "quoted chunked": post(encoded_as(b' "chunked"'), END),
    "chunked with a parameter": post(encoded_as(b" chunked;a=b"), END),
    "space before the coding's colon": post(H + b"Transfer-Encoding : chunked\r\n", END),
    "folded coding": post(encoded_as(b"\r\n chunked"), END),
    "chunks in HTTP/1.0": post(CHUNKED, END, b"1.0"),
    "negative chunk": post(H + CHUNKED, b"-2\r\n{}\r\n" + END),
    "chunk size with 0x": post(H + CHUNKED, b"0x2\r\n{}\r\n" + END),
    "endless chunk size": post(H + CHUNKED, b"f" * 17 + b"\r\n{}\r\n" + END),
    "chunk size that ends in a line feed": post(H + CHUNKED, b"2\n{}\r\n" + END),
    "line feed in a chunk extension": post(H + CHUNKED, b"2;a\nb\r\n{}\r\n" + END),
    "chunk longer than it says": post(H + CHUNKED, b"2\r\n{}xx" + END),
    "length in the trailers": post(H + CHUNKED, b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n"),
    "no chunk size": post(H + CHUNKED, b"\r\n{}\r\n" + END),
}

MALFORMED_HEADS = {
    "lines that end in line feeds": get().replace(b"\r\n", b"\n"),
    "a line that ends in a line feed": get(b"Host: g\nX-A: b\r\n"),
    "a line that ends in a carriage return": get(b"Host: g\rX-A: b\r\n"),
    "folded header": get(H + b"X-A: b\r\n c\r\n"),
    "space before the first header": get(b" " + H + H),
    "space before a colon": get(b"Host : g\r\n"),
    "zero byte in a name": get(H + b"X\x00A: b\r\n"),
    "zero byte in a value": get(H + b"X-A: a\x00b\r\n"),
    "control character in a value": get(H + b"X-A: a\x07b\r\n"),
    "carriage return in a request id": get(H + b"X-Request-Id: a\rSet-Cookie: b\r\n"),
    "line feed in a service name": get(H + b"X-Service-Name: a\nSet-Cookie: b\r\n"),
    "header without a name": get(H + b": b\r\n"),
    "header without a colon": get(H + b"X-A\r\n"),
    "no host": get(b""),
    "two hosts": get(H + H),
    "more headers than a caller has": get(H + b"".join(b"X-%d: y\r\n" % n for n in range(10_000))),
    "no version": b"GET /product?asin=B1&key=mine\r\n\r\n",
    "HTTP/0.9": get(version=b"HTTP/0.9"),
    "HTTP/1.2": get(version=b"HTTP/1.2"),
    "HTTP/2.0": get(version=b"HTTP/2.0"),
    "HTTP/9.9": get(version=b"HTTP/9.9"),
    "negative version": get(version=b"HTTP/1.-1"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "method in lower case": get(method=b"get"),
    "target without a slash": get(target=b"product"),
    "authority as target": get(target=b"api.keepa.com:443"),
    "star as target": get(target=b"*"),
    "address that does not end": get(target=b"http://[::1/product"),
    "zero byte in the target": get(target=b"/product?asin=\x00&key=mine"),
    "tab in the target": get(target=b"/product?asin=a\tb&key=mine"),
    "space in the target": get(target=b"/product?asin=a b&key=mine"),
    "bytes that are no UTF-8": get(target=b"/product?asin=\xff\xfe&key=mine"),
    "bytes beyond ASCII": get(target="/product?asin=é&key=mine".encode()),
    "old websocket": get(H + b"Sec-WebSocket-Key1: x\r\n"),
}


def many(count, size):
    return H + b"".join(b"X-%d: %s\r\n" % (number, b"y" * size) for number in range(count))


TOO_LARGE_HEADS = {
    "long header": get(many(1, 1_000_000)),
    "long header name": get(H + b"y" * 1_000_000 + b": x\r\n"),
    "many long headers": get(many(100, 9000)),
    "headers of more than 64 KiB": get(many(75, 900)),
    "URL and headers": get(many(75, 900), b"/product?" + b"x" * 9000),
}

NOT_KEEPAS = {
    "absolute form of another protocol": (get(target=b"ftp://x/product?asin=B1&key=mine"), 404),
    "absolute form of two words": (get(target=b"http://x/a/product?asin=B1&key=mine"), 404),
    "absolute form without a path": (get(target=b"http://api.keepa.com?key=mine"), 404),
    "authority form": (get(target=b"api.keepa.com:443", method=b"CONNECT"), 405),
    "tunnel to a path": (get(target=b"/product", method=b"CONNECT"), None),
    "trace": (get(method=b"TRACE"), 405),
    "options": (get(target=b"*", method=b"OPTIONS"), 404),
    "dot segments": (get(target=b"/../product?key=mine"), 404),
    "dot segments after": (get(target=b"/product/..?key=mine"), 404),
    "encoded dot segments": (get(target=b"/%2e%2e/product?key=mine"), 404),
    "encoded slash": (get(target=b"/..%2fproduct?key=mine"), 404),
    "two slashes": (get(target=b"/product//?key=mine"), 404),
    "another's slashes": (get(target=b"//evil.example/product?key=mine"), 404),
    "backslash": (get(target=b"/\\evil.example?key=mine"), 404),
    "user in the path": (get(target=b"/@evil.example?key=mine"), 404),
    "encoded word": (get(target=b"/%70roduct?key=mine"), 404),
    "path parameter": (get(target=b"/product;a=b?key=mine"), 404),
    "fragment": (get(target=b"/product?asin=B1&key=mine#x"), 404),
}


async def check_next_call(gateway, keepa):
    """The next call, on a fresh connection, is served as if nothing had been."""
    assert (await gateway.ask(TARGET)).status == 200
    assert len(keepa.requests) == 1
    assert (await gateway.at_rest())["remaining"] == 99


def check_output(capsys):
    """Nothing of a request is logged, and nothing surprised the gateway."""
    output = "".join(capsys.readouterr())
    assert "Traceback" not in output
    assert "unhandled" not in output
    assert "mine" not in output


@pytest.fixture
async def ready(serve, keepa):
    gateway = await serve(keepa)
    await gateway.until_ready()
    return gateway


@pytest.mark.parametrize("raw", DOUBTFUL_FRAMES.values(), ids=DOUBTFUL_FRAMES.keys())
async def test_request_whose_end_is_in_doubt(ready, keepa, capsys, raw):
    """A body that two servers might end at different places: a 400, closed; nothing is sent on."""
    async with Caller(ready.url) as caller:
        await caller.send(raw + SMUGGLED)
        got = await caller.receive()
        read_refusal(got, 400, "bad_request")
        assert got.get("Connection") == "close"
        assert await caller.has_ended()
    assert keepa.requests == []
    check_output(capsys)
    await check_next_call(ready, keepa)


@pytest.mark.parametrize("raw", MALFORMED_HEADS.values(), ids=MALFORMED_HEADS.keys())
async def test_request_that_is_malformed(ready, keepa, capsys, raw):
    """A malformed head: one 400 that repeats nothing of it, closed; nothing is sent on."""
    async with Caller(ready.url) as caller:
        await caller.send(raw + SMUGGLED)
        got = await caller.receive()
        read_refusal(got, 400, "bad_request")
        assert (got.get("Connection"), got.get("Set-Cookie")) == ("close", None)
        assert b"mine" not in got.head + got.plain
        assert await caller.has_ended()
    assert keepa.requests == []
    check_output(capsys)
    await check_next_call(ready, keepa)


@pytest.mark.parametrize("raw", TOO_LARGE_HEADS.values(), ids=TOO_LARGE_HEADS.keys())
async def test_headers_beyond_64_kib_are_too_large(ready, keepa, capsys, raw):
    """More than 64 KiB of headers, in one or in many: 413, though the caller is still sending."""
    async with Caller(ready.url) as caller:
        await caller.send(raw)
        got = await caller.receive()
        told = read_refusal(got, 413, "too_large")
        assert "64 KiB" in told["error"]["message"]
        assert await caller.has_ended()
    assert keepa.requests == []
    check_output(capsys)
    await check_next_call(ready, keepa)


async def test_headers_that_drip_are_bounded_too(ready, keepa):
    """Headers in pieces, each within bounds, are a 413 once they are too many bytes."""
    async with Caller(ready.url) as caller:
        await caller.send(b"GET /product HTTP/1.1\r\n" + H)
        sending = asyncio.create_task(
            caller.send(*(b"X-%d: %s\r\n" % (n, b"y" * 30_000) for n in range(100)))
        )
        read_refusal(await caller.receive(), 413, "too_large")
        await asyncio.gather(sending, return_exceptions=True)
    await check_next_call(ready, keepa)


@pytest.mark.parametrize(("raw", "status"), NOT_KEEPAS.values(), ids=NOT_KEEPAS.keys())
async def test_request_that_is_not_keepas(ready, keepa, capsys, raw, status):
    """Another form of target, another path, another method: refused in the one shape."""
    async with Caller(ready.url) as caller:
        await caller.send(raw)
        got = await caller.receive()
        told = got.json()
        read_refusal(got, status or got.status, told["reason"])
        assert got.status in {404, 405}
        if raw.startswith(b"CONNECT"):
            # Who thinks that a tunnel is open sends what must not be taken for calls.
            assert got.get("Connection") == "close"
            assert await caller.has_ended()
    assert keepa.requests == []
    check_output(capsys)
    await check_next_call(ready, keepa)


HARMLESS = {
    "tab before the coding": (post(encoded_as(b"\tchunked"), b"2\r\n{}\r\n" + END), b"{}"),
    "coding in capitals": (post(encoded_as(b" CHUNKED"), b"2\r\n{}\r\n" + END), b"{}"),
    "chunk extension": (post(H + CHUNKED, b"2;a=b\r\n{}\r\n" + END), b"{}"),
    "trailers": (post(H + CHUNKED, b"2\r\n{}\r\n0\r\nX-A: b\r\n\r\n"), b"{}"),
    "chunk size with zeros": (post(H + CHUNKED, b"0002\r\n{}\r\n" + END), b"{}"),
    "length with zeros": (post(of_length(b" 002"), b"{}"), b"{}"),
    "length between spaces": (post(of_length(b"   2  "), b"{}"), b"{}"),
    "body of a GET": (get(of_length(b" 2")) + b"{}", b"{}"),
    "percents that encode nothing": (get(target=b"/product?asin=%ZZ%2&key=mine"), b""),
    "encoded zero byte": (get(target=b"/product?asin=%00&key=mine"), b""),
    "encoded line end": (get(target=b"/product?asin=%0d%0aX-A:b&key=mine"), b""),
    "empty lines before": (b"\r\n\r\n" + get(), b""),
    "expectation of nonsense": (get(H + b"Expect: nonsense\r\n"), b""),
    "h2c": (
        get(
            H + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
        ),
        b"",
    ),
    "websocket": (get(H + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), b""),
    "connection names what matters": (
        get(H + b"Connection: close, Content-Length, Host, X-Request-Id\r\n"),
        b"",
    ),
}


@pytest.mark.parametrize(("raw", "body"), HARMLESS.values(), ids=HARMLESS.keys())
async def test_odd_request_is_sent_on_once_and_plainly(ready, keepa, raw, body):
    """What is odd but clear reaches Keepa once, with a framing of the gateway's own."""
    async with Caller(ready.url) as caller:
        await caller.send(raw)
        assert (await caller.receive()).status == 200
    (sent,) = keepa.requests
    head, _, came = sent.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    names = [line.partition(b":")[0].lower() for line in lines[1:]]
    assert came == body
    assert lines[0].endswith(b" HTTP/1.1")
    assert names.count(b"host") == 1
    assert (b"Content-Length: %d" % len(body) in lines) is bool(body)
    assert not {b"transfer-encoding", b"upgrade", b"expect", b"connection", b"x-a"} & set(names)
    await ready.at_rest()


async def test_two_calls_in_one_packet_are_two_calls(ready, keepa):
    """A body's end is where its length says: what follows is the next call, priced by itself."""
    async with Caller(ready.url) as caller:
        await caller.send(post(of_length(b" 2"), b"{}") + SMUGGLED)
        for _ in range(2):
            assert (await caller.receive()).status == 200
    assert len(keepa.requests) == 2
    await ready.at_rest()


async def test_request_inside_an_upgrade_is_a_call_of_its_own(ready, keepa):
    """What follows a refused upgrade is answered as a call, once."""
    upgrade = get(H + b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    async with Caller(ready.url) as caller:
        await caller.send(upgrade + SMUGGLED)
        for _ in range(2):
            assert (await caller.receive()).status == 200
    assert len(keepa.requests) == 2


async def test_service_names_are_bounded(ready, keepa):
    """However many names callers give themselves, tallies and labels stay few and plain."""
    keepa.reply = answer()
    async with Caller(ready.url) as caller:
        for number in range(120):
            for name in (f"name-{number}", f"NAME {number}", f"x{'y' * number}", '"}\\'):
                await caller.send(write_request("/a/b", [f"X-Service-Name: {name}"]))
                await caller.receive()
                await caller.send(write_request("/token", [f"X-Service-Name: {name}"]))
                await caller.receive()
    page = (await ready.ask("/metrics")).plain.decode()
    services = {part.partition('"')[0] for part in page.split('service="')[1:]}
    assert len(services) <= 53
    assert all(name.replace("-", "").isalnum() for name in services)


async def test_endpoints_are_bounded(ready, keepa):
    """However many words callers make up, labels of endpoints stay few."""
    async with Caller(ready.url) as caller:
        for number in range(200):
            await caller.send(write_request(f"/word{number}?key=x"))
            await caller.receive()
    page = (await ready.ask("/metrics")).plain.decode()
    endpoints = {part.partition('"')[0] for part in page.split('endpoint="')[1:]}
    assert len(endpoints) < 30
