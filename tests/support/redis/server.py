"""A real Redis server of the tests' own: loopback, its own folder, ended by its own process id."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

REDIS_SERVER = shutil.which("redis-server")
MISSING = "redis-server is not on the path"


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Ending(Protocol):
    """A server, or several that belong together."""

    def end(self) -> None:
        """End all processes, halted ones too."""


Servers = TypeVar("Servers", bound=Ending)


def lend(make: Callable[..., Servers], *arguments: object, **options: object) -> Iterator[Servers]:
    """Yield what a fixture lends to its tests; skip them where there is no redis-server."""
    if not REDIS_SERVER:
        pytest.skip(MISSING)
    servers = make(*arguments, **options)
    yield servers
    servers.end()


class RedisServer:
    """A redis-server process; `restart` starts another life on the same port and folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.options = options
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert REDIS_SERVER, MISSING
        self.process = subprocess.Popen(
            [REDIS_SERVER, *self.arguments()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                        return
            except OSError:
                pass
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.01)

    def arguments(self) -> list[str]:
        return [
            "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--dir", str(self.folder), "--daemonize", "no", *self.options,
        ]  # fmt: skip

    def stop(self) -> None:
        """Halt it where it stands: connections stay open, nothing is answered."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def proceed(self) -> None:
        """Let a halted server go on."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it for good, also where it is halted."""
        self.proceed()
        self.kill()

    def restart(self) -> None:
        self.kill()
        self.start()

    def command(self, *words: str) -> bytes:
        """Send one command outside every client library; return the raw reply."""
        return self.converse(words)

    def converse(self, *commands: tuple[str, ...]) -> bytes:
        """Send commands one after the other on one connection; return the last raw reply."""
        reply = b""
        with socket.create_connection(("127.0.0.1", self.port), 5) as link:
            for words in commands:
                parts = [f"*{len(words)}\r\n", *(f"${len(w)}\r\n{w}\r\n" for w in words)]
                link.sendall("".join(parts).encode())
                reply = link.recv(65536)
        return reply
