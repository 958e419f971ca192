"""A way to a server that takes its time."""

import asyncio
from types import TracebackType
from typing import Self


class SlowRelay:
    """Passes bytes on, each piece so many seconds after it came from the server.

    Args:
        port: The server's.
        seconds: What a reply is late.
    """

    def __init__(self, port: int, seconds: float) -> None:
        self.seconds = seconds
        self._target = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}/0"

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        for writer in self._writers:
            writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, server_writer}
        for way in (
            self._pass_on(reader, server_writer, slow=False),
            self._pass_on(server_reader, writer, slow=True),
        ):
            task = asyncio.create_task(way)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(65536):
                # Later, not one after the other: a slow way is not a narrow one.
                loop.call_later(self.seconds if slow else 0, writer.write, data)
        except ConnectionError:
            pass
        finally:
            loop.call_later(self.seconds if slow else 0, writer.close)
