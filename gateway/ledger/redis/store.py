"""The store on a Redis server, behind one shared connection."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redis.asyncio.connection import AbstractConnection

from gateway.errors import LedgerUnavailable
from gateway.ledger.redis.cluster import ClusterServers
from gateway.ledger.redis.command import Command, ScriptCommand
from gateway.ledger.redis.detour import Detour
from gateway.ledger.redis.link import REPLY_SECONDS, Elsewhere, Link, is_cancelled, until_one_ends
from gateway.ledger.redis.sentinel import SentinelServers
from gateway.ledger.redis.servers import (
    Dialer,
    OneServer,
    Server,
    Servers,
    ask,
)
from gateway.ledger.redis.trouble import Trouble
from gateway.ledger.redis.writes import Writes
from gateway.ledger.scripts import TEXTS, Script, name_keys
from gateway.ledger.store import Arguments, Sink
from gateway.settings.redis_url import Kind, RedisUrl, read_redis_url

# From one attempt to connect to the next: after a long connection the first comes at once.
_RECONNECT_SECONDS = 0.25
# How often a connection that works is doubted all the same.
_FOLLOW_SECONDS = 0.5


class RedisStore:
    """One connection that all calls share.

    redis-py connects (TLS) and parses the greeting; a pool of its connections, one call each, costs
    ten times the processor time.

    A server that refuses writes is away too, though its connection stands: what it still runs, as
    resolutions on one that is full, it is sent.

    A lost connection fails all calls under way at once; while it is away calls fail at once too,
    and each quarter of a second it is looked up anew where the ledger is, and tried again.

    Args:
        url: As in REDIS_URL.
        account: Names the ledger, which in a cluster is on that name's node. Empty: the node is
            learned from another node's MOVED.
        learning_seconds: How long a new epoch admits nothing.
    """

    kind = "redis"

    def __init__(self, url: str, account: str = "", *, learning_seconds: float = 2.5) -> None:
        self.learning_us = int(learning_seconds * 1_000_000)
        self.on_connect: Callable[[], None] = lambda: None
        parsed = read_redis_url(url)
        key = name_keys(account)[0] if account else None
        self._dialer = Dialer(parsed)
        self._servers = _make_servers(parsed, self._dialer, key)
        is_lost = not account and parsed.kind is Kind.CLUSTER
        expiries = next(key for key in name_keys(account) if key.endswith("expiries"))
        self._writes = Writes("" if is_lost else expiries, self._hear_writes)
        self._run_id = ""
        # Looking it up costs a system call on Python 3.11.
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._first_attempt = asyncio.Event()
        self._trouble = Trouble(self.kind, has_tls=parsed.tls is not None)
        self._detour = Detour(self._dialer, self._greet, self.learning_us, self._send_home)

    @property
    def up(self) -> bool:
        """Whether the connection stands, and the server takes writes."""
        return self._link is not None and self._link.is_open and self._writes.refusal == ""

    @property
    def trouble(self) -> str:
        """One word of why the store is away, or was last."""
        return self._trouble.word

    @property
    def hint(self) -> str:
        """What to do about it; empty: nothing that is known."""
        return self._trouble.hint

    @property
    def refuses_writes(self) -> bool:
        """Whether the server answers, and takes no writes."""
        return bool(self._writes.refusal)

    async def open(self) -> None:
        """Start connecting; wait for the first attempt, not for its success."""
        self._keeper = asyncio.create_task(self._keep_connected())
        await self._first_attempt.wait()

    async def close(self) -> None:
        """Drop the connection."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._detour.close()
        await self._servers.close()

    def run(
        self, script: Script, keys: Sequence[str], arguments: Arguments
    ) -> asyncio.Future[list[Any]]:
        """Run one script; the reply fails with LedgerUnavailable where none came."""
        reply: asyncio.Future[list[Any]] = self._loop.create_future()
        self.send(script, keys, arguments, reply)
        return reply

    def send(self, script: Script, keys: Sequence[str], arguments: Arguments, sink: Sink) -> None:
        """Run one script; its reply goes to `sink`."""
        command = ScriptCommand(script, keys, arguments, sink)
        if self._writes.refusal:
            # Answered just before the script is: the first that runs is the end of it.
            self._ask_writes()
        if self._link is None:
            command.fail(LedgerUnavailable())
        else:
            self._link.send(command)

    async def read_info(self, section: str, name: str) -> str:
        """Return one value of the server's INFO; empty where it does not tell it.

        Raises:
            LedgerUnavailable: No answer.
        """
        if self._link is None:
            raise LedgerUnavailable
        info: asyncio.Future[bytes] = self._loop.create_future()
        self._link.send(Command("INFO", section, reply=info))
        return _read_info(await info, name.encode())

    async def _keep_connected(self) -> None:
        while True:
            next_attempt_at = self._loop.time() + _RECONNECT_SECONDS
            try:
                await self._stay_on(await self._servers.find())
            except Exception as error:  # noqa: BLE001 - whatever broke it, the next attempt is the remedy
                self._servers.learn(error)
                self._trouble.begin(error)
            except asyncio.CancelledError as error:
                # Also where not this task was cancelled, but something that it waited for.
                if is_cancelled():
                    raise
                self._trouble.begin(error)
            self._first_attempt.set()
            await asyncio.sleep(max(0.0, next_attempt_at - self._loop.time()))

    async def _stay_on(self, server: Server) -> None:
        """Connect to a server and serve from it; raise what that ended with."""
        connection = self._dialer.dial(server.host, server.port)
        try:
            await until_one_ends(self._converse(connection, server), self._follow(server))
        finally:
            self._link = None
            self._writes.forget()
            await connection.disconnect(nowait=True)

    async def _converse(self, connection: AbstractConnection, server: Server) -> None:
        await connection.connect()
        async with asyncio.timeout(REPLY_SECONDS):
            self._run_id = await self._greet(connection, server)
        self._link = Link(
            connection,
            lambda: (self._run_id, self.learning_us),
            on_refused=self._ask_writes,
            redirect=partial(self._detour.redirect, server),
        )
        self._ask_writes()
        self.on_connect()
        await self._link.serve()

    async def _greet(self, connection: AbstractConnection, server: Server) -> str:
        """Load the scripts, and return which life of which server this is; all in one write."""
        introduction = self._dialer.introduction
        loads = [("SCRIPT", "LOAD", text) for text in TEXTS]
        replies = await ask(
            connection, *introduction, ("INFO", "server"), ("INFO", "replication"), *loads
        )
        server_info, replication_info = replies[len(introduction) : len(introduction) + 2]
        if _is_replica(replication_info):
            raise Elsewhere("READONLY")
        run_id = _read_info(server_info, b"run_id")
        # A master that was replaced and came back without a restart lacks its last writes.
        return f"{run_id}.{server.term}" if server.term else run_id

    def _send_home(self, command: Command) -> bool:
        """Send a command to the server that holds the ledger; False: there is none right now."""
        if self._link is None or not self._link.is_open:
            return False
        self._link.send(command)
        return True

    def _ask_writes(self) -> None:
        if self._link is not None:
            self._writes.ask(self._link)

    def _hear_writes(self, was: str | None) -> None:
        """Note that the server takes writes, or no more."""
        if self._writes.refusal:
            self._trouble.begin(Elsewhere(self._writes.refusal))
        else:
            self._trouble.end()
            if was:
                self.on_connect()
        self._first_attempt.set()

    async def _follow(self, server: Server) -> None:
        """Leave a server that the ledger has left, or that has become a replica.

        A former master may serve on, unaware, and whoever is idle would not hear of it from
        errors: live holds have to be brought to the new master within its learning time.
        """
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS)
            self._ask_writes()
            why = None
            if not await self._servers.is_current(server):
                why = Elsewhere("FAILED_OVER")
            elif await self._leads_to_replica():
                why = Elsewhere("READONLY")
            if why and self._link is None:
                raise why
            if why and self._link:
                self._link.leave(why)

    async def _leads_to_replica(self) -> bool:
        try:
            return await self.read_info("replication", "role") == "slave"
        except LedgerUnavailable:
            # Lost, which the link itself has a better word for.
            return False


def _make_servers(url: RedisUrl, dialer: Dialer, key: str | None) -> Servers:
    if url.kind is Kind.SENTINEL:
        return SentinelServers(url, dialer)
    if url.kind is Kind.CLUSTER:
        return ClusterServers(url, dialer, key)
    return OneServer(url)


def _is_replica(replication_info: bytes) -> bool:
    return _read_info(replication_info, b"role") == "slave"


def _read_info(info: bytes, name: bytes) -> str:
    """Return one value of INFO; empty where a server does not tell it."""
    for line in info.splitlines():
        if line.startswith(name + b":"):
            return line.partition(b":")[2].decode()
    return ""
