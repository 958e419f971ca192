"""Callers who hang up: nothing is spent for them before dispatch, nothing is lost after it."""

import asyncio
import contextlib
import socket
import struct

import pytest
from support.scripted_keepa import answer, fields
from support.wire import Caller, write_request

THREE = "/product?domain=1&asin=B000000001,B000000002,B000000003&key=x"


async def until(happened):
    async with asyncio.timeout(10):
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


async def test_callers_half_close_still_gets_its_answer(serve, keepa):
    """A caller that ends its sending side is answered all the same, or its call is settled."""
    gateway = await serve(keepa)
    keepa.reply = answer(fields())
    async with Caller(gateway.url) as caller:
        await caller.send(write_request("/product?asin=B1"))
        caller.writer.write_eof()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            assert (await caller.receive()).status == 200
    await gateway.until(lambda tokens: tokens["remaining"] is not None)
    tokens = await gateway.at_rest()
    assert tokens["remaining"] == 100 - len(keepa.requests)
