"""The TLS front passes calls on as they are, and repeats none that may have spent tokens."""

import asyncio
import gzip
import re
import subprocess
from contextlib import AsyncExitStack

import pytest
from support.callers.wire import Caller, write_request
from support.deploy.front import CADDY, Front, needs_front
from support.keepa.scripted import answer, scripted_keepa
from support.waiting import until, within

pytestmark = [pytest.mark.e2e, needs_front]

# Later ones than Debian's drop the connection where an answer in chunks is cut short.
DROPS_CUT_CHUNKS = (2, 8)
SECRET = "a-service-secret-0123456789"
TARGET = rf"/product/?key={SECRET}&a=%2C+b;c%20%2f&&d=%zz&selection=%7B%22x%22%3A1%7D"
TWO_PARTS = (b"the first half, ", b"and the second")


class StandIn:
    """In a gateway's place: answers `/readyz`, and calls as the test says.

    Attributes:
        calls: Every request but the health checks, as it came.
        act: Answers a call; None: with 200 and some JSON.
    """

    def __init__(self, keepa):
        self._keepa = keepa
        self.url = keepa.url
        self.is_ready = True
        self.act = None
        self.checks = 0
        self.calls = []
        keepa.script = self._serve

    async def _serve(self, reader, writer):
        """Answer on a connection until the other side closes it."""
        request = self._keepa.requests.pop()
        while request:
            if request.startswith(b"GET /readyz"):
                self.checks += 1
                status = "200 OK" if self.is_ready else "503 Service Unavailable"
                writer.write(answer(b"{}", status=status))
            else:
                self.calls.append(request)
                if self.act:
                    await self.act(reader, writer)
                    return
                writer.write(answer(b"{}", b"Content-Type: application/json"))
            await writer.drain()
            request = await self._keepa._read(reader)

    async def go_away(self):
        await self._keepa.go_away()


@pytest.fixture
async def stand_ins():
    async with AsyncExitStack() as stack:
        yield [StandIn(await stack.enter_async_context(scripted_keepa())) for _ in range(2)]


@pytest.fixture
def start_front(tmp_path, stand_ins):
    """Return a starter of a front before both stand-ins; ended with the test."""
    fronts = []

    async def start(**environment):
        urls = [stand_in.url for stand_in in stand_ins]
        fronts.append(Front(tmp_path / "front", urls, **environment))
        return await fronts[-1].started()

    yield start
    for front in fronts:
        front.kill()


@pytest.fixture
async def front(start_front):
    return await start_front()


def calls_of(stand_ins):
    return [call for stand_in in stand_ins for call in stand_in.calls]


def caddy_version():
    found = re.search(r"(\d+)\.(\d+)\.", subprocess.check_output([CADDY, "version"], text=True))
    return tuple(map(int, found.groups()))


async def lose(reader, writer):
    """Close without a word."""


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b'{"a": "\xc3\xa4"}')])
async def test_a_call_passes_byte_for_byte(front, stand_ins, method, body):
    """Target, headers and body come as they were sent, and nothing of the front's own is added."""
    headers = ["X-Request-Id: mine.1", "User-Agent: it", "X-Api-Key: k", f"Authorization: {SECRET}"]
    told = await front.ask(TARGET, *headers, method=method, body=body)
    assert (told.status, told.body) == (200, b"{}")
    (call,) = calls_of(stand_ins)
    head, _, came = call.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert (first, came) == (f"{method} {TARGET} HTTP/1.1", body)
    length = [f"Content-Length: {len(body)}"] if body else []
    assert sorted(lines) == sorted(["Host: gateway", "Connection: close", *length, *headers])


@pytest.mark.parametrize("headers", [(), ("Accept-Encoding: gzip",)])
async def test_an_answer_passes_byte_for_byte(front, stand_ins, headers):
    """Gzip is never unpacked or made on the way, whatever the caller asked for."""
    packed = gzip.compress(b"{}" * 1000)
    lines = (b"Content-Encoding: gzip", b"Content-Type: application/json", b"X-Request-Id: a.1")

    async def act(_, writer):
        writer.write(answer(packed, *lines))
        await writer.drain()

    for stand_in in stand_ins:
        stand_in.act = act
    told = await front.ask(TARGET, *headers)
    assert (told.body, told.get("Content-Encoding")) == (packed, "gzip")
    assert told.get("X-Request-Id") == "a.1"
    assert told.get("Content-Length") == str(len(packed))
    assert told.get("Alt-Svc") is None


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_lost_call_is_not_repeated(front, stand_ins, method):
    """A call whose connection is lost may have spent tokens: the caller is told, and decides."""
    body = b"{}" if method == "POST" else b""
    # A kept connection is what a GET would be repeated on.
    for _ in stand_ins:
        assert (await front.ask("/product", method=method, body=body)).status == 200
    for stand_in in stand_ins:
        stand_in.calls.clear()
        stand_in.act = lose
    told = await front.ask(TARGET, method=method, body=body)
    assert told.status == 502
    assert len(calls_of(stand_ins)) == 1
    check_refusal(told)
    assert SECRET not in front.output


