"""Real Redis servers that belong together: watched by sentinels, or nodes of a cluster."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from support.redis.server import RedisServer, free_port

MASTER = "mymaster"


def client(server: RedisServer, **how: Any) -> redis.Redis:
    """Return a client that tries each command once."""
    return redis.Redis(
        host="127.0.0.1", port=server.port, protocol=2, retry=Retry(NoBackoff(), 0), **how
    )


def say(server: RedisServer, *words: object) -> Any:
    """Send one command; return its reply as it came; raise redis-py's error."""
    with client(server) as link:
        link.response_callbacks.clear()
        return link.execute_command(*words)


def wait(probe: Callable[[], Any], seconds: float = 15) -> None:
    """Wait until something is true; a server that does not answer yet has not made it true."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if probe():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline, "the servers did not agree in time"
        time.sleep(0.02)


class Sentinel(RedisServer):
    """A sentinel; what it learns it writes into its own file."""

    def __init__(self, folder: Path, master: RedisServer, quorum: int) -> None:
        folder.mkdir()
        (folder / "sentinel.conf").write_text(
            f"sentinel monitor {MASTER} 127.0.0.1 {master.port} {quorum}\n"
            f"sentinel down-after-milliseconds {MASTER} 500\n"
            f"sentinel failover-timeout {MASTER} 2000\n"
        )
        super().__init__(folder)

    def arguments(self) -> list[str]:
        return [
            str(self.folder / "sentinel.conf"), "--sentinel", "--port", str(self.port),
            "--bind", "127.0.0.1", "--dir", str(self.folder),
        ]  # fmt: skip

    def state(self) -> dict[bytes, bytes]:
        """What it says of the master."""
        flat = say(self, "SENTINEL", "MASTER", MASTER)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def names(self, server: RedisServer) -> bool:
        """Whether it calls that server the master."""
        return self.state()[b"port"] == str(server.port).encode()


class Watched:
    """A master and its replica, watched by sentinels."""

    def __init__(self, folder: Path, *, sentinels: int = 3) -> None:
        self.master = self._serve(folder / "master")
        self.replica = self._serve(
            folder / "replica", "--replicaof", "127.0.0.1", str(self.master.port)
        )
        wait(lambda: b"master_link_status:up" in say(self.replica, "INFO", "replication"))
        quorum = sentinels // 2 + 1
        self.sentinels = [
            Sentinel(folder / f"sentinel{n}", self.master, quorum) for n in range(sentinels)
        ]
        for sentinel in self.sentinels:
            wait(lambda sentinel=sentinel: self._is_ready(sentinel))

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{MASTER}/0"

    def cut_off_replica(self) -> None:
        """From now on it misses what is written; it may be chosen all the same."""
        say(self.replica, "REPLICAOF", "127.0.0.1", free_port())

    def fail_over(self) -> None:
        """Have the sentinels call the replica the master, and wait until all of them do."""
        wait(lambda: say(self.sentinels[0], "SENTINEL", "FAILOVER", MASTER))
        self.wait_for_fail_over()

    def wait_for_fail_over(self) -> None:
        for sentinel in self.sentinels:
            wait(lambda sentinel=sentinel: sentinel.names(self.replica))

    def swap(self) -> None:
        """Call the servers by what they are after a fail-over."""
        self.master, self.replica = self.replica, self.master

    def end(self) -> None:
        for server in (*self.sentinels, self.master, self.replica):
            server.end()

    def _serve(self, folder: Path, *options: str) -> RedisServer:
        folder.mkdir()
        # Replicas are fed at once, not after five seconds in which more might come.
        return RedisServer(folder, "--repl-diskless-sync-delay", "0", *options)

    def _is_ready(self, sentinel: Sentinel) -> bool:
        state = sentinel.state()
        others = str(len(self.sentinels) - 1).encode()
        return (state[b"num-slaves"], state[b"num-other-sentinels"]) == (b"1", others)


class Cluster:
    """Three nodes that share the slots."""

    SLOTS = 16384

    def __init__(self, folder: Path) -> None:
        self.nodes = []
        for n in range(3):
            (folder / f"node{n}").mkdir()
            self.nodes.append(self._serve(folder / f"node{n}"))
        share = self.SLOTS // len(self.nodes) + 1
        for n, node in enumerate(self.nodes):
            last = min((n + 1) * share, self.SLOTS) - 1
            say(node, "CLUSTER", "ADDSLOTSRANGE", n * share, last)
            say(node, "CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for node in self.nodes[1:]:
            say(self.nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        for node in self.nodes:
            wait(lambda node=node: self._is_ready(node))

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def owner(self, slot: int) -> RedisServer:
        for node in self.nodes:
            for first, last, (_, port, *_), *_ in say(self.nodes[0], "CLUSTER", "SLOTS"):
                if first <= slot <= last and port == node.port:
                    return node
        raise AssertionError(slot)

    def move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Move a slot with its keys, as `redis-cli --cluster reshard` does."""
        self.begin_move(slot, source, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, source, target)

    def begin_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """From now on the source sends elsewhere whoever asks for a key that it does not have."""
        source_id, target_id = (say(node, "CLUSTER", "MYID") for node in (source, target))
        say(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        say(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)

    def move_keys(
        self, slot: int, source: RedisServer, target: RedisServer, count: int = 1000
    ) -> None:
        """Move so many of the slot's keys."""
        for key in say(source, "CLUSTER", "GETKEYSINSLOT", slot, count):
            say(source, "MIGRATE", "127.0.0.1", target.port, key, 0, 5000)

    def end_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Have all nodes know the slot's new owner."""
        target_id = say(target, "CLUSTER", "MYID")
        for node in (target, source, *self.nodes):
            say(node, "CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def end(self) -> None:
        for node in self.nodes:
            node.end()

    def _serve(self, folder: Path) -> RedisServer:
        bus_port = free_port()
        node = RedisServer(
            folder, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
            "--cluster-port", str(bus_port), "--appendonly", "yes",
        )  # fmt: skip
        node.bus_port = bus_port
        return node

    def _is_ready(self, node: RedisServer) -> bool:
        info = say(node, "CLUSTER", "INFO")
        return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info
