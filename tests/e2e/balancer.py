"""A balancer of TCP connections, as kube-proxy is one: who is connected stays where it is."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

from support.callers.wire import ask

_LOOK_SECONDS = 0.1


class Balancer:
    """Gives each new connection to the next backend that says it is ready; ended by `async with`.

    Attributes:
        url: Its own.
        backends: URLs; may be changed at any time.
    """

    def __init__(self, backends: Iterable[str]) -> None:
        self.url = ""
        self.backends = list(backends)
        self._ready: list[str] = []
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        await self._look()
        self._looking = asyncio.create_task(self._keep_looking())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._looking.cancel()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self._looking, *self._tasks, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        ready = []
        for url in list(self.backends):
            with suppress(OSError, EOFError):
                if (await ask(url, "/readyz", ())).status == 200:
                    ready.append(url)
        self._ready = ready

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        address = urlsplit(self._ready[self._turn % len(self._ready)])
        there, here = await asyncio.open_connection(address.hostname, address.port)
        try:
            # The end of one side is passed on, and is not the end of the other.
            await asyncio.gather(_pass(reader, here), _pass(there, writer))
        finally:
            here.close()
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # The other side may have gone meanwhile.
    with suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
