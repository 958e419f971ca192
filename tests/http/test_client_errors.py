"""Requests that may never be made like this: 400, 401, 404, 405, 408, 413, 414, 415."""

import asyncio
import gzip

import pytest
from support.callers.refusals import read_refusal
from support.callers.wire import Caller, write_request

from gateway.call import intake

NO_CALLS = {"token": 1}


@pytest.mark.parametrize(
    "target",
    [
        "/", "//", "/product//", "/a/b", "/product/x", "/./product", "/../product",
        "/%70roduct", "/product%2f", "/product%00", "/prod.uct", "/prod~uct", "/product;x=1",
        "/healthz/", "/healthz/x", "/METRICS", "/status/", "/Status",
        "/quote", "/quote/", "/" + "x" * 65, "http://127.0.0.1", "https://api.keepa.com/a/b",
        "//a/b", "/product#part", "/product?a#b",
        "/sim/state", "/%2e%2e/product", "/\\product", "/product:80",
    ],
)  # fmt: skip
async def test_path_that_is_not_one_plain_word_goes_nowhere(gateway, simulator, target):
    """A path that is not one plain word is a 404 in the one shape, and reaches nobody."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    read_refusal(await gateway.ask(target), 404, "not_found")
    assert simulator.state()["calls"] == NO_CALLS


@pytest.mark.parametrize("target", ["*", "product", "?key=a", "127.0.0.1:80", "http:///product"])
async def test_target_of_another_form_goes_nowhere(gateway, simulator, target):
    """A target that is no path is refused in the one shape."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    got = await gateway.ask(target)
    assert got.status in {400, 404}
    read_refusal(got, got.status, got.json()["reason"])
    assert simulator.state()["calls"] == NO_CALLS


@pytest.mark.parametrize(("method", "target"), [("OPTIONS", "*"), ("CONNECT", "127.0.0.1:80")])
async def test_targets_of_other_methods_go_nowhere(gateway, simulator, method, target):
    """`OPTIONS *` and CONNECT are refused in the one shape."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    got = await gateway.ask(target, method=method)
    assert got.status in {404, 405}
    read_refusal(got, got.status, got.json()["reason"])
    assert simulator.state()["calls"] == NO_CALLS


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_method_that_is_not_keepas(gateway, simulator, method):
    """A method other than GET and POST is a 405 that names those, and reaches nobody."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    got = await gateway.ask("/product?key=a&asin=B1", method=method)
    read_refusal(got, 405, "method_not_allowed")
    assert got.get("Allow") == "GET, POST"
    assert simulator.state()["calls"] == NO_CALLS


async def test_method_nobody_knows(gateway):
    """A method that HTTP does not know cannot be told from garbage: 400."""
    read_refusal(await gateway.ask("/product?key=a", method="BREW"), 400, "bad_request")


async def test_head_of_a_call_is_refused_without_a_body(gateway):
    """HEAD is a 405 whose answer has a head only, and the connection goes on."""
    async with Caller(gateway.url) as caller:
        await caller.send(write_request("/product?key=a&asin=B1", method="HEAD"))
        assert (await caller.receive(to="HEAD")).status == 405
        await caller.send(write_request("/healthz"))
        assert (await caller.receive()).status == 200


@pytest.mark.parametrize("extra", [1, 100, 7_000, 9_000, 60_000, 1_000_000])
async def test_url_beyond_128_kib_is_too_large(gateway, simulator, extra):
    """A target longer than 128 KiB is a 414, however much longer."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    start = "/product?key=a&asin=B1&x="
    target = start + "y" * (128 * 1024 - len(start) + extra)
    read_refusal(await gateway.ask(target), 414, "too_large")
    assert simulator.state()["calls"] == NO_CALLS


async def test_body_beyond_16_mib_is_refused_before_it_comes(gateway, simulator):
    """A body that announces more than 16 MiB is a 413 at once, and nobody waits for it."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    async with Caller(gateway.url) as caller:
        length = 16 * 1024 * 1024 + 1
        await caller.send(
            b"POST /query?key=a HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n{" % length
        )
        read_refusal(await caller.receive(), 413, "too_large")
    assert simulator.state()["calls"] == NO_CALLS


async def test_chunked_body_beyond_16_mib_is_refused(gateway, simulator):
    """A body without a length is a 413 once more than 16 MiB of it came."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    async with Caller(gateway.url) as caller:
        await caller.send(
            b"POST /query?key=a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        sending = asyncio.create_task(caller.send(*[chunk] * 17, b"0\r\n\r\n"))
        read_refusal(await caller.receive(), 413, "too_large")
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert simulator.state()["calls"] == NO_CALLS


async def test_body_that_inflates_beyond_16_mib_is_refused(gateway, simulator):
    """A gzip bomb is a 413."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    got = await gateway.ask(
        "/query?key=a",
        "Content-Encoding: gzip",
        method="POST",
        body=gzip.compress(b" " * (16 * 1024 * 1024 + 1)),
    )
    read_refusal(got, 413, "too_large")
    assert simulator.state()["calls"] == NO_CALLS


