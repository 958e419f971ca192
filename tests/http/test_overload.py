"""Callers in numbers, slow senders, slow readers: each is bounded, none is in another's way."""

import asyncio
import gzip
from contextlib import AsyncExitStack, suppress

import pytest
from support.callers.refusals import check_balance, read_refusal
from support.callers.wire import Caller, write_request
from support.keepa.scripted import answer
from support.measure.stopwatch import Stopwatch
from support.waiting import until, within

from gateway.app import run
from gateway.call import intake
from gateway.front import connection, heads, turnstile

PRODUCT = "/product?domain=1&asin=B000000001&key=x"
HEAD = write_request(PRODUCT)
KB = 1000


def deal(size, *headers):
    """A POST whose body has that many bytes, and costs 5 tokens."""
    body = b"{" + b" " * (size - 2) + b"}"
    return write_request("/deal?domain=1&key=x", headers, method="POST", body=body)


@pytest.fixture
def hurried(monkeypatch):
    """Half a second for what has half a minute."""
    monkeypatch.setattr(heads, "_HEAD_SECONDS", 0.5)
    monkeypatch.setattr(intake, "_BODY_SECONDS", 0.5)
    monkeypatch.setattr(connection, "_FAREWELL_SECONDS", 0.5)


class Gate:
    """A script of Keepa's that answers when it is told to."""

    def __init__(self, keepa):
        self.opened = asyncio.Event()
        keepa.script = self.answer

    async def answer(self, _, writer):
        async with within(10):
            await self.opened.wait()
        writer.write(answer())
        await writer.drain()


async def drip(caller, text):
    """Send a byte at a time until the other side is gone."""
    with suppress(ConnectionError):
        for byte in text:
            await caller.send(bytes([byte]))
            await asyncio.sleep(0.02)


async def expect_too_slow(caller):
    """Read the refusal of a slow sender, and the end of its connection."""
    read_refusal(await caller.receive(), 408, "too_slow")
    assert await caller.has_ended()


# Slow senders


@pytest.mark.parametrize("sent", [HEAD[:-2], HEAD[:1], b"\r\n", b"GET /product"])
async def test_head_that_does_not_end_is_too_slow(gateway, hurried, sent):
    """A caller who begins a request and does not end its head gets a 408 and is hung up on."""
    async with Caller(gateway.url) as caller:
        await caller.send(sent)
        await expect_too_slow(caller)


async def test_head_that_drips_gains_nothing(gateway, hurried):
    """The time for a head counts from its first byte, whatever comes meanwhile."""
    async with Caller(gateway.url) as caller:
        began = Stopwatch()
        dripping = asyncio.create_task(drip(caller, b"GET /product HTTP/1.1\r\nX: " + b"y" * 500))
        await expect_too_slow(caller)
        assert began.wall_seconds > 0.4
        assert began.seconds < 2
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


@pytest.mark.parametrize("begun_with", ["the call", "its own packet"])
async def test_next_head_that_does_not_end_is_too_slow(gateway, hurried, begun_with):
    """On a kept-alive connection too, a head that began has to end in time."""
    async with Caller(gateway.url) as caller:
        if begun_with == "the call":
            await caller.send(HEAD + b"GET /prod")
            assert (await caller.receive()).status == 200
        else:
            await caller.send(HEAD)
            assert (await caller.receive()).status == 200
            await caller.send(b"GET /prod")
        await expect_too_slow(caller)


async def test_head_that_begins_while_a_call_runs_waits_for_its_answer(serve, keepa, hurried):
    """A half head behind a call gets its 408 after that call's answer, not instead of it."""
    gateway = await serve(keepa)
    gate = Gate(keepa)
    async with Caller(gateway.url) as caller:
        await caller.send(HEAD)
        await until(lambda: keepa.requests)
        await caller.send(b"GET /prod")
        await asyncio.sleep(0.7)  # past the head's time
        gate.opened.set()
        assert (await caller.receive()).status == 200
        await expect_too_slow(caller)


async def test_head_in_time_is_answered(gateway, monkeypatch):
    """A head in two halves, each in time, is a call like any other; so is the one after it."""
    monkeypatch.setattr(heads, "_HEAD_SECONDS", 1.0)
    async with Caller(gateway.url) as caller:
        for _ in range(4):
            await caller.send(HEAD[:20])
            await asyncio.sleep(0.3)  # all of them together take longer than one may
            await caller.send(HEAD[20:])
            assert (await caller.receive()).status == 200


