"""What a gateway takes from outside is given to it: several of them share a process, each alone."""

import asyncio
from contextlib import AsyncExitStack

from support.gateways.served import REAL_KEY, Gateway

from gateway.app import serving
from gateway.machine import Machine
from gateway.settings import Settings

NO_CALL = "/no-such-endpoint"


def settings_for(keepa, **settings):
    known = {"keepa_api_key": REAL_KEY, "keepa_base_url": keepa.url, "drain_seconds": 0}
    return Settings(_env_file=None, **known, **settings)


async def test_request_ids_are_each_gateways_own(simulator):
    """Ids count within one gateway, under its own name; a caller's id stays."""
    settings = settings_for(simulator, port=0)
    async with AsyncExitStack() as stack:
        first, second = [
            Gateway(
                await stack.enter_async_context(
                    serving(settings, machine=Machine(name_process=lambda name=name: name))
                )
            )
            for name in ("one", "two")
        ]
        got = [await gateway.ask(NO_CALL) for gateway in (first, first, second)]
        assert [one.get("X-Request-Id") for one in got] == ["one-1", "one-2", "two-1"]
        mine = await first.ask(NO_CALL, "X-Request-Id: mine")
        assert mine.get("X-Request-Id") == "mine"


async def test_machine_says_where_callers_come_in(simulator):
    """A gateway listens as it is told, and leaves the loop's handler of exceptions alone."""
    heard = []

    async def listen(make_door, host, port):
        heard.append((host, port))
        return await asyncio.get_running_loop().create_server(make_door, host, 0)

    settings = settings_for(simulator, port=1)
    async with serving(settings, machine=Machine(listen=listen)) as url:
        assert (await Gateway(url).ask("/healthz")).status == 200
        assert asyncio.get_running_loop().get_exception_handler() is None
    assert heard == [("127.0.0.1", 1)]
