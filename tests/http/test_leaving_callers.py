"""Callers who hang up: nothing is spent for them before dispatch, nothing is lost after it."""

import asyncio
import socket
import struct

import pytest
from support.callers.wire import Caller, write_request
from support.waiting import within

THREE = "/product?domain=1&asin=B000000001,B000000002,B000000003&key=x"


async def until(happened):
    async with within(10):
        while not happened():
            await asyncio.sleep(0.01)


@pytest.fixture(params=["close", "reset"])
def leave(request):
    """Return a function that hangs up, politely or not."""

    async def go(caller):
        if request.param == "reset":
            link = caller.writer.get_extra_info("socket")
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await caller.leave()

    return go


async def test_leaving_while_waiting_for_a_slot_spends_nothing(serve, simulator, leave):
    """A caller who leaves before its call's turn has it never sent, and its hold released."""
    gateway = await serve(simulator, max_concurrency=1)
    async with Caller(gateway.url) as first, Caller(gateway.url) as second:
        await first.send(write_request(THREE, ["X-Sim-Latency-Ms: 600"]))
        await gateway.until(lambda tokens: tokens["reserved"] == 3)
        await second.send(write_request(THREE))
        await gateway.until(lambda tokens: tokens["reserved"] == 6)
        await leave(second)
        # While the first is still under way: the hold went with the caller.
        await gateway.until(lambda tokens: tokens["reserved"] == 3)
        assert (await first.receive()).status == 200
    tokens = await gateway.at_rest()
    assert tokens["remaining"] == 97
    assert simulator.state()["calls"]["product"] == 1


async def test_place_in_the_line_of_who_left_is_free_again(serve, simulator, leave):
    """A waiting caller who leaves gives its place in the line to others."""
    gateway = await serve(simulator, max_concurrency=1, max_queue=1)
    async with Caller(gateway.url) as first, Caller(gateway.url) as second:
        await first.send(write_request(THREE, ["X-Sim-Latency-Ms: 600"]))
        await gateway.until(lambda tokens: tokens["reserved"] == 3)
        await second.send(write_request(THREE))
        await gateway.until(lambda tokens: tokens["reserved"] == 6)
        await leave(second)
        await gateway.until(lambda tokens: tokens["reserved"] == 3)
        assert (await gateway.ask(THREE)).status == 200
        assert (await first.receive()).status == 200


async def test_leaving_while_the_balance_is_unknown_spends_nothing(serve, keepa, leave):
    """A caller who leaves while the balance is asked for never has its call sent."""
    asked, may_answer = asyncio.Event(), asyncio.Event()
    keepa.before_token = lambda: (asked.set(), may_answer.wait())[1]
    gateway = await serve(keepa)
    async with Caller(gateway.url) as caller:
        await asked.wait()
        await caller.send(write_request("/product?asin=B1"))
        await gateway.ask("/healthz")
        await leave(caller)
        await gateway.ask("/healthz")
        may_answer.set()
        await gateway.until(lambda tokens: tokens["remaining"] == 100)
        await gateway.at_rest()
    assert keepa.requests == []


async def test_leaving_within_the_request_spends_nothing(serve, simulator, leave):
    """A caller who leaves before its body came whole has nothing reserved."""
    gateway = await serve(simulator)
    async with Caller(gateway.url) as caller:
        await caller.send(b"POST /query?key=a HTTP/1.1\r\nHost: g\r\nContent-Length: 9\r\n\r\n{")
        await gateway.ask("/healthz")
        await leave(caller)
    tokens = await gateway.at_rest()
    assert (tokens["remaining"], tokens["requests_made"]) == (100, 0)
    assert "query" not in simulator.state()["calls"]


@pytest.mark.parametrize("fault", ["none", "error_in_200"])
async def test_leaving_after_dispatch_settles_all_the_same(gateway, simulator, leave, fault):
    """A caller who leaves after its call was sent has it carried to its end and settled."""
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(THREE, ["X-Sim-Latency-Ms: 300", f"X-Sim-Fault: {fault}"]))
        await until(lambda: simulator.state()["in_flight"] == 1)
        await leave(caller)
    await gateway.until(lambda tokens: (tokens["remaining"], tokens["reserved"]) == (97, 0))
    assert simulator.state()["charged_total"] == 3


@pytest.mark.parametrize("order", ["first", "sorted"])
async def test_leaving_within_a_large_body_settles(gateway, simulator, leave, order):
    """Token fields are read to their end for a caller who left in the middle of the answer."""
    async with Caller(gateway.url) as caller:
        headers = [f"X-Sim-Order: {order}", "X-Sim-Bytes: 8000000"]
        await caller.send(write_request(THREE, headers))
        assert (await caller.receive_head()).status == 200
        await caller.reader.readexactly(100_000)
        await leave(caller)
    await gateway.until(lambda tokens: (tokens["remaining"], tokens["reserved"]) == (97, 0))
    await until(lambda: simulator.state()["in_flight"] == 0)