async def test_idle_connection_is_closed_without_a_word(serve, simulator):
    """Who never sent a byte, or nothing after an answer, is hung up on silently."""
    gateway = await serve(simulator, keepalive_seconds=1)
    async with Caller(gateway.url) as silent, Caller(gateway.url) as served:
        await served.send(HEAD)
        assert (await served.receive()).status == 200
        assert await silent.has_ended()
        assert await served.has_ended()


async def test_body_that_drips_gains_nothing(gateway, simulator, hurried):
    """The time for a body is for all of it: 408, closed, nothing reserved."""
    async with Caller(gateway.url) as caller:
        began = Stopwatch()
        dripping = asyncio.create_task(drip(caller, deal(400)))
        got = await caller.receive()
        read_refusal(got, 408, "too_slow")
        assert got.get("Connection") == "close"
        assert began.seconds < 10
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
    assert "deal" not in simulator.state()["calls"]
    assert (await gateway.tokens())["reserved"] == 0


async def test_broken_body_is_refused_at_once(gateway, simulator):
    """Chunks that break after the head was taken are a 400 then and there."""
    async with Caller(gateway.url) as caller:
        await caller.send(
            b"POST /deal?key=a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n"
            b"Expect: 100-continue\r\n\r\n2\r\n{}\r\n"
        )
        # The body is being read: what is broken comes by itself.
        assert (await caller.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        began = Stopwatch()
        await caller.send(b"ZZ\r\nGET /product?key=x HTTP/1.1\r\nHost: g\r\n\r\n")
        read_refusal(await caller.receive(), 400, "bad_request")
        assert began.seconds < 5
    assert simulator.state()["calls"] == {"token": 1}


# Slow readers


async def test_caller_who_does_not_read_frees_its_slot_in_time(serve, keepa):
    """An answer that nobody takes ends with its time-out, is cut, and leaves its slot to others."""
    gateway = await serve(
        keepa, max_concurrency=1, upstream_timeout_seconds=1, reservation_ttl_seconds=60
    )
    large = answer(b'{"x":"' + b"y" * 40 * 1000 * KB + b'"}')

    async def send_large(_, writer):
        with suppress(ConnectionError):
            writer.write(large)
            await writer.drain()

    keepa.script = send_large
    async with Caller(gateway.url) as sleeper:
        sleeper.writer.transport.pause_reading()
        await sleeper.send(HEAD)
        await until(lambda: keepa.requests)
        keepa.script = None
        began = Stopwatch()
        await asyncio.sleep(1.2)  # the time-out's
        assert (await gateway.ask(PRODUCT)).status == 200
        assert began.seconds < 3
        sleeper.writer.transport.resume_reading()
        got = await sleeper.receive()
        assert not got.whole
        assert len(got.body) < 20 * 1000 * KB


async def test_pipelined_calls_whose_answers_nobody_reads(serve, keepa):
    """Answers that nobody takes: the gateway stops reading, holds little, and hangs up in time."""
    gateway = await serve(keepa, upstream_timeout_seconds=1)
    async with Caller(gateway.url) as caller:
        caller.writer.transport.pause_reading()
        flood = asyncio.create_task(flooded(caller, write_request("/a/b" + "c" * 800)))
        sent_bytes = await asyncio.wait_for(flood, 10)
    # What fits into both sides' socket buffers, and little beside.
    assert sent_bytes < 40 * 1000 * KB
    assert (await gateway.ask(PRODUCT)).status == 200


async def flooded(caller, request):
    """Send the same request until the other side is gone; return how many bytes that took."""
    sent_bytes = 0
    with suppress(ConnectionError):
        while True:
            await caller.send(request * 20)
            sent_bytes += 20 * len(request)
    return sent_bytes


async def test_pipelined_calls_are_answered_in_turn(gateway, simulator):
    """Many calls sent at once on one connection are all answered, in their order."""
    async with Caller(gateway.url) as caller:
        ids = [f"call-{number}" for number in range(60)]
        await caller.send(b"".join(write_request(PRODUCT, [f"X-Request-Id: {i}"]) for i in ids))
        assert [(await caller.receive()).get("X-Request-Id") for _ in ids] == ids
    assert simulator.state()["calls"]["product"] == 60


# Too many callers


@pytest.fixture
def narrow(monkeypatch):
    """Two callers may be connected, two more are told that they may not."""
    monkeypatch.setattr(turnstile, "_CONNECTIONS_AT_MOST", 2)
    monkeypatch.setattr(turnstile, "_CONNECTIONS_TO_A_SURPLUS", 1)
    monkeypatch.setattr(connection, "_FAREWELL_SECONDS", 0.5)


async def test_connections_are_bounded(narrow, serve, simulator):
    """Beyond the bound a caller is told so and hung up on; far beyond it, hung up on at once."""
    gateway = await serve(simulator)
    await gateway.until_ready()
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller(gateway.url)) for _ in range(5)]
        assert await callers[4].has_ended()
        await callers[2].send(HEAD)
        got = await callers[2].receive()
        told = read_refusal(got, 503, "overloaded", "unavailable")
        assert (told["retry_after_seconds"], got.get("Connection")) == (1, "close")
        assert await callers[2].has_ended()
        for caller in callers[:2]:
            await caller.send(HEAD)
            assert (await caller.receive()).status == 200
        # Alive, whoever else is connected.
        await callers[3].send(write_request("/healthz"))
        got = await callers[3].receive()
        assert (got.status, got.get("Connection")) == (200, "close")
    assert await until(lambda: works_again(gateway.url))
    assert simulator.state()["calls"]["product"] == 3