def check_refusal(told):
    """All that a client of Keepa's needs for waiting is there, and of the right type."""
    refusal = told.json()
    assert told.get("Content-Type") == "application/json;charset=utf-8"
    assert told.get("Retry-After") == str(refusal["retry_after_seconds"])
    assert {type(text) for text in refusal["error"].values()} == {str}
    assert refusal["error"].keys() == {"type", "message", "details"}
    assert (refusal["refillIn"], refusal["refillRate"], refusal["tokensLeft"]) == (5000, 1, 0)
    assert type(refusal["timestamp"]) is int
    assert (refusal["tokensConsumed"], refusal["processingTimeInMs"]) == (0, 0)


async def test_the_refusal_is_gzip_for_who_takes_it(front, stand_ins):
    """Java's client unpacks every answer without a look."""
    for stand_in in stand_ins:
        stand_in.act = lose
    told = await front.ask(TARGET, "Accept-Encoding: gzip")
    assert told.get("Content-Encoding") == "gzip"
    check_refusal(told)


async def test_a_gateway_that_is_gone_is_passed_over(front, stand_ins):
    """Where no connection can be made nothing was sent: another gateway answers."""
    await stand_ins[0].go_away()
    for _ in range(10):
        assert (await front.ask("/product")).status == 200
    assert len(stand_ins[1].calls) == 10


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_call_waits_until_a_gateway_is_ready(front, stand_ins, method):
    """While one gateway comes back just as the other goes, calls wait a little."""
    for stand_in in stand_ins:
        stand_in.is_ready = False

    async def are_seen():
        seen = [stand_in.checks + 2 for stand_in in stand_ins]
        await until(lambda: all(s.checks >= n for s, n in zip(stand_ins, seen, strict=True)))

    await are_seen()
    body = b"{}" if method == "POST" else b""
    call = asyncio.create_task(front.ask("/product", method=method, body=body))
    await are_seen()
    assert not call.done()
    assert calls_of(stand_ins) == []
    stand_ins[1].is_ready = True
    assert (await call).status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: application/json\r\nContent-Length: %d" % sum(map(len, TWO_PARTS)),
        b"Content-Type: text/event-stream\r\nConnection: close",
    ],
)
async def test_an_answer_is_passed_on_as_it_comes(front, stand_ins, head):
    """Nothing waits for the rest of an answer: not a large one, not the dashboard's events."""
    goes_on = asyncio.Event()

    async def act(_, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (head, TWO_PARTS[0]))
        await goes_on.wait()
        writer.write(TWO_PARTS[1])
        await writer.drain()

    for stand_in in stand_ins:
        stand_in.act = act
    async with Caller(front.url, front.tls) as caller, within(10):
        await caller.send(write_request("/product"))
        assert (await caller.receive_head()).status == 200
        assert TWO_PARTS[0] in await caller.reader.readuntil(TWO_PARTS[0])
        goes_on.set()
        await caller.reader.readuntil(TWO_PARTS[1])


async def test_a_gateway_sees_that_a_caller_has_left(front, stand_ins):
    """A caller who hangs up is hung up for: a call that waits for tokens is not made for nobody."""
    ended = asyncio.Event()

    async def act(reader, _):
        assert await reader.read(1) == b""
        ended.set()

    for stand_in in stand_ins:
        stand_in.act = act
    async with Caller(front.url, front.tls) as caller:
        await caller.send(write_request("/product"))
        await until(lambda: calls_of(stand_ins))
    async with within(10):
        await ended.wait()


@pytest.mark.parametrize(
    "start",
    [b"Content-Length: 100\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"],
)
async def test_a_cut_answer_does_not_look_whole(front, stand_ins, start):
    """What breaks off on its way from a gateway breaks off at the caller."""

    async def act(_, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + start)
        await writer.drain()

    for stand_in in stand_ins:
        stand_in.act = act
    try:
        told = await front.ask(TARGET)
    except (ConnectionError, EOFError):
        pass  # Before its head was sent.
    else:
        assert not told.whole or (b"chunked" in start and caddy_version() < DROPS_CUT_CHUNKS)
    assert SECRET not in front.output


async def test_the_operators_paths_are_closed(start_front, stand_ins):
    """Without more ado nobody sees metrics, usage, status or dashboard through the front."""
    front = await start_front()
    for path in ("metrics", "status", "usage?by=day", "dashboard", "dashboard/events", "%6detrics"):
        assert (await front.ask(f"/{path}")).status == 404
    assert calls_of(stand_ins) == []
    for path in ("healthz", "quote?path=product", "product"):
        assert (await front.ask(f"/{path}")).status == 200


async def test_the_operators_paths_can_be_opened(start_front, stand_ins):
    """Where ADMIN_TOKEN guards them, all but the metrics of one gateway may be seen."""
    front = await start_front(CLOSED_PATHS="/metrics")
    assert (await front.ask("/metrics")).status == 404
    assert (await front.ask("/dashboard")).status == 200
