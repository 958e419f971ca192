"""From SIGTERM on each answer is its connection's last, and idle connections go last of all."""

import asyncio

import pytest
from support.callers.events import Stream
from support.callers.wire import Caller, write_request
from support.waiting import until

PRODUCT = "/product?domain=1&asin=B000000001&key=x"
SLOW = ["X-Sim-Latency-Ms: 700"]


@pytest.fixture
async def stopping(serve, simulator, stack):
    """Return what tells a gateway to stop, and is done when it has."""
    gateway = await serve(simulator, drain_seconds=1, max_concurrency=1)
    await gateway.until_ready()

    async def stop():
        task = asyncio.create_task(stack.aclose())

        async def drains():
            return (await gateway.ask("/readyz")).status == 503

        await until(drains)
        return task

    gateway.stop = stop
    return gateway


async def send(caller, *request, **how):
    await caller.send(write_request(*request, **how))


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        (PRODUCT, "GET", 200), (PRODUCT, "PUT", 405), ("/query?domain=1&selection=", "GET", 400),
        ("/product?asin=" + "B000000001," * 100 + "&offers=100&domain=1", "GET", 429),
        ("/token", "GET", 200), ("/a/b", "GET", 404), ("/healthz", "GET", 200),
        ("/healthz", "HEAD", 200), ("/readyz", "GET", 503), ("/status", "GET", 200),
        ("/metrics", "GET", 200), ("/usage", "GET", 200), ("/quote?path=token", "GET", 200),
        ("/dashboard", "GET", 200), ("/dashboard/dashboard.css", "GET", 200),
        ("/status", "DELETE", 405), ("/graphimage?asin=B000000001&domain=1", "GET", 200),
    ],
)  # fmt: skip
async def test_every_answer_is_the_last_of_its_connection(stopping, target, method, status):
    """Whatever is asked on a kept connection after SIGTERM: answered, and closed with a word."""
    async with Caller(stopping.url) as caller:
        await send(caller, "/healthz")
        assert (await caller.receive()).get("Connection") is None
        stopped = await stopping.stop()
        await send(caller, target, method=method)
        got = await caller.receive(to=method)
        assert (got.status, got.whole, got.get("Connection")) == (status, True, "close")
        assert await caller.has_ended()
        assert not stopped.done()
        await stopped


async def test_answers_under_way_when_it_is_told_to_stop(stopping):
    """A call that was sent before is answered after, with the word, and so is a stream."""
    async with Caller(stopping.url) as caller, Stream(stopping.url) as stream:
        assert stream.head.get("Connection") == "close"
        await send(caller, PRODUCT, SLOW)
        await stopping.until(lambda tokens: tokens["reserved"] == 1)
        await stopping.stop()
        got = await caller.receive()
        assert (got.status, got.whole, got.get("Connection")) == (200, True, "close")
        assert await caller.has_ended()


async def test_idle_connections_go_last(stopping):
    """As long as a call is in flight, another kept connection takes one more, listener or not."""
    async with Caller(stopping.url) as busy, Caller(stopping.url) as idle:
        await send(idle, "/healthz")
        assert (await idle.receive()).status == 200
        stopped = await stopping.stop()
        await send(busy, PRODUCT, ["X-Sim-Latency-Ms: 2000"])

        async def listens_no_more():
            try:
                await stopping.ask("/healthz")
            except (OSError, EOFError):
                return True

        await until(listens_no_more)
        await send(idle, PRODUCT)
        got = await idle.receive()
        assert (got.status, got.get("Connection")) == (200, "close")
        assert (await busy.receive()).status == 200
        await stopped


async def test_idle_connections_live_as_long_as_is_said(serve, simulator):
    """KEEPALIVE_SECONDS after its last answer an idle connection is closed."""
    gateway = await serve(simulator, keepalive_seconds=1)
    async with Caller(gateway.url) as caller:
        for _ in range(2):
            await asyncio.sleep(0.6)
            await send(caller, "/healthz")
            assert (await caller.receive()).status == 200
        async with asyncio.timeout(5):
            assert await caller.has_ended()