async def works_again(url):
    """Whether a caller on a new connection is served."""
    async with Caller(url) as caller:
        await caller.send(HEAD)
        return (await caller.receive()).status == 200


async def test_silent_caller_beyond_the_bound_is_soon_gone(narrow, serve, simulator):
    """A connection beyond the bound that sends nothing is closed without a word."""
    gateway = await serve(simulator)
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller(gateway.url)) for _ in range(3)]
        began = Stopwatch()
        assert await callers[2].has_ended()
        assert began.seconds < 3


async def test_calls_are_sent_in_the_order_they_came(serve, keepa):
    """Calls that wait for a slot to Keepa go first come, first served."""
    gateway = await serve(keepa, max_concurrency=1, max_queue=10)
    gate = Gate(keepa)
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller(gateway.url)) for _ in range(8)]
        for number, caller in enumerate(callers):
            await caller.send(write_request(f"/product?key=x&domain=1&asin=B{number}"))
            await gateway.until(lambda tokens, held=number + 1: tokens["reserved"] == held)
        gate.opened.set()
        assert [(await caller.receive()).status for caller in callers] == [200] * 8
    order = [request.split(b"asin=")[1][:2] for request in keepa.requests]
    assert order == [b"B%d" % number for number in range(8)]


async def test_wave_beyond_the_queue_is_refused_at_once(serve, keepa):
    """Of a crowd that comes at once, those beyond slots and queue are refused while it waits."""
    gateway = await serve(keepa, max_concurrency=2, max_queue=3)
    gate = Gate(keepa)
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller(gateway.url)) for _ in range(20)]
        await asyncio.gather(*(caller.send(HEAD) for caller in callers))
        receiving = [asyncio.create_task(caller.receive()) for caller in callers]
        await until(lambda: sum(task.done() for task in receiving) == 15)
        for task in receiving:
            if task.done():
                told = read_refusal(task.result(), 503, "overloaded", "unavailable")
                assert told["retry_after_seconds"] == 1
        gate.opened.set()
        answers = await asyncio.gather(*receiving)
    assert sum(got.status == 200 for got in answers) == 5
    assert len(keepa.requests) == 5
    await gateway.at_rest()


# Request bodies


@pytest.fixture
def little_memory(monkeypatch):
    """All request bodies together may have 100 kB."""
    monkeypatch.setattr(run, "_BODIES_BYTES", 100 * KB)


async def test_request_bodies_are_bounded_in_sum(little_memory, serve, keepa):
    """A body for which there is no room is refused before it is read, and takes nothing."""
    gateway = await serve(keepa)
    gate = Gate(keepa)
    async with Caller(gateway.url) as first:
        await first.send(deal(60 * KB))
        await until(lambda: keepa.requests)
        async with Caller(gateway.url) as second:
            # The head only: nobody waits for the body.
            await second.send(deal(60 * KB, "Expect: 100-continue").partition(b"{")[0])
            got = await second.receive()
            told = read_refusal(got, 503, "overloaded", "unavailable")
            check_balance(told, available=95, required=0, held=5)
            assert got.infos == []
        async with Caller(gateway.url) as third:
            chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
            await third.send(
                b"POST /deal?key=a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n",
                *[chunk] * 2,
            )
            read_refusal(await third.receive(), 503, "overloaded", "unavailable")
        gate.opened.set()
        assert (await first.receive()).status == 200
    keepa.script = None
    got = await gateway.ask("/deal?key=x", method="POST", body=b"{" + b" " * 98 * KB + b"}")
    assert got.status == 200


async def test_announced_bodies_shut_nobody_out(little_memory, serve, keepa):
    """Callers who announce bodies and send none take no room from those who send theirs."""
    gateway = await serve(keepa)
    async with AsyncExitStack() as stack:
        for _ in range(10):
            caller = await stack.enter_async_context(Caller(gateway.url))
            await caller.send(deal(90 * KB)[:200])
        async with Caller(gateway.url) as caller:
            await caller.send(deal(80 * KB))
            assert (await caller.receive()).status == 200


