"""The store on a Redis server, behind one shared connection."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
import structlog
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ResponseError

from gateway.errors import LedgerUnavailable
from gateway.ledger.scripts import ALL, Script
from gateway.ledger.store import Arguments, ReplyLost

_log = structlog.get_logger(__name__)

# A reply later than this is no reply: the caller gets its 503 within a second. A Redis that is
# merely slow (half a second) still serves.
REPLY_SECONDS = 0.8
CONNECT_SECONDS = 0.8
# Between attempts to connect: first at once, then no longer than this apart.
_RECONNECT_SECONDS = 0.25
_READ_BYTES = 65_536
_NOT_ENOUGH = object()


class _Command:
    """One script call under way."""

    __slots__ = ("arguments", "keys", "reply", "script", "sent_at", "whole_text")

    def __init__(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Arguments,
        reply: asyncio.Future[list[Any]],
    ) -> None:
        self.script = script
        self.keys = keys
        self.arguments = arguments
        self.reply = reply
        self.sent_at: float | None = None
        self.whole_text = False

    def pack(self, run_id: str, learning_us: int) -> bytes:
        """Return the command as Redis reads it."""
        by_text = self.whole_text
        return hiredis.pack_command(  # type: ignore[no-any-return]
            (  # type: ignore[arg-type] # the stub knows tuples of one element only
                "EVAL" if by_text else "EVALSHA",
                self.script.text if by_text else self.script.sha,
                len(self.keys),
                *self.keys,
                run_id,
                learning_us,
                *self.arguments(),
            )
        )

    def fail(self, error: Exception) -> None:
        """Tell the caller why no reply came."""
        if not self.reply.done():
            self.reply.set_exception(error)


class RedisStore:
    """One connection that all calls share: what a turn of the loop raises leaves in one write.

    redis-py connects (TLS, password, database) and parses; a pool of its connections, one call
    each, costs ten times the processor time. Replies come in the order of the commands.

    A lost connection fails all calls under way at once; while it is away calls fail at once too,
    and it is tried again each quarter of a second.
    """

    kind = "redis"

    def __init__(self, url: str, *, learning_seconds: float = 2.5) -> None:
        self.learning_us = int(learning_seconds * 1_000_000)
        self.on_connect: Callable[[], None] = lambda: None
        scheme, _, rest = url.partition("://")
        self._pool = ConnectionPool.from_url(
            f"{scheme.replace('valkey', 'redis')}://{rest}",
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_SECONDS,
        )
        self._run_id = ""
        # Looking it up costs a system call on Python 3.11.
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Command] = deque()
        self._sent: deque[_Command] = deque()
        self._wake = asyncio.Event()
        self._connected = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """Whether the connection stands."""
        return self._connected.is_set()

    async def open(self) -> None:
        """Start connecting; wait for the first attempt, not for its success."""
        first_attempt = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep_connected(first_attempt))
        await first_attempt.wait()

    async def close(self) -> None:
        """Drop the connection."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._pool.aclose()

    def run(
        self, script: Script, keys: Sequence[str], arguments: Arguments
    ) -> asyncio.Future[list[Any]]:
        """Run one script; the reply fails with LedgerUnavailable where none came."""
        reply: asyncio.Future[list[Any]] = self._loop.create_future()
        command = _Command(script, keys, arguments, reply)
        if self._connected.is_set():
            self._waiting.append(command)
            self._wake.set()
        else:
            command.fail(LedgerUnavailable())
        return reply

    async def _keep_connected(self, first_attempt: asyncio.Event) -> None:
        announced = False
        while True:
            connection = cast("AbstractConnection", self._pool.make_connection())
            try:
                await asyncio.wait_for(self._greet(connection), CONNECT_SECONDS)
                self._connected.set()
                _log.info("store_up", store=self.kind)
                announced = False
                self.on_connect()
                first_attempt.set()
                await self._serve(connection)
            except Exception as error:  # noqa: BLE001 - whatever broke it, the next attempt is the remedy
                if not announced:
                    _log.warning("store_down", store=self.kind, error=_code_of(error))
                    announced = True
            finally:
                self._connected.clear()
                self._fail_all()
                await connection.disconnect(nowait=True)
                first_attempt.set()
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _greet(self, connection: AbstractConnection) -> None:
        """Connect, learn which life of the server this is, and load the scripts."""
        await connection.connect()
        await connection.send_command("INFO", "server", check_health=False)
        info = bytes(await connection.read_response(disable_decoding=True))
        for line in info.splitlines():
            if line.startswith(b"run_id:"):
                self._run_id = line.partition(b":")[2].decode()
        for script in ALL:
            await connection.send_command("SCRIPT LOAD", script.text, check_health=False)
            await connection.read_response(disable_decoding=True)

    async def _serve(self, connection: AbstractConnection) -> None:
        """Write, read and watch until one of them fails; raise what it failed with."""
        tasks = [
            asyncio.create_task(work(connection)) for work in (self._write, self._read, self._watch)
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, connection: AbstractConnection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            now = loop.time()
            packed = []
            while self._waiting:
                command = self._waiting.popleft()
                command.sent_at = now
                self._sent.append(command)
                packed.append(command.pack(self._run_id, self.learning_us))
            await connection.send_packed_command(packed, check_health=False)

    async def _read(self, connection: AbstractConnection) -> None:
        # redis-py's own read_response takes several times as long for one reply, and many come at
        # once here. After its greeting its stream and a parser of ours are all that is needed; a
        # test guards the private name.
        stream = cast("asyncio.StreamReader", connection._reader)  # noqa: SLF001
        parser = hiredis.Reader(notEnoughData=_NOT_ENOUGH)
        while data := await stream.read(_READ_BYTES):
            parser.feed(data)
            while (reply := parser.gets()) is not _NOT_ENOUGH:
                self._take(reply)
        raise ConnectionError

    def _take(self, reply: Any) -> None:
        """Hand a reply to the oldest command under way."""
        command = self._sent.popleft()
        if not isinstance(reply, hiredis.ReplyError):
            if not command.reply.done():
                command.reply.set_result(reply)
        elif str(reply).startswith("NOSCRIPT"):
            # SCRIPT FLUSH: this one did not run, so its text goes.
            command.whole_text = True
            self._waiting.append(command)
            self._wake.set()
        else:
            _log.error("script_refused", script=command.script.name, error=str(reply)[:200])
            command.fail(LedgerUnavailable())

    async def _watch(self, connection: AbstractConnection) -> None:
        """Give up a connection whose oldest command got no reply in time."""
        loop = asyncio.get_running_loop()
        while connection.is_connected:
            await asyncio.sleep(REPLY_SECONDS / 8)
            oldest = self._sent[0].sent_at if self._sent else None
            if oldest is not None and loop.time() - oldest > REPLY_SECONDS:
                raise TimeoutError

    def _fail_all(self) -> None:
        while self._sent:
            self._sent.popleft().fail(ReplyLost())
        while self._waiting:
            self._waiting.popleft().fail(LedgerUnavailable())


def _code_of(error: BaseException) -> str:
    """First word of a Redis error, else the class: the rest may hold an address or a password."""
    if isinstance(error, ResponseError):
        return str(error).partition(" ")[0][:40]
    return type(error).__name__