@pytest.mark.parametrize(
    ("codings", "body"),
    [
        (["br"], b"x"),
        (["zstd"], b"x"),
        (["gzip, gzip"], gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0)),
        (["gzip"], b'{"page":0}'),
        ([], b"\x1f\x8b is how gzip begins"),
        (["gzip"], gzip.compress(b'{"page":0}', mtime=0)[:-9]),
        # Priced by its first half, charged for both: neither may pass.
        (
            ["gzip"],
            gzip.compress(b"asin=B1", mtime=0)
            + gzip.compress(b",B2,B3,B4,B5,B6,B7,B8,B9", mtime=0),
        ),
        (["identity", "gzip"], gzip.compress(b"asin=B1,B2,B3,B4,B5,B6,B7,B8,B9", mtime=0)),
    ],
)
async def test_body_that_cannot_be_priced_goes_nowhere(gateway, simulator, codings, body):
    """A body whose Content-Encoding cannot be undone is a 415: nobody knows what it would cost."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    headers = [f"Content-Encoding: {coding}" for coding in codings]
    got = await gateway.ask("/product?key=a", *headers, method="POST", body=body)
    read_refusal(got, 415, "unsupported_encoding")
    assert simulator.state()["calls"] == NO_CALLS


async def test_body_that_does_not_come_is_too_slow(gateway, simulator, monkeypatch):
    """A body that does not arrive in time is a 408, and takes nothing."""
    monkeypatch.setattr(intake, "_BODY_SECONDS", 0.1)
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    async with Caller(gateway.url) as caller:
        await caller.send(b"POST /query?key=a HTTP/1.1\r\nHost: g\r\nContent-Length: 9\r\n\r\n{")
        read_refusal(await caller.receive(), 408, "too_slow")
    assert simulator.state()["calls"] == NO_CALLS
    assert (await gateway.tokens())["reserved"] == 0


MALFORMED = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "header without colon": b"GET /product?key=mine HTTP/1.1\r\nHost g\r\n\r\n",
    "space in the target": b"GET /product?key=mine&a=b c HTTP/1.1\r\nHost: g\r\n\r\n",
    "two lengths": b"POST /query?key=mine HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\n{}",
    "length and chunks": b"POST /query?key=mine HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": b"POST /query?key=mine HTTP/1.1\r\nHost: g\r\nContent-Length: -1\r\n\r\n",
    "null in a header": b"GET /product?key=mine HTTP/1.1\r\nHost: g\r\nX-A: a\x00b\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_no_http_is_refused_in_the_one_shape(
    gateway, simulator, capsys, request_bytes
):
    """A malformed request is a 400 that quotes nothing of it, then the connection closes."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    async with Caller(gateway.url) as caller:
        await caller.send(request_bytes)
        got = await caller.receive()
        read_refusal(got, 400, "bad_request")
        assert await caller.has_ended()
    assert got.get("Server") is None
    assert b"mine" not in got.plain
    assert "mine" not in capsys.readouterr().out
    assert simulator.state()["calls"] == NO_CALLS


async def test_bad_chunks_are_refused(gateway, simulator):
    """A request body whose chunks are malformed reaches nobody."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    async with Caller(gateway.url) as caller:
        await caller.send(
            b"POST /query?key=a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
        )
        read_refusal(await caller.receive(), 400, "bad_request")
    assert simulator.state()["calls"] == NO_CALLS


async def test_unknown_expectation_is_refused_in_the_one_shape(gateway):
    """An Expect other than 100-continue does not end in another shape."""
    got = await gateway.ask("/product?asin=B1&domain=1", "Expect: miracles")
    # RFC 9110, 10.1.1 allows a 417; to ignore it is as good.
    assert got.status == 200 or got.json()["reason"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-DEF_1.2", True), ("x" * 128, True), ("x" * 129, False), ("", False), ("a b", False),
        ('a"b', False), ("a/b", False), ("<script>", False), ("é", False), ("a\tb", False),
    ],
)  # fmt: skip
async def test_request_id_is_echoed_where_it_is_harmless(gateway, given, kept):
    """A caller's X-Request-Id comes back where it is 1 to 128 plain characters, else a new one."""
    for target in ("/product?asin=B000000001&domain=1", "/a/b"):
        got = await gateway.ask(target, f"X-Request-Id: {given}".encode())
        came = got.get("X-Request-Id")
        assert (came == given) is kept
        assert came.replace("-", "").isalnum() or kept


async def test_request_ids_are_new_each_time(gateway):
    """Calls without an id each get one of their own."""
    ids = {(await gateway.ask("/a/b")).get("X-Request-Id") for _ in range(5)}
    assert len(ids) == 5