async def leave_while_sending(gateway):
    async with Caller(gateway.url) as caller:
        await caller.send(deal(90 * KB)[: 60 * KB])


async def leave_while_waiting(gateway):
    async with Caller(gateway.url) as caller:
        await caller.send(deal(90 * KB))


async def send_slowly(gateway):
    async with Caller(gateway.url) as caller:
        await caller.send(deal(90 * KB)[: 60 * KB])
        assert (await caller.receive()).status == 408


async def send_what_is_refused(gateway):
    got = await gateway.ask(
        "/deal?key=x", "Content-Encoding: gzip", method="POST", body=b"x" * 90 * KB
    )
    assert got.status == 415


async def send_broken_chunks(gateway):
    async with Caller(gateway.url) as caller:
        await caller.send(
            b"POST /deal?key=a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n"
            b"Expect: 100-continue\r\n\r\nF000\r\n" + b" " * 0xF000 + b"\r\n",
        )
        # The body is being read: what is broken comes by itself.
        assert (await caller.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await caller.send(b"nonsense\r\n\r\n")
        assert (await caller.receive()).status == 400


async def ask_for_too_much(gateway):
    got = await gateway.ask(
        "/lightningdeal?key=x", method="POST", body=b"domain=1&x=" + b"y" * 90 * KB
    )
    assert got.status == 429


@pytest.mark.parametrize(
    "misuse",
    [
        leave_while_sending, leave_while_waiting, send_slowly, send_what_is_refused,
        send_broken_chunks, ask_for_too_much,
    ],
)  # fmt: skip
async def test_room_for_bodies_comes_back(little_memory, hurried, serve, simulator, misuse):
    """However a call with a body ends, its room is there for the next."""
    gateway = await serve(simulator)
    for _ in range(3):
        await misuse(gateway)

    async def has_room():
        # Smaller than the bound by less than any of the others' bodies.
        got = await gateway.ask("/deal?key=x", method="POST", body=b"{" + b" " * 95 * KB + b"}")
        return got.status == 200

    assert await until(has_room)


async def test_inflated_bomb_holds_the_loop_briefly(gateway):
    """A request body that inflates to 16 MiB is priced without keeping others waiting for long."""
    bomb = gzip.compress(b"[" + b" " * (16 * 1024 * KB) + b"]")
    others = []

    async def watch():
        while True:
            began = Stopwatch()
            assert (await gateway.ask("/healthz")).status == 200
            others.append(began.seconds)

    watching = asyncio.create_task(watch())
    for _ in range(3):
        got = await gateway.ask("/deal?key=x", "Content-Encoding: gzip", method="POST", body=bomb)
        assert got.status in {200, 400, 429}
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert max(others) < 1


async def test_half_heads_are_bounded_in_sum(gateway, monkeypatch):
    """Requests that are only half here have a bound together; whole ones pass beside them."""
    monkeypatch.setattr(heads, "_ALL_HEADS", 100 * KB)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            caller = await stack.enter_async_context(Caller(gateway.url))
            await caller.send(b"GET /product?x=" + b"y" * 60 * KB)
        read_refusal(await caller.receive(), 503, "overloaded", "unavailable")
        assert (await gateway.ask(PRODUCT)).status == 200
    async with Caller(gateway.url) as caller:
        await caller.send(b"GET /product?domain=1&asin=B000000001&x=" + b"y" * 90 * KB)
        await caller.send(b" HTTP/1.1\r\nHost: g\r\n\r\n")
        assert (await caller.receive()).status == 200


async def test_wave_beyond_the_queue_takes_no_request_slots(serve, keepa):
    """Of a crowd that comes at once, those who find no room leave the request rate to others."""
    gateway = await serve(
        keepa, max_concurrency=2, max_queue=3, rate_limit_per_minute=1, rate_limit_burst=6
    )
    await gateway.until_ready()
    gate = Gate(keepa)
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller(gateway.url)) for _ in range(20)]
        await asyncio.gather(*(caller.send(HEAD) for caller in callers))
        receiving = [asyncio.create_task(caller.receive()) for caller in callers]
        await until(lambda: sum(task.done() for task in receiving) == 15)
        gate.opened.set()
        answers = await asyncio.gather(*receiving)
    refused = {got.json()["reason"] for got in answers if got.status != 200}
    assert refused == {"overloaded"}
    keepa.script = None
    assert (await gateway.ask(PRODUCT)).status == 200
