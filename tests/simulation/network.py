"""The network of a story: who listens where, which ways are open, how long the bytes take."""

import asyncio
import contextvars
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

from simulation.loop import NODE, VirtualLoop
from simulation.transport import DATA, RST, End, FakeSocket

# Timers of one moment have no order: two arrivals on one way are never at one.
_STEP = 1e-7
# What TCP waits before it sends a lost segment again, and doubles.
_RESEND_SECONDS = 0.2
_CONNECT_SECONDS = 120.0


class Listener:
    """What `create_server` returns."""

    def __init__(self, network: "Network", factory: Any, address: tuple[str, int]) -> None:
        self._network, self.factory, self.address = network, factory, address
        self.context = contextvars.copy_context()
        self.node = NODE.get()
        self.sockets = (FakeSocket(None, address, None),)

    def close(self) -> None:
        if self._network.listeners.get(self.address) is self:
            del self._network.listeners[self.address]

    async def wait_closed(self) -> None:
        pass

    def is_serving(self) -> bool:
        return self._network.listeners.get(self.address) is self


class Network:
    """All connections.

    Attributes:
        ends: Both ends of each, in the order in which they were made.
        apart: (from, to): nothing gets through that way; TCP sends it again when it can.
        slow: (from, to), either may be empty for anybody: seconds more.
        lossy: The share of segments that is lost and sent again.
        bytes_a_second: (from, to): how many at most.
        split_share: The share of segments that arrive in two.
        tamper: (from, to): changes what passes.
    """

    def __init__(self, loop: VirtualLoop, chance: Random, note: Callable[[str, str], None]) -> None:
        self.loop, self._chance, self._note = loop, chance, note
        self.listeners: dict[tuple[str, int], Listener] = {}
        self.ends: dict[End, None] = {}
        self.apart: dict[tuple[str, str], int] = {}
        self.slow: dict[tuple[str, str], float] = {}
        self.lossy = 0.0
        self.bytes_a_second: dict[tuple[str, str], float] = {}
        self.split_share = 0.05
        self.tamper: dict[tuple[str, str], Callable[[bytes], bytes]] = {}
        self._held: list[tuple[End, str, bytes]] = []
        self._count = 0
        self._ports = 40_000

    # --- how long, and in how many pieces ---
    def piece_of(self, size: int) -> int:
        if size > 1 and self._chance.random() < self.split_share:
            return self._chance.randrange(1, size)
        return size

    def _delay(self, a: str, b: str) -> float:
        chance = self._chance.random()
        delay = 0.0002 + 0.002 * chance if chance < 0.99 else 0.03
        if self.slow:
            for way in ((a, b), (a, ""), ("", b)):
                delay += self.slow.get(way, 0.0)
        if self.lossy:
            wait = _RESEND_SECONDS
            while self._chance.random() < self.lossy and wait < 10:
                delay += wait
                wait *= 2
        return delay

    def carry(self, end: End, kind: str, data: bytes = b"") -> None:
        """Bring what an end sends to its peer."""
        peer = end.peer
        if end.is_swallowed:
            return
        way = (end.node, peer.node)
        if self.apart and way in self.apart:
            self._held.append((end, kind, data))
            return
        if data and self.tamper and way in self.tamper:
            changed = self.tamper[way](data)
            end.in_flight += len(changed) - len(data)
            data = changed
        at = self.loop.now + self._delay(*way) + end.lag
        at = max(at, end.last_arrival + _STEP)
        if self.bytes_a_second and way in self.bytes_a_second:
            at += len(data) / self.bytes_a_second[way]
        end.last_arrival = at
        self.loop.call_at(at, peer.arrive, kind, data, context=peer.context)

    # --- partitions ---
    def part(self, a: str, b: str, *, both: bool = True) -> None:
        for way in ((a, b), (b, a)) if both else ((a, b),):
            self.apart[way] = self.apart.get(way, 0) + 1

    def rejoin(self, a: str, b: str, *, both: bool = True) -> None:
        for way in ((a, b), (b, a)) if both else ((a, b),):
            self.apart[way] -= 1
            if not self.apart[way]:
                del self.apart[way]
        held, self._held = self._held, []
        for end, kind, data in held:
            if not end.peer.is_gone:
                self.carry(end, kind, data)

    # --- ends of connections ---
    def cut(self, end: End) -> None:
        """Something between resets both ends."""
        self.note(end, "cut")
        for one in (end, end.peer):
            if not one.is_gone:
                one.lose(ConnectionResetError(104, "Connection reset by peer"))

    def swallow(self, end: End) -> None:
        """Something between forgets the connection: neither end hears of the other again."""
        self.note(end, "swallowed")
        end.is_swallowed = end.peer.is_swallowed = True

    def kill(self, node: str) -> None:
        """The node's process is gone: nobody listens, and its connections are reset."""
        self.close_listeners(node)
        for end in [e for e in self.ends if e.node == node]:
            end.vanish()

    def close_listeners(self, node: str) -> None:
        for address in [a for a, door in self.listeners.items() if door.node == node]:
            del self.listeners[address]

    def between(self, a: str, b: str) -> list[End]:
        """Return the ends at `a` of what `a` and `b` have open."""
        return [e for e in self.ends if e.node == a and e.peer.node == b and not e.is_gone]

    def forget(self, end: End) -> None:
        self.ends.pop(end, None)

    def note(self, end: End, what: str, data: bytes = b"") -> None:
        self._note(end.node, f"{end.name} {what} {len(data)} {zlib.crc32(data):08x}")

    # --- making connections ---
    def listen(self, factory: Any, host: str, port: int) -> Listener:
        if not port:
            self._ports += 1
            port = self._ports
        if (host, port) in self.listeners:
            raise OSError(98, "Address already in use")
        listener = self.listeners[host, port] = Listener(self, factory, (host, port))
        return listener

    async def connect(self, factory: Any, host: str, port: int) -> tuple[End, Any]:
        node = NODE.get()
        there = host
        # A SYN, which is sent again after 1, 3, 7 s.
        wait = 1.0
        while (node, there) in self.apart or (there, node) in self.apart:
            await asyncio.sleep(wait)
            wait *= 2
            if wait > _CONNECT_SECONDS:
                raise TimeoutError(110, "Connection timed out")
        await asyncio.sleep(self._delay(node, there))
        listener = self.listeners.get((host, port))
        if listener is None:
            raise ConnectionRefusedError(111, "Connection refused")
        self._count += 1
        self._ports += 1
        own = (node, self._ports)
        name = f"{self._count}:{node}>{listener.node}"
        client = End(self, name + "<", node, contextvars.copy_context(), own, listener.address)
        server = End(self, name + ">", listener.node, listener.context, listener.address, own)
        client.peer, server.peer = server, client
        self.ends[client] = self.ends[server] = None
        self.loop.call_soon(self._accept, server, listener, context=listener.context)
        try:
            await asyncio.sleep(self._delay(listener.node, node))
        except BaseException:
            client.vanish()
            raise
        if client.is_gone:
            raise ConnectionResetError(104, "Connection reset by peer")
        client.protocol = factory()
        self.note(client, "open")
        client.protocol.connection_made(client)
        client.read_soon()
        return client, client.protocol

    def _accept(self, server: End, listener: Listener) -> None:
        if server.is_gone:
            return
        server.protocol = listener.factory()
        self.note(server, "accept")
        server.protocol.connection_made(server)
        server.read_soon()


__all__ = ["DATA", "RST", "End", "Listener", "Network"]
