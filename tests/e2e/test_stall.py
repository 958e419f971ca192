"""A gateway that is stopped for a while, as a paused machine or a blocked event loop is."""

import asyncio
import signal

import pytest
from support.keepa.scripted import answer, scripted_keepa
from support.waiting import until

pytestmark = pytest.mark.e2e
PRODUCT = "/product?domain=1&asin=B000000001&key=x"
CALLS = 4
# Until more than half a second after the calls' time-out.
STOPPED_SECONDS = 2.2


@pytest.mark.parametrize("keepa_answers", [True, False])
async def test_a_stopped_gateway_does_not_blame_keepa(machines, keepa_answers):
    """Answers that came meanwhile are read; time-outs of that moment open no circuit."""
    go_on = asyncio.Event()

    async def script(_, writer):
        await go_on.wait()
        writer.write(answer())
        await writer.drain()

    async with scripted_keepa() as keepa:
        gateway = await machines.serve(
            keepa_base_url=keepa.url, upstream_timeout_seconds=1, upstream_retries=0,
            breaker_failures=2, breaker_cooldown_seconds=30,
        ).started()  # fmt: skip
        await gateway.ready()
        keepa.script = script
        calls = [asyncio.create_task(gateway.ask(PRODUCT)) for _ in range(CALLS)]
        await until(lambda: len(keepa.requests) == CALLS)
        gateway.process.send_signal(signal.SIGSTOP)
        try:
            if keepa_answers:
                go_on.set()
            await asyncio.sleep(STOPPED_SECONDS)
        finally:
            gateway.process.send_signal(signal.SIGCONT)
        statuses = {got.status for got in await asyncio.gather(*calls)}
        assert statuses == ({200} if keepa_answers else {504})
        await until(lambda: gateway.logged("gateway_stalled"))
        assert (await gateway.status())["breaker"] == "closed"
        assert gateway.logged("circuit_opened") == []
        go_on.set()
        assert (await gateway.ask(PRODUCT)).status == 200
        assert gateway.errors == ""
