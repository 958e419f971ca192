"""Where a command goes that a node of a cluster did not run, for its slot migrates or has moved."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from redis.asyncio.connection import AbstractConnection

from gateway.errors import LedgerUnavailable
from gateway.ledger.redis.command import Command
from gateway.ledger.redis.link import REPLY_SECONDS, Link, until_one_ends
from gateway.ledger.redis.servers import Dialer, Server

_log: Any = structlog.get_logger(__name__)

# A slot of few keys has migrated by then.
_AGAIN_SECONDS = 0.03
_IDLE_SECONDS = 1.0
# Replies of a node that has no slot of the command's, or not all of its keys. It did not run.
_NOT_HERE = {"ASK", "TRYAGAIN", "MOVED"}


class Detour:
    """Sends such commands again, or to the node that the slot goes to, until their time is up.

    TRYAGAIN: some of a script's keys have gone and some have not. ASK: this one has gone, or was
    never there; the other node runs it right behind an ASKING. The slot's owner is asked first each
    time, for only it knows: a key that is written there before it has come is in two places.

    Args:
        dialer: Makes connections.
        greet: Loads the scripts, and returns which life of which server this is.
        learning_us: As the store's.
        send_home: Sends a command to the slot's owner; False: there is none right now.
    """

    def __init__(
        self,
        dialer: Dialer,
        greet: Callable[[AbstractConnection, Server], Awaitable[str]],
        learning_us: int,
        send_home: Callable[[Command], bool],
    ) -> None:
        self._dialer = dialer
        self._greet = greet
        self._learning_us = learning_us
        self._send_home = send_home
        self._loop = asyncio.get_running_loop()
        self._server: Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._waiting: list[Command] = []
        self._used_at = 0.0

    def redirect(self, owner: Server, command: Command, code: str, rest: str) -> bool:
        """Take a command that met that error at the slot's owner; False: it is another error."""
        if code == "ASK":
            host, _, port = rest.rpartition(" ")[2].rpartition(":")
            self._send(Server(host or owner.host, int(port)), command)
            return True
        return self._take_back(command, code, rest)

    async def close(self) -> None:
        """Drop the connection."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _send(self, server: Server, command: Command) -> None:
        if self._task is None or self._task.done():
            self._server = server
            self._task = asyncio.create_task(self._serve(server))
        if self._server != server:
            # The slot goes elsewhere by now: this connection ends where it is idle.
            self._send_again(command)
        elif self._link and not self._link.is_open:
            self._send_again(command)
        elif self._link:
            self._ask(self._link, command)
        else:
            self._waiting.append(command)

    async def _serve(self, server: Server) -> None:
        connection = self._dialer.dial(server.host, server.port)
        try:
            await connection.connect()
            async with asyncio.timeout(REPLY_SECONDS):
                run_id = await self._greet(connection, server)
            self._link = Link(
                connection,
                lambda: (run_id, self._learning_us),
                on_refused=lambda: None,
                redirect=self._take_back,
            )
            while self._waiting:
                self._ask(self._link, self._waiting.pop(0))
            await until_one_ends(self._link.serve(), self._wait_idle())
        except Exception as error:  # noqa: BLE001 - whatever broke it, the slot's owner is asked again
            _log.warning("migration_target_unreachable", error=type(error).__name__)
        finally:
            self._link = None
            while self._waiting:
                self._send_again(self._waiting.pop(0))
            await connection.disconnect(nowait=True)

    def _ask(self, link: Link, command: Command) -> None:
        self._used_at = self._loop.time()
        # Good for the next command only. Nobody waits for its reply.
        ignored: asyncio.Future[Any] = self._loop.create_future()
        ignored.cancel()
        link.send(Command("ASKING", reply=ignored))
        link.send(command)

    def _take_back(self, command: Command, code: str, _: str) -> bool:
        if code not in _NOT_HERE:
            return False
        self._send_again(command)
        return True

    def _send_again(self, command: Command) -> None:
        """Send it again shortly; fail it where its caller should hear by now."""
        now = self._loop.time()
        command.due_at = command.due_at or now + REPLY_SECONDS
        if now >= command.due_at:
            command.fail(LedgerUnavailable())
            return
        command.stand_alone()
        self._loop.call_later(_AGAIN_SECONDS, self._send_now, command)

    def _send_now(self, command: Command) -> None:
        if not self._send_home(command):
            self._send_again(command)

    async def _wait_idle(self) -> None:
        """Wait until nothing was sent for longer than a reply may take."""
        left = _IDLE_SECONDS
        while left > 0:
            await asyncio.sleep(left)
            left = self._used_at + _IDLE_SECONDS - self._loop.time()
