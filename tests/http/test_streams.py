"""Bodies of every size and pace, and the connections they come on."""

import asyncio
import hashlib

import pytest
from support.callers.wire import Caller, ask, write_request
from support.keepa.scripted import answer, fields

PRODUCT = "/product?domain=1&asin=B000000001&key=x"
MB = 1_000_000


@pytest.mark.parametrize("size", [0, 1, 32_767, 32_768, 32_769, 65_536, 262_144, 1_000_003])
@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
async def test_body_of_any_size_passes(serve, keepa, size, framing):
    """A body passes byte for byte whatever its size and framing, and ends properly."""
    gateway = await serve(keepa)
    body = (bytes(range(256)) * (size // 256 + 1))[:size]

    async def script(_, writer):
        if framing == "length":
            writer.write(answer(body))
        elif framing == "chunks":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, size, 50_000):
                piece = body[start : start + 50_000]
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        await writer.drain()

    keepa.script = script
    got = await gateway.ask(PRODUCT)
    assert got.whole
    assert hashlib.sha256(got.body).digest() == hashlib.sha256(body).digest()
    if framing == "length":
        assert got.get("Content-Length") == str(size)


async def test_slow_body_arrives_as_it_comes(serve, keepa):
    """What Keepa has sent reaches the caller before the rest of it comes."""
    gateway = await serve(keepa)
    go_on = asyncio.Event()
    body = fields(products=["x" * 100])

    async def script(_, writer):
        whole = answer(body)
        writer.write(whole[:-50])
        await go_on.wait()
        writer.write(whole[-50:])
        await writer.drain()

    keepa.script = script
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(PRODUCT))
        head = await caller.receive_head()
        assert head.get("Content-Length") == str(len(body))
        assert await caller.reader.readexactly(len(body) - 50) == body[:-50]
        go_on.set()
        assert await caller.reader.readexactly(50) == body[-50:]


@pytest.mark.parametrize("size", [10, 500_000])
async def test_http_1_0_caller_gets_no_chunks(gateway, size):
    """An HTTP/1.0 caller gets the body without chunks, its end by length or by the close."""
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(PRODUCT, [f"X-Sim-Bytes: {size}"], version="1.0"))
        got = await caller.receive()
        assert (got.status, got.get("Transfer-Encoding")) == (200, None)
        assert got.json()["products"][0]["asin"] == "B000000001"
        assert await caller.has_ended()


async def test_http_1_0_caller_who_is_cut_off_sees_a_reset(serve, keepa):
    """Where the close is the end, a body cut short must not close cleanly."""
    gateway = await serve(keepa)

    async def script(_, writer):
        writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n')
        await writer.drain()

    keepa.script = script
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(PRODUCT, version="1.0"))
        assert not (await caller.receive()).whole


@pytest.mark.parametrize(
    ("fault", "order", "size"),
    [("cut_body", "first", 0), ("cut_body", "first", 3 * MB), ("cut_body_late", "sorted", 3 * MB)],
)
async def test_cut_body_never_looks_whole(gateway, fault, order, size):
    """A body that Keepa cut short reaches the caller as an aborted connection."""
    got = await gateway.ask(
        PRODUCT, f"X-Sim-Fault: {fault}", f"X-Sim-Order: {order}", f"X-Sim-Bytes: {size}"
    )
    assert (got.status, got.whole) == (200, False)


async def test_connection_is_kept_for_the_next_call(gateway):
    """Call after call, refused ones too, comes on one connection."""
    async with Caller(gateway.url) as caller:
        for target, status in [
            (PRODUCT, 200), ("/a/b", 404), ("/bestsellers?key=x&category=1&domain=1", 200),
            ("/bestsellers?key=x&category=1&domain=1", 429), ("/token?key=x", 200),
            (PRODUCT, 200), ("/healthz", 200),
        ]:  # fmt: skip
            await caller.send(write_request(target))
            assert (await caller.receive()).status == status


async def test_caller_who_wants_to_close_is_closed(gateway):
    """`Connection: close` of a caller's ends its connection after the answer."""
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(PRODUCT, ["Connection: close"]))
        got = await caller.receive()
        assert (got.status, got.get("Connection")) == (200, "close")
        assert await caller.has_ended()


async def test_pipelined_calls_are_answered_in_order(gateway, simulator):
    """Requests sent ahead of their answers are answered one by one, in their order."""
    targets = [f"/product?domain=1&key=x&asin=B00000000{n}" for n in range(5)]
    requests = [write_request(t, [f"X-Request-Id: {n}"]) for n, t in enumerate(targets)]
    requests.insert(3, write_request("/query", ["X-Request-Id: q"], method="POST", body=b"{}"))
    requests.insert(5, write_request("/a/b", ["X-Request-Id: nowhere"]))
    async with Caller(gateway.url) as caller:
        await caller.send(b"".join(requests))
        got = [(await caller.receive()).get("X-Request-Id") for _ in requests]
    assert got == ["0", "1", "2", "q", "3", "nowhere", "4"]
    assert simulator.state()["calls"]["product"] == 5


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_offer_of_another_protocol_is_passed_over(gateway, protocol):
    """A caller that offers to upgrade (Java's HttpClient does) is answered in HTTP/1.1."""
    headers = ["Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AA"]
    async with Caller(gateway.url) as caller:
        for method, body in [("GET", b""), ("POST", b"domain=1&asin=B000000001"), ("GET", b"")]:
            await caller.send(write_request(PRODUCT, headers, method=method, body=body))
            got = await caller.receive()
            assert (got.status, got.get("Upgrade")) == (200, None)


async def test_bytes_that_trickle_in_are_one_request(gateway):
    """A request that comes byte by byte is answered as any other."""
    async with Caller(gateway.url) as caller:
        for byte in write_request("/product?domain=1&asin=B000000001"):
            await caller.send(bytes([byte]))
        assert (await caller.receive()).status == 200


async def test_many_calls_at_once_are_all_answered(serve, simulate):
    """Two hundred concurrent calls are answered each with its own answer."""
    simulator = await simulate(tokens=1000)
    gateway = await serve(simulator)

    async def call(number):
        got = await ask(gateway.url, f"/product?domain=1&asin=B{number:09}&key=x")
        return got.status, got.json()["products"][0]["asin"]

    got = await asyncio.gather(*(call(number) for number in range(200)))
    assert got == [(200, f"B{number:09}") for number in range(200)]
    assert (await gateway.at_rest())["remaining"] == 800
    assert simulator.state()["tokens_left"] == 800
