"""A TCP proxy whose faults are switched while it runs: before Redis, and before Keepa.

Faults that last stand until `lift`; each begins at once, also on connections that are open already.
A connection is cut by a reset, as by a peer that died: never by what could pass for a proper end.
"""

import asyncio
import contextlib
import enum
import socket
import struct
from dataclasses import dataclass
from typing import Self

_READ_BYTES = 65_536
# How often the bytes of a trickle come: often enough for a reply of Redis to come in parts.
_DROP_SECONDS = 0.005
# Linger on, for no time: what is not sent is dropped, and the other side hears of a reset.
_RESET = struct.pack("ii", 1, 0)


class Direction(enum.Enum):
    """Which way bytes go."""

    REQUEST = "to the server"
    ANSWER = "to the client"


@dataclass
class _Faults:
    """What is wrong at the moment; each default is what a wire does."""

    silent: bool = False
    delay_seconds: float = 0.0
    bytes_per_second: float = 0.0
    """0: as fast as they come."""
    cut_after: int | None = None
    reply_to_lose: bool = False
    saying: bytes | None = None


class _Link:
    """A client's connection and, once there, ours to the server for it."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.answered = 0
        """Bytes since the last request."""
        self.loses_reply = False

    def cut(self) -> None:
        """Reset the client's connection; the server still reads what was sent to it."""
        reset(self.client)
        if self.server:
            self.server.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Cut a connection: what is not sent is dropped."""
    if not writer.transport.is_closing():
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


class FaultProxy:
    """Passes bytes between clients and one server.

    Args:
        port: The server's, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._faults = _Faults()
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._open = {direction: asyncio.Event() for direction in Direction}
        # Bound and never listening: while connections are refused, the port stays ours.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port: int = self._place.getsockname()[1]

    async def __aenter__(self) -> Self:
        await self.lift()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening and cut all connections."""
        self.refuse()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self._place.close()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._links)

    def cut(self) -> None:
        """Cut all connections, once; new ones are taken."""
        for link in list(self._links):
            link.cut()

    def refuse(self) -> None:
        """Cut all connections and refuse new ones."""
        if self._listener:
            self._listener.close()
            self._listener = None
        self.cut()

    def fall_silent(self) -> None:
        """Cut all connections; accept new ones and never say a word on them."""
        self._faults.silent = True
        self.cut()

    def swallow(self) -> None:
        """Let nothing pass and nothing close; when lifted, all that waited goes on."""
        for direction in Direction:
            self.stall(direction)

    def stall(self, direction: Direction) -> None:
        """Let nothing pass that way; when lifted, all that waited goes on."""
        self._open[direction].clear()

    def delay(self, seconds: float) -> None:
        """Hold each answer's bytes back for some time; they still come as fast as they would."""
        self._faults.delay_seconds = seconds

    def trickle(self, bytes_per_second: float) -> None:
        """Let answers pass in drops."""
        self._faults.bytes_per_second = bytes_per_second

    def cut_answers(self, after: int) -> None:
        """Cut each connection after so many bytes of an answer; 0: before it begins."""
        self._faults.cut_after = after

    def lose_reply(self) -> None:
        """Pass the next request on, drop what is answered to it and cut its connection; once."""
        self._faults.reply_to_lose = True

    def say(self, answer: bytes) -> None:
        """Say that to each request and hang up; nothing of it reaches the server."""
        self._faults.saying = answer

    async def lift(self) -> None:
        """End all faults."""
        was_silent = self._faults.silent
        self._faults = _Faults()
        for gate in self._open.values():
            gate.set()
        if was_silent:
            # Nobody would ever say anything on them.
            self.cut()
        if not self._listener:
            self._listener = await asyncio.start_server(
                self._accept, "127.0.0.1", self.port, reuse_address=True, backlog=1024
            )

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        link = _Link(client)
        self._links.add(link)
        try:
            if self._faults.silent:
                while await reader.read(_READ_BYTES):
                    pass
                return
            answers, server = await asyncio.open_connection("127.0.0.1", self._target)
            link.server = server
            await asyncio.gather(
                self._pass(link, Direction.REQUEST, reader, server),
                self._pass(link, Direction.ANSWER, answers, client),
            )
        except OSError:
            pass
        finally:
            link.cut()
            self._links.discard(link)

    async def _pass(
        self,
        link: _Link,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Pass one way on, until its end."""
        # Read ahead of what is written: a delay is no lack of speed. Bounded, as a wire is.
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        receiving = asyncio.create_task(self._receive(direction, reader, waiting))
        try:
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                await self._open[direction].wait()
                if not data:
                    break
                if direction is Direction.REQUEST:
                    await self._pass_request(link, data, writer)
                else:
                    await self._pass_answer(link, data, writer)
            writer.close()
        except OSError:
            link.cut()
        finally:
            receiving.cancel()

    async def _receive(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        waiting: asyncio.Queue[tuple[float, bytes]],
    ) -> None:
        loop = asyncio.get_running_loop()
        data = b"more"
        while data:
            data = b""
            # A reset is the end as well.
            with contextlib.suppress(OSError):
                data = await reader.read(_READ_BYTES)
            delay = self._faults.delay_seconds if direction is Direction.ANSWER else 0.0
            await waiting.put((loop.time() + delay, data))

    async def _pass_request(self, link: _Link, data: bytes, writer: asyncio.StreamWriter) -> None:
        faults = self._faults
        link.answered = 0
        if faults.saying is not None:
            link.client.write(faults.saying)
            link.client.close()
            return
        if faults.reply_to_lose:
            faults.reply_to_lose = False
            link.loses_reply = True
        writer.write(data)
        await writer.drain()

    async def _pass_answer(self, link: _Link, data: bytes, writer: asyncio.StreamWriter) -> None:
        faults = self._faults
        if link.loses_reply:
            link.cut()
            return
        if faults.cut_after is not None and link.answered + len(data) > faults.cut_after:
            writer.write(data[: max(0, faults.cut_after - link.answered)])
            link.cut()
            return
        link.answered += len(data)
        size = len(data)
        if faults.bytes_per_second:
            size = max(1, int(faults.bytes_per_second * _DROP_SECONDS))
        # By the clock: a machine with other things to do makes no wire slower.
        due = asyncio.get_running_loop().time()
        for start in range(0, len(data), size):
            if size < len(data) and faults is self._faults:
                due += size / faults.bytes_per_second
                await asyncio.sleep(due - asyncio.get_running_loop().time())
            writer.write(data[start : start + size])
            await writer.drain()
