"""Redis Sentinel: the ledger is on whatever server the sentinels call the master."""

import asyncio
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from gateway.ledger.redis.servers import Dialer, NoServerError, Server, ask
from gateway.settings.redis_url import RedisUrl

# All are asked at once. Whoever is slower is left out: the ledger must follow a fail-over well
# within the learning time of the epoch that another gateway begins on the new master.
_ANSWER_SECONDS = 0.3


class SentinelServers:
    """Asks every sentinel and believes the one that has seen the latest fail-over.

    The first that answers may be one that the others have left behind, and its master too.
    """

    def __init__(self, url: RedisUrl, dialer: Dialer) -> None:
        self._sentinels = [_Sentinel(host, port, url.master, dialer) for host, port in url.hosts]

    async def find(self) -> Server:
        """Return the master."""
        asked = [asyncio.create_task(sentinel.name_master()) for sentinel in self._sentinels]
        try:
            await asyncio.wait(asked, timeout=_ANSWER_SECONDS)
        finally:
            for task in asked:
                task.cancel()
            told = await asyncio.gather(*asked, return_exceptions=True)
        servers = [server for server in told if isinstance(server, Server)]
        if servers:
            return max(servers, key=lambda server: server.term)
        if any(isinstance(error, AuthenticationError) for error in told):
            raise NoServerError("sentinels_refuse_password")
        # A sentinel that does not know the name says ERR.
        knows_not = any(isinstance(error, ResponseError) for error in told)
        raise NoServerError("master_unknown_to_sentinels" if knows_not else "no_sentinel_answers")

    async def is_current(self, server: Server) -> bool:
        """Say whether the sentinels still name it; without any sentinel it serves on."""
        try:
            return await self.find() == server
        except NoServerError:
            return True

    def learn(self, error: Exception) -> None:
        """Nothing: the sentinels know better."""

    async def close(self) -> None:
        """Let go of the sentinels."""
        for sentinel in self._sentinels:
            await sentinel.close()


class _Sentinel:
    """One sentinel, over a connection that is kept for the next question."""

    _connection: AbstractConnection | None = None

    def __init__(self, host: str, port: int, master: str, dialer: Dialer) -> None:
        self._host = host
        self._port = port
        self._master = master
        self._dialer = dialer
        # Most sentinels have no password, and would refuse to hear one.
        self._wants_password = False

    async def name_master(self) -> Server:
        """Return whom it calls the master."""
        try:
            return await self._ask()
        except AuthenticationError:
            await self.close()
            if self._wants_password or not self._dialer.credentials:
                raise
            self._wants_password = True
            return await self._ask()
        except BaseException:
            # Left in the middle of an answer, it would be read as the next question's.
            await self.close()
            raise

    async def _ask(self) -> Server:
        introduction: tuple[tuple[str, ...], ...] = ()
        if self._connection is None:
            self._connection = self._dialer.dial(self._host, self._port)
            await self._connection.connect()
            introduction = self._dialer.credentials if self._wants_password else ()
        question = ("SENTINEL", "MASTER", self._master)
        *_, flat = await ask(self._connection, *introduction, question)
        state: dict[bytes, Any] = dict(zip(flat[::2], flat[1::2], strict=True))
        try:
            return Server(state[b"ip"].decode(), int(state[b"port"]), int(state[b"config-epoch"]))
        except (KeyError, ValueError) as error:
            raise RedisError("no state of a master") from error

    async def close(self) -> None:
        """Let go of it."""
        connection, self._connection = self._connection, None
        if connection:
            await connection.disconnect(nowait=True)
