"""Where alerts arrive in tests: keeps every event, and answers with what it is told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from support.waiting import until

SECRET_PATH = "/hooks/T0123456/s3cret-of-webhook"


class Receiver:
    """Statuses are taken from the front of `script`, then it is 200; None: no answer at all."""

    def __init__(self) -> None:
        self.url = ""
        self.script: list[int | None] = []
        self.events: list[dict[str, Any]] = []
        """All that came, whatever it was answered."""
        self.arrived: list[dict[str, Any]] = []
        """Those answered with 200."""
        self.requests: list[web.BaseRequest] = []

    async def take(self, request: web.BaseRequest) -> web.Response:
        event = orjson.loads(await request.read())
        self.requests.append(request)
        self.events.append(event)
        status = self.script.pop(0) if self.script else 200
        if status is None:
            # Cancelled when the other side, or the test, goes.
            await asyncio.Event().wait()
        assert status is not None
        if status == 200:
            self.arrived.append(event)
        # A redirect leads back here: whoever followed it would be seen.
        headers = {"Location": SECRET_PATH} if status in {301, 302, 307, 308} else {}
        return web.Response(status=status, headers=headers)

    def told(self, *names: str) -> list[tuple[str, str]]:
        """Return name and state of what arrived, of these alarms or of all."""
        pairs = [(event["name"], event["state"]) for event in self.arrived]
        return [pair for pair in pairs if not names or pair[0] in names]

    async def wait_for(self, name: str, state: str, seconds: float = 20) -> dict[str, Any]:
        """Return the first such event that arrived."""

        def found() -> list[dict[str, Any]]:
            return [e for e in self.arrived if (e["name"], e["state"]) == (name, state)]

        return (await until(found, seconds))[0]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run one on a free port."""
    receiver = Receiver()
    runner = web.ServerRunner(
        web.Server(receiver.take, handler_cancellation=True), shutdown_timeout=0.1
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}{SECRET_PATH}"
    try:
        yield receiver
    finally:
        await runner.cleanup()
