"""The store that gateways share: a Redis of its own, which may be away, slow, full or emptied.

It is not the ledger's, and has its own connections: a value of a hundred kilobytes would hold up
the scripts behind it. What it does not answer in time is not there, and it is left alone then for a
while. Ages are told by its own clock alone: `PTTL` is asked before the value, so that an entry that
is replaced in between looks older than it is, never younger.
"""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.cache.entries import (
    HEAD_BYTES,
    BadEntryError,
    Head,
    Packed,
    read_head,
    read_value,
    write_value,
)
from gateway.cache.store import Entry, Kept
from gateway.settings.redis_url import BadRedisUrl, Kind, read_redis_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

# A look is on a call's way: better to pay again than to wait longer.
LOOK_SECONDS: Final = 0.05
BODY_SECONDS: Final = 0.5
LEFT_ALONE_SECONDS: Final = 5.0
CONNECTIONS: Final = 4
CONNECT_SECONDS: Final = 2.0
_FAILURES: Final = (RedisError, OSError, TimeoutError)
_TOGETHER: Final = 16  # commands in one go

_LUA: Final = files("gateway.cache") / "lua"
_DROP: Final = (_LUA / "drop.lua").read_text(encoding="utf-8")
_RENEW: Final = (_LUA / "renew.lua").read_text(encoding="utf-8")


