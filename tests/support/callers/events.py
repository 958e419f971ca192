"""A reader of server-sent events, as a browser's EventSource."""

from collections.abc import Callable
from typing import Any, Self

import orjson

from support.callers.wire import Answer, Caller, write_request
from support.waiting import within

PATIENCE_SECONDS = 60


class Stream:
    """One open stream; closes at the end of an `async with`."""

    def __init__(self, url: str, *headers: str) -> None:
        self._caller = Caller(url)
        self._headers = headers
        self._rest = b""

    async def __aenter__(self) -> Self:
        await self._caller.__aenter__()
        await self._caller.send(write_request("/dashboard/events", self._headers))
        self.head: Answer = await self._caller.receive_head()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._caller.leave()

    async def next(self) -> tuple[str, Any]:
        """Return the next event's name and data; EOFError: the stream has ended properly."""
        async with within(PATIENCE_SECONDS):
            while b"\n\n" not in self._rest:
                size = int(await self._caller.reader.readuntil(b"\r\n"), 16)
                piece = await self._caller.reader.readexactly(size + 2)
                if not size:
                    raise EOFError
                self._rest += piece[:-2]
        block, _, self._rest = self._rest.partition(b"\n\n")
        fields = dict(line.split(b": ", 1) for line in block.splitlines())
        return fields[b"event"].decode(), orjson.loads(fields[b"data"])

    async def until(self, name: str, fits: Callable[[Any], Any] = lambda _: True) -> Any:
        """Return the data of the first such event."""
        async with within(PATIENCE_SECONDS):
            while True:
                told, data = await self.next()
                if told == name and fits(data):
                    return data
