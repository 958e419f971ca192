"""No key in anything that the process prints, at its most talkative, whatever goes wrong."""

import re

import pytest
from support.callers.wire import Caller, ask, write_request
from support.keepa.scripted import answer, scripted_keepa
from support.redis.server import free_port
from support.waiting import until

pytestmark = pytest.mark.e2e

REAL_KEY = "realkey0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijk"
ODD_KEY = "odd key/with+signs&%41='\"<>"
CALLERS = ["callers-own-key", "s3cret-of-pricing", "let-me-in-admin"]
TARGET = "/product?domain=1&asin=B000000001"


def none_of(secrets, text):
    """Say which secrets stand in the text, in whole or in a telling part."""
    return [secret for secret in secrets if secret in text or secret[:12] in text]


async def _cut(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()


async def _garbage(_, writer):
    writer.write(b"\x00\x01 garbage\r\n\r\n")
    await writer.drain()


async def _drop(_, writer):
    writer.close()


async def _redirect_with_key(reader, writer):
    writer.write(answer(b"", f"Location: https://x/?key={REAL_KEY}".encode(), status="302 Found"))
    await writer.drain()


async def call_in_every_bad_way(url, keepa):
    """Make calls that fail in every way there is."""
    secret = CALLERS[1]
    for script in (_cut, _garbage, _drop, _redirect_with_key, None):
        keepa.script = script
        got = await ask(url, f"{TARGET}&key={secret}", [f"Authorization: Bearer {secret}"])
        assert not none_of([REAL_KEY], (got.head + got.plain).decode("latin-1"))
    for request in (
        f"GET {TARGET}&key={secret} x HTTP/1.1\r\nHost: g\r\n\r\n".encode(),
        f"GET {TARGET}&key={secret}\xff HTTP/1.1\r\nHost: g\r\n\r\n".encode("latin-1"),
        f"GET /{'x' * 140_000}?key={secret} HTTP/1.1\r\nHost: g\r\n\r\n".encode(),
        f"GET {TARGET} HTTP/1.1\r\nHost: g\r\nX-Api-Key {secret}\r\n\r\n".encode(),
        f"GET {TARGET} HTTP/1.1\r\nHost: g\r\nX-Long: {'x' * 140_000}{secret}\r\n\r\n".encode(),
        f"GET http://x/a/b?key={secret} HTTP/1.1\r\nHost: g\r\n\r\n".encode(),
        f"BREW {TARGET}&key={secret} HTTP/1.1\r\nHost: g\r\n\r\n".encode(),
        f"POST /query?key={secret} HTTP/1.1\r\nHost: g\r\n"
        "Transfer-Encoding: chunked\r\n\r\nZZ\r\n".encode(),
    ):
        async with Caller(url) as caller:
            await caller.send(request)
            got = await caller.receive()
            assert got.status >= 400
            assert not none_of([REAL_KEY, *CALLERS], got.plain.decode())
    for headers in (["Authorization: Bearer \xff"], [f"X-Request-Id: {secret}\x7f"]):
        await ask(url, f"{TARGET}&key={secret}", headers)
        await ask(url, "/status", headers)
    async with Caller(url) as caller:
        await caller.send(write_request(f"{TARGET}&key={secret}"))


@pytest.fixture
async def keepa():
    """An upstream that follows a script."""
    async with scripted_keepa() as keepa:
        yield keepa


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_no_key_is_ever_printed(machines, keepa, log_format):
    """At LOG_LEVEL=DEBUG, with failing upstreams, malformed requests and faults: no key."""
    gateway = machines.serve(
        keepa_api_key=REAL_KEY, keepa_base_url=keepa.url, log_level="DEBUG", log_format=log_format,
        service_keys=f"pricing:{CALLERS[1]}", admin_token=CALLERS[2], drain_seconds=0,
        pythonasynciodebug=1, pythondevmode=1,
    )  # fmt: skip
    line = await until(lambda: re.search(r".*listening.*\n", gateway.output))
    url = re.search(r"http://127\.0\.0\.1:\d+", line[0])[0]
    await call_in_every_bad_way(url, keepa)
    keepa.token_answers = False
    await keepa.go_away()
    await ask(url, f"{TARGET}&key={CALLERS[1]}")
    metrics = await ask(url, "/metrics", [f"X-Api-Key: {CALLERS[2]}"])
    gateway.terminate()
    assert await gateway.ended() == 0
    printed = gateway.output + gateway.errors
    assert "doubt" in printed
    assert none_of([REAL_KEY, *CALLERS], printed) == []
    assert none_of([REAL_KEY, *CALLERS], metrics.plain.decode()) == []


async def test_odd_key_is_masked_in_every_spelling(machines, keepa):
    """A key with signs of its own is printed neither as it is nor percent-encoded."""
    keepa.token = b"<html>"
    keepa.script = _drop
    gateway = await machines.serve(
        keepa_api_key=ODD_KEY, keepa_base_url=keepa.url, log_level="DEBUG", drain_seconds=0
    ).started()
    await gateway.ask("/tracking?type=list")
    sent = keepa.requests[-1].split(b" ")[1].decode().partition("key=")[2]
    gateway.terminate()
    assert await gateway.ended() == 0
    printed = gateway.output + gateway.errors
    assert none_of([ODD_KEY, sent, "odd key", "odd%20key"], printed) == []


async def test_passwords_of_the_store_are_never_printed(machines):
    """A Redis that cannot be reached is told without its password."""
    url = f"redis://someone:pass-of-redis@127.0.0.1:{free_port()}/0"
    gateway = machines.serve(keepa_base_url="simulator", redis_url=url, log_level="DEBUG")
    await gateway.started()
    await gateway.ask(TARGET)
    await until(lambda: gateway.logged("store_down"))
    assert "pass-of-redis" not in gateway.output + gateway.errors
