"""Redis Cluster: the ledger is on whatever node owns the slot of its hash tag."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from redis.crc import key_slot
from redis.exceptions import AuthenticationError, MovedError, RedisError

from gateway.ledger.redis.servers import Dialer, NoServerError, Server, ask
from gateway.settings.redis_url import RedisUrl

_ANSWER_SECONDS = 0.4


class ClusterServers:
    """Asks a node for the slot's owner, another node each time: one may be left behind.

    Args:
        key: Any key of the ledger's; they share one slot. None: the slot is learned from the first
            node that says MOVED.
    """

    def __init__(self, url: RedisUrl, dialer: Dialer, key: str | None) -> None:
        self._dialer = dialer
        self._slot = None if key is None else key_slot(key.encode())
        self._seeds = list(url.hosts)
        self._nodes = list(url.hosts)
        self._pointed_at: Server | None = None

    async def find(self) -> Server:
        """Return the owner."""
        pointed_at, self._pointed_at = self._pointed_at, None
        if pointed_at:
            return pointed_at
        refused = False
        for node in list(self._nodes):
            self._nodes.append(self._nodes.pop(self._nodes.index(node)))
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    slots = await self._ask(*node)
            except AuthenticationError:
                refused = True
            except (RedisError, OSError):
                continue
            else:
                return self._choose(slots, node[0])
        raise NoServerError("nodes_refuse_password" if refused else "no_node_answers")

    async def is_current(self, server: Server) -> bool:  # noqa: ARG002 - the protocol's
        """A node that is not the owner says so itself."""
        return True

    def learn(self, error: Exception) -> None:
        """Go where a node pointed: it knows before others have heard."""
        if isinstance(error, MovedError):
            self._slot = error.slot_id
            if error.host:
                self._pointed_at = Server(error.host, error.port)

    async def close(self) -> None:
        """Nothing was kept."""

    async def _ask(self, host: str, port: int) -> list[Any]:
        connection = self._dialer.dial(host, port)
        try:
            await connection.connect()
            *_, slots = await ask(connection, *self._dialer.credentials, ("CLUSTER", "SLOTS"))
        finally:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)
        return list(slots)

    def _choose(self, slots: list[Any], asked_host: str) -> Server:
        owner, there = None, set(self._seeds)
        for first, last, *nodes in slots:
            addresses = list(_addresses(nodes, asked_host))
            there.update(addresses)
            if owner is None and (self._slot is None or first <= self._slot <= last):
                owner = Server(*addresses[0])
        # The URL's own stay, for when none of the others is left.
        known = [node for node in self._nodes if node in there]
        self._nodes = known + sorted(there.difference(known))
        if owner is None:
            raise NoServerError("slot_without_node")
        return owner


def _addresses(nodes: list[Any], asked_host: str) -> Iterator[tuple[str, int]]:
    """Return the nodes' addresses; one without a host is where the asked one is."""
    for host, port, *_ in nodes:
        name = host.decode() if host else ""
        yield (asked_host if name in {"", "?"} else name, port)