class RedisStore:
    """Keeps entries in a Redis.

    Args:
        url: of one server or socket, not the ledger's.
        account: names the account, whose entries are its own.
        look_seconds: how long a look or a lease is waited for.
        left_alone_seconds: from a failure until it is asked again whether it answers.

    Raises:
        BadRedisUrl: it is none, or leads to sentinels or a cluster.
    """

    def __init__(
        self,
        url: str,
        account: str,
        *,
        look_seconds: float = LOOK_SECONDS,
        left_alone_seconds: float = LEFT_ALONE_SECONDS,
    ) -> None:
        self._prefix = f"keepa-gateway-cache:{account}:"
        self._look_seconds = look_seconds
        self._left_alone_seconds = left_alone_seconds
        self._is_up = True
        self._revival: asyncio.Task[None] | None = None
        self._late: set[asyncio.Task[list[Any]]] = set()
        self._pool = _make_pool(url)
        self._client: Redis = Redis(connection_pool=self._pool)

    @property
    def up(self) -> bool:
        """Whether it is asked; False: it failed, and has not answered since."""
        return self._is_up

    async def look(self, names: Sequence[str]) -> list[Kept | None]:
        """Return what is there of each entry, of which only the heads are read."""

        def ask(pipeline: Any, key: str) -> None:
            pipeline.pttl(key)
            pipeline.getrange(key, 0, HEAD_BYTES - 1)

        replies = await self._ask(self._look_seconds, names, ask, each=2)
        found: list[Kept | None] = []
        bad: list[str] = []
        for name, pttl, value in zip(names, replies[::2], replies[1::2], strict=True):
            try:
                found.append(_judge(read_head(value), pttl) if value else None)
            except BadEntryError:
                found.append(None)
                bad.append(name)
        await self._delete(bad)
        return found

    async def read(self, names: Sequence[str]) -> list[tuple[Kept, Packed] | None]:
        """Return each entry with its body; one that is damaged is deleted."""

        def ask(pipeline: Any, key: str) -> None:
            pipeline.pttl(key)
            pipeline.get(key)

        replies = await self._ask(BODY_SECONDS, names, ask, each=2)
        found: list[tuple[Kept, Packed] | None] = []
        bad: list[str] = []
        for name, pttl, value in zip(names, replies[::2], replies[1::2], strict=True):
            try:
                head, body = read_value(value) if value else (None, None)
            except BadEntryError:
                head = body = None
                bad.append(name)
            kept = _judge(head, pttl) if head else None
            found.append((kept, body) if kept and body else None)
        await self._delete(bad)
        return found

    async def keep(self, entries: Iterable[Entry]) -> None:
        """Keep entries for the life that their heads say."""
        by_name = {entry.name: entry for entry in entries if entry.head.life_ms > 0}

        def ask(pipeline: Any, key: str) -> None:
            entry = by_name[key.removeprefix(self._prefix)]
            pipeline.set(key, write_value(entry.head, entry.body), px=entry.head.life_ms)

        await self._ask(BODY_SECONDS, list(by_name), ask)

    async def lease(self, names: Sequence[str], owner: str, ttl_ms: int) -> set[str]:
        """Return those of the names that nobody fetches; of a store that is away all of them."""

        def ask(pipeline: Any, key: str) -> None:
            pipeline.set(key, owner, nx=True, px=ttl_ms)

        replies = await self._ask(
            self._look_seconds, [f"l:{name}" for name in names], ask, instead=True
        )
        return {name for name, reply in zip(names, replies, strict=True) if reply}

    async def renew(self, names: Collection[str], owner: str, ttl_ms: int) -> set[str]:
        """Let the owner's leases begin anew."""

        def ask(pipeline: Any, key: str) -> None:
            pipeline.eval(_RENEW, 1, key, owner, ttl_ms)

        replies = await self._ask(BODY_SECONDS, [f"l:{name}" for name in names], ask)
        return {name for name, reply in zip(names, replies, strict=True) if reply}

    async def drop(self, names: Collection[str], owner: str) -> None:
        """End the owner's leases."""

        def ask(pipeline: Any, key: str) -> None:
            pipeline.eval(_DROP, 1, key, owner)

        await self._ask(BODY_SECONDS, [f"l:{name}" for name in names], ask)

    async def open(self) -> None:
        """Connect: within the time of a look there may be none for that. Never fails."""
        if not await self._connect():
            self._leave_alone()

    async def close(self) -> None:
        """Close its connections; what is under way is given up."""
        tasks = [*self._late, *([self._revival] if self._revival else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._pool.disconnect()

    async def _delete(self, names: Sequence[str]) -> None:
        if names:
            await self._ask(BODY_SECONDS, names, lambda pipeline, key: pipeline.unlink(key))

    async def _ask(
        self,
        seconds: float,
        names: Sequence[str],
        add: Callable[[Any, str], None],
        *,
        each: int = 1,
        instead: object = None,
    ) -> list[Any]:
        """Return the replies to the commands that `add` gives for a key, so many for each.

        After an error, or without them in time, `instead` for each, and it is left alone.
        """
        nothing = [instead] * (len(names) * each)
        if not names or not self.up:
            return nothing
        groups = [names[at : at + _TOGETHER] for at in range(0, len(names), _TOGETHER)]
        works = [asyncio.create_task(self._run(group, add)) for group in groups]
        self._late.update(works)
        for work in works:
            work.add_done_callback(self._forget)
        _, late = await asyncio.wait(works, timeout=seconds)
        for work in late:
            # It closes its connection, which nobody waits for.
            work.cancel()
        errors = [work.exception() for work in works if work not in late]
        for error in filter(None, errors):
            if not isinstance(error, _FAILURES):
                raise error
        if late or any(errors):
            self._leave_alone()
            return nothing
        return [reply for work in works for reply in work.result()]

    def _forget(self, work: asyncio.Task[list[Any]]) -> None:
        self._late.discard(work)
        if not work.cancelled():
            work.exception()  # of one that was late nobody else asks

    def _leave_alone(self) -> None:
        self._is_up = False
        if self._revival is None or self._revival.done():
            self._revival = asyncio.create_task(self._revive())

    async def _revive(self) -> None:
        """Ask now and then whether it answers."""
        while not self._is_up:
            await asyncio.sleep(self._left_alone_seconds)
            self._is_up = await self._connect()

    async def _connect(self) -> bool:
        """Open all connections, so that no look has to; return whether it answers."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.gather(*(self._client.ping() for _ in range(CONNECTIONS)))
        except _FAILURES:
            return False
        return True

    async def _run(self, names: Sequence[str], add: Callable[[Any, str], None]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for name in names:
                add(pipeline, self._prefix + name)
            return await cast("Awaitable[list[Any]]", pipeline.execute())


def _judge(head: Head, pttl: int) -> Kept | None:
    """Return an entry with its age, by what is left of its life; None: that makes no sense."""
    spent_ms = head.life_ms - pttl
    if pttl < 0 or spent_ms < 0:
        # It went just now, or somebody prolonged it: its age is not known.
        return None
    return Kept(head, (head.age_ms + spent_ms) / 1000)


def _make_pool(url: str) -> BlockingConnectionPool:
    parsed = read_redis_url(url)
    if parsed.kind not in {Kind.SERVER, Kind.SOCKET}:
        raise BadRedisUrl("must lead to one server: redis, rediss, unix or valkey")
    arguments: dict[str, Any] = {
        "db": parsed.db,
        "username": parsed.username or None,
        "password": parsed.password or None,
        # What a command may take is told where it is given; none is sent twice.
        "retry": Retry(NoBackoff(), 0),
        # Nothing is sent before the first command: a slow server costs one time its slowness.
        "protocol": 2,
        "driver_info": None,
        "socket_timeout": CONNECT_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
    }
    if parsed.kind is Kind.SOCKET:
        arguments |= {"connection_class": UnixDomainSocketConnection, "path": parsed.path}
    else:
        host, port = parsed.hosts[0]
        arguments |= {"host": host, "port": port}
        if parsed.tls is not None:
            arguments |= {"connection_class": SSLConnection, **parsed.tls}
    return BlockingConnectionPool(max_connections=CONNECTIONS, timeout=None, **arguments)
