"""The store on a Redis server, behind one shared connection."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, RedisError

from gateway.errors import LedgerUnavailable
from gateway.ledger.cluster import ClusterServers
from gateway.ledger.command import Command, ScriptCommand
from gateway.ledger.link import REPLY_SECONDS, Elsewhere, Link, until_one_ends
from gateway.ledger.scripts import TEXTS, Script, name_keys
from gateway.ledger.sentinel import SentinelServers
from gateway.ledger.servers import (
    Dialer,
    NoServerError,
    OneServer,
    Server,
    Servers,
    ask,
)
from gateway.ledger.store import Arguments
from gateway.redis_url import Kind, RedisUrl, read_redis_url

_log = structlog.get_logger(__name__)

# From one attempt to connect to the next: after a long connection the first comes at once.
_RECONNECT_SECONDS = 0.25
# How often a connection that works is doubted all the same.
_FOLLOW_SECONDS = 0.5


class RedisStore:
    """One connection that all calls share.

    redis-py connects (TLS) and parses the greeting; a pool of its connections, one call each, costs
    ten times the processor time.

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
        # In a cluster, a question about a key is answered by its node only.
        self._probe = (("EXISTS", key),) if key and parsed.kind is Kind.CLUSTER else ()
        self._run_id = ""
        # Looking it up costs a system call on Python 3.11.
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._is_down_told = False
        self.trouble = ""
        """One word of what ended the latest attempt or connection."""

    @property
    def up(self) -> bool:
        """Whether the connection stands."""
        return self._link is not None and self._link.is_open

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
        await self._servers.close()

    def run(
        self, script: Script, keys: Sequence[str], arguments: Arguments
    ) -> asyncio.Future[list[Any]]:
        """Run one script; the reply fails with LedgerUnavailable where none came."""
        reply: asyncio.Future[list[Any]] = self._loop.create_future()
        command = ScriptCommand(script, keys, arguments, reply)
        if self._link is None:
            command.fail(LedgerUnavailable())
        else:
            self._link.send(command)
        return reply

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

    async def _keep_connected(self, first_attempt: asyncio.Event) -> None:
        while True:
            next_attempt_at = self._loop.time() + _RECONNECT_SECONDS
            try:
                await self._stay_on(await self._servers.find(), first_attempt)
            except Exception as error:  # noqa: BLE001 - whatever broke it, the next attempt is the remedy
                self._servers.learn(error)
                self._tell_down(error)
            first_attempt.set()
            await asyncio.sleep(max(0.0, next_attempt_at - self._loop.time()))

    async def _stay_on(self, server: Server, first_attempt: asyncio.Event) -> None:
        """Connect to a server and serve from it; raise what that ended with."""
        connection = self._dialer.dial(server.host, server.port)
        try:
            await until_one_ends(
                self._converse(connection, server, first_attempt), self._follow(server)
            )
        finally:
            self._link = None
            await connection.disconnect(nowait=True)

    async def _converse(
        self, connection: AbstractConnection, server: Server, first_attempt: asyncio.Event
    ) -> None:
        await connection.connect()
        async with asyncio.timeout(REPLY_SECONDS):
            self._run_id = await self._greet(connection, server)
        self._link = Link(connection, lambda: (self._run_id, self.learning_us))
        _log.info("store_up", store=self.kind)
        self._is_down_told = False
        self.on_connect()
        first_attempt.set()
        await self._link.serve()

    async def _greet(self, connection: AbstractConnection, server: Server) -> str:
        """Load the scripts, and return which life of which server this is; all in one write."""
        introduction = (*self._dialer.introduction, *self._probe)
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

    async def _follow(self, server: Server) -> None:
        """Leave a server that the ledger has left, or that has become a replica.

        A former master may serve on, unaware, and whoever is idle would not hear of it from
        errors: live holds have to be brought to the new master within its learning time.
        """
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS)
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

    def _tell_down(self, error: Exception) -> None:
        self.trouble = _code_of(error)
        if self._is_down_told:
            return
        self._is_down_told = True
        facts = {"store": self.kind, "error": self.trouble}
        if isinstance(error, AuthenticationError):
            facts["hint"] = "check user and password of REDIS_URL"
        _log.warning("store_down", **facts)


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


def _code_of(error: Exception) -> str:
    """One word of what went wrong: the rest may hold an address or a password."""
    if isinstance(error, Elsewhere | NoServerError):
        return str(error)
    if not isinstance(error, RedisError):
        return type(error).__name__
    # What the server said, or what the system did, which redis-py wraps.
    return error.status_code or type(error.__cause__ or error.__context__ or error).__name__
