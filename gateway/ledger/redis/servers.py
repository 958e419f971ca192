"""Which server holds the ledger now, and a connection to it: asked anew for each connection."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import hiredis
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)

from gateway.settings.redis_url import Kind, RedisUrl

CONNECT_SECONDS = 0.8


class Server(NamedTuple):
    """A server that is said to hold the ledger."""

    host: str
    port: int
    term: int = 0
    """Grows with each fail-over where somebody counts them: one server may hold office twice."""


class NoServerError(Exception):
    """Nobody could say which server holds the ledger. The text is one word for the log."""


class Servers(Protocol):
    """Knows where the ledger is."""

    async def find(self) -> Server:
        """Return the server that holds the ledger now; raises NoServerError, or what broke."""

    async def is_current(self, server: Server) -> bool:
        """Say whether that server still holds the ledger, for all that can be found out."""

    def learn(self, error: Exception) -> None:
        """Take a hint from what a connection ended with."""

    async def close(self) -> None:
        """Let go of what was kept open."""


class OneServer:
    """A URL that names the server itself."""

    def __init__(self, url: RedisUrl) -> None:
        self._server = Server(*url.hosts[0]) if url.hosts else Server(url.path, 0)

    async def find(self) -> Server:
        """Return the URL's server."""
        return self._server

    async def is_current(self, server: Server) -> bool:
        """No other can be."""
        return server == self._server

    def learn(self, error: Exception) -> None:
        """Nothing: there is no other server."""

    async def close(self) -> None:
        """Nothing was kept."""


class _Abrupt(AbstractConnection):
    """Disconnects without waiting for the server, whoever asks for it.

    redis-py closes, and does so itself where a write is cut short: a TLS connection would stay open
    for 30 s or until the server has said goodbye; one that the server does not read, for ever where
    the kernel's buffer did not take all that was written.
    """

    async def disconnect(self, *arguments: Any, **named: Any) -> None:
        if self._writer:
            self._writer.transport.abort()
        await super().disconnect(*arguments, **named)


class _TcpConnection(_Abrupt, Connection):
    pass


class _TlsConnection(_Abrupt, SSLConnection):
    pass


class _SocketConnection(_Abrupt, UnixDomainSocketConnection):
    pass


class Dialer:
    """Makes connections with what the URL says: TLS, user, password, database."""

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._arguments: dict[str, Any] = {
            # RESP2 and no CLIENT SETINFO: nothing is sent before our own greeting, which leaves in
            # one write, so that a slow server costs one time its slowness.
            "protocol": 2,
            "driver_info": None,
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_SECONDS,
        }

    def dial(self, host: str, port: int) -> AbstractConnection:
        """Return a connection, not connected yet."""
        if self._url.kind is Kind.SOCKET:
            return _SocketConnection(path=self._url.path, **self._arguments)
        if self._url.tls is None:
            return _TcpConnection(host=host, port=port, **self._arguments)
        tls: dict[str, Any] = self._url.tls
        return _TlsConnection(host=host, port=port, **tls, **self._arguments)

    @property
    def credentials(self) -> tuple[tuple[str, ...], ...]:
        """The command that names us, or none."""
        url = self._url
        if not url.password:
            return ()
        return (("AUTH", *((url.username,) if url.username else ()), url.password),)

    @property
    def introduction(self) -> tuple[tuple[str, ...], ...]:
        """The commands that a data server hears first."""
        db = self._url.db
        return (*self.credentials, *((("SELECT", str(db)),) if db else ()))


async def ask(connection: AbstractConnection, *commands: Sequence[str]) -> list[Any]:
    """Send commands in one write over a connection that nobody else uses; return their replies.

    The first error reply is raised as redis-py's; the connection is of no use after it.
    """
    # hiredis' stub knows tuples of one element only.
    packed = [hiredis.pack_command(tuple(command)) for command in commands]  # type: ignore[arg-type]
    await connection.send_packed_command(packed, check_health=False)
    return [await connection.read_response(disable_decoding=True) for _ in commands]
