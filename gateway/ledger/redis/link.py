"""One connection that all calls share, from its greeting until it is lost or left."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

import hiredis
import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import MovedError

from gateway.errors import LedgerUnavailable
from gateway.ledger.redis.command import TOGETHER, Command
from gateway.ledger.store import ReplyLost

_log = structlog.get_logger(__name__)

# A reply later than this is no reply: the caller gets its 503 within a second. A Redis that is
# merely slow (half a second) still serves.
REPLY_SECONDS = 0.8
# The same refusal is logged again after so long: a full Redis refuses thousands of calls.
_TELL_AGAIN_SECONDS = 10.0
_NOT_ENOUGH = object()
# Replies of a server that does not hold the ledger, or not now. The command did not run.
ELSEWHERE = {
    "MOVED", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "UNBLOCKED",
}  # fmt: skip


class Elsewhere(Exception):
    """The ledger is not on this server, or not now. The text is one word for the log."""


class Link(asyncio.Protocol):
    """Sends what a turn of the loop raises in few commands; replies come in their order.

    Args:
        connection: Connected and greeted; whose it is closes it.
        first_arguments: Tells what goes with every script: which life of the server the connection
            leads to, and how many microseconds a new epoch admits nothing.
        on_refused: Called after each script that the server refused.
        redirect: Called with a command and the error that it met, code and rest; True: the command
            did not run here, and is sent elsewhere or again.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        first_arguments: Callable[[], tuple[str, int]],
        on_refused: Callable[[], None],
        redirect: Callable[[Command, str, str], bool],
    ) -> None:
        self._connection = connection
        self._first_arguments = first_arguments
        self._on_refused = on_refused
        self._redirect = redirect
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Command] = deque()
        self._sent: deque[Command] = deque()
        # redis-py's own ways to write and to read take several times as long for one command or
        # reply, and many come at once here. After its greeting its transport is all that is needed:
        # replies are handed on where they come, in no task's step.
        writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001
        self._transport = cast("asyncio.Transport", writer.transport)
        self._before = self._transport.get_protocol()
        self._parser = hiredis.Reader(notEnoughData=_NOT_ENOUGH)
        self._transport.set_protocol(self)
        self._ended = asyncio.Event()
        self._failure: Exception | None = None
        self._leaving: Exception | None = None
        self._told = ("", 0.0)

    @property
    def is_open(self) -> bool:
        """Whether it takes commands."""
        return self._leaving is None

    def send(self, command: Command) -> None:
        """Send it with this turn's others, or fail it where the server is lost or being left."""
        if self._leaving is not None:
            command.fail(LedgerUnavailable())
            return
        self._waiting.append(command)
        if len(self._waiting) >= TOGETHER:
            self._write()
        elif len(self._waiting) == 1:
            self._loop.call_soon(self._write)

    def leave(self, why: Exception) -> None:
        """Send nothing more to this server; what it was sent may have run, and is heard."""
        self._leaving = self._leaving or why
        self._end_when_heard()

    async def serve(self) -> None:
        """Serve until the connection is lost or left; raise why."""
        try:
            await until_one_ends(self._watch(), self._end())
        finally:
            self._leaving = self._leaving or ConnectionError()
            while self._sent:
                self._sent.popleft().fail(ReplyLost())
            while self._waiting:
                self._waiting.popleft().fail(LedgerUnavailable())

    def _write(self) -> None:
        """Send what waits; where the server does not take it, `_watch` ends the connection."""
        if self._leaving or not self._waiting:
            return
        now = self._loop.time()
        first_arguments = self._first_arguments()
        packed = []
        while self._waiting:
            command = self._waiting.popleft()
            while self._waiting and command.take_in(self._waiting[0]):
                self._waiting.popleft()
            try:
                packed.append(command.pack(*first_arguments))
            except Exception as error:  # noqa: BLE001 - nothing of it is sent
                # Only one of those that were to run in one go is at fault.
                if parts := command.apart(""):
                    self._waiting.extendleft(reversed(parts))
                    continue
                _log.exception("unhandled", script=command.name)
                command.fail(error)
                continue
            command.sent_at = now
            self._sent.append(command)
        self._transport.write(b"".join(packed))

    def data_received(self, data: bytes) -> None:
        """Hand each reply on."""
        if self._failure:
            return
        self._parser.feed(data)
        try:
            while (reply := self._parser.gets()) is not _NOT_ENOUGH:
                self._take(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            # No Redis, or a reply that nobody waits for.
            self._fail(error)
        self._end_when_heard()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; redis-py's stream hears of it too, for who closes it waits for that."""
        self._before.connection_lost(exc)
        self._fail(exc or ConnectionError())

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._ended.set()

    def _take(self, reply: Any) -> None:
        """Hand a reply to the oldest command under way."""
        command = self._sent.popleft()
        if not isinstance(reply, hiredis.ReplyError):
            try:
                command.answer(reply)
            except Exception:  # noqa: BLE001 - a fault of this one's: the connection is everybody's
                _log.exception("unhandled", script=command.name)
                command.fail(ReplyLost())
            return
        code, _, rest = str(reply).partition(" ")
        if code in ELSEWHERE:
            self.leave(MovedError(rest, status_code=code) if code == "MOVED" else Elsewhere(code))
        if self._redirect(command, code, rest):
            return
        if code not in ELSEWHERE:
            if parts := command.apart(code):
                for part in parts:
                    self.send(part)
                return
            if not command.refuse(code):
                self._tell_refused(command, code, str(reply))
                self._on_refused()
        command.fail(LedgerUnavailable())

    async def _watch(self) -> None:
        """Give up a connection whose oldest command got no reply in time."""
        while self._connection.is_connected:
            now = self._loop.time()
            oldest = self._sent[0].sent_at if self._sent else None
            # What is sent from now on is due no sooner.
            due = (now if oldest is None else oldest) + REPLY_SECONDS
            if due <= now:
                raise TimeoutError
            await asyncio.sleep(due - now)

    def _end_when_heard(self) -> None:
        if self._leaving and not self._sent:
            self._ended.set()

    async def _end(self) -> None:
        """Wait until the connection is lost, or nothing is left to hear of a server being left."""
        await self._ended.wait()
        raise self._failure or self._leaving or ConnectionError

    def _tell_refused(self, command: Command, code: str, text: str) -> None:
        now = self._loop.time()
        told_code, told_at = self._told
        if code != told_code or now - told_at > _TELL_AGAIN_SECONDS:
            self._told = (code, now)
            _log.error("script_refused", script=command.name, error=text[:200])


def is_cancelled() -> bool:
    """Say whether it is the running task that was told to end."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def until_one_ends(*works: Coroutine[Any, Any, None]) -> None:
    """Run them together until one ends; raise what it failed with."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # Of two that end in one turn, the same one each time.
        for task in tasks:
            if task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