async def test_slot_of_who_left_is_free_after_its_call(serve, simulator, leave):
    """The slot of a call whose caller left is free again when the call has ended."""
    gateway = await serve(simulator, max_concurrency=1)
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(THREE, ["X-Sim-Latency-Ms: 200"]))
        await until(lambda: simulator.state()["in_flight"] == 1)
        await leave(caller)
    assert (await gateway.ask(THREE)).status == 200
    assert (await gateway.at_rest())["remaining"] == 94


async def test_caller_who_does_not_read_is_cut_off_in_time(serve, simulator):
    """A caller's back-pressure counts into UPSTREAM_TIMEOUT_SECONDS: then it is cut off."""
    gateway = await serve(simulator, upstream_timeout_seconds=1, reservation_ttl_seconds=30)
    async with Caller(gateway.url) as caller:
        headers = ["X-Sim-Order: first", "X-Sim-Bytes: 60000000"]
        await caller.send(write_request(THREE, headers))
        assert (await caller.receive_head()).status == 200
        caller.writer.transport.pause_reading()
        await gateway.until(lambda tokens: (tokens["remaining"], tokens["reserved"]) == (97, 0))
        await until(lambda: simulator.state()["in_flight"] == 0)
        assert (await gateway.ask("/healthz")).status == 200


async def test_pipelined_calls_of_who_left_are_not_begun(serve, simulator, leave):
    """Of pipelined calls only the one under way is carried to its end when the caller leaves."""
    gateway = await serve(simulator)
    async with Caller(gateway.url) as caller:
        slow = write_request(THREE, ["X-Sim-Latency-Ms: 300"])
        await caller.send(slow + write_request(THREE) + write_request(THREE))
        await until(lambda: simulator.state()["in_flight"] == 1)
        await leave(caller)
    await gateway.until(lambda tokens: (tokens["remaining"], tokens["reserved"]) == (97, 0))
    assert simulator.state()["calls"]["product"] == 1


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_half_closing_caller_gets_its_answer(serve, simulator, version):
    """A caller that ends its sending side (`nc -N`) is answered, soon or late, and then closed."""
    gateway = await serve(simulator, max_concurrency=1)
    async with Caller(gateway.url) as first, Caller(gateway.url) as second:
        for caller in (first, second):
            await caller.send(write_request(THREE, ["X-Sim-Latency-Ms: 300"], version=version))
            caller.writer.write_eof()
        for caller in (first, second):
            got = await caller.receive()
            assert (got.status, got.whole, got.get("Connection")) == (200, True, "close")
            assert await caller.has_ended()
    assert (await gateway.at_rest())["remaining"] == 94


async def test_half_closing_caller_may_wait_for_tokens(serve, simulate):
    """Waiting for tokens does not end because the caller has nothing more to say."""
    simulator = await simulate(tokens=11, first_lump_in_ms=1500)
    gateway = await serve(simulator)
    await gateway.until_ready()
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(THREE, ["Prefer: wait=10"]))
        caller.writer.write_eof()
        got = await caller.receive()
        assert (got.status, got.whole) == (200, True)
        # The interim answer that tells a caller who waits from one who left.
        assert got.infos == [100]


async def test_pipelined_calls_of_a_half_closing_caller(serve, simulator):
    """All that was sent before the half-close is answered, in order, whatever it is."""
    gateway = await serve(simulator)
    slow = write_request(THREE, ["X-Sim-Latency-Ms: 200"])
    async with Caller(gateway.url) as caller:
        await caller.send(slow + write_request("/healthz") + write_request("/nothing/here"))
        caller.writer.write_eof()
        assert [(await caller.receive()).status for _ in range(3)] == [200, 200, 404]
        assert await caller.has_ended()


@pytest.mark.parametrize("raw", [b"", b"GET /healthz HTTP/1.1\r\nHost", b"garbage\r\n\r\n"])
async def test_half_closing_caller_who_asked_for_nothing(serve, simulator, raw):
    """Who ends its side without a request is hung up on, after an answer where one is due."""
    gateway = await serve(simulator)
    async with Caller(gateway.url) as caller:
        await caller.send(raw)
        caller.writer.write_eof()
        if raw.endswith(b"\r\n\r\n"):
            assert (await caller.receive()).status == 400
        async with asyncio.timeout(5):
            assert await caller.has_ended()


BODY_TO_COME = b"POST /%s HTTP/1.1\r\nHost: g\r\nContent-Length: 900000\r\n\r\ntoken="


@pytest.mark.parametrize(
    "path", [b"query?key=a", b"dashboard/login", b"product/x", b"quote?path=query"]
)
async def test_cut_bodies_are_no_faults(serve, simulator, leave, log, caplog, path):
    """A caller who leaves within a body, alone or behind other calls, is no fault of ours."""
    gateway = await serve(simulator, admin_token="let-me-in")
    for number in range(40):
        async with Caller(gateway.url) as caller:
            before = write_request("/healthz") * (number % 4)
            await caller.send(before + BODY_TO_COME % path)
            for _ in range(number % 5):
                await asyncio.sleep(0)
            await leave(caller)
    assert (await gateway.ask("/healthz")).status == 200
    assert [event for event in log if event["log_level"] == "error"] == []
    assert caplog.records == []
    assert (await gateway.ask("/healthz")).status == 200
    assert "query" not in simulator.state()["calls"]
