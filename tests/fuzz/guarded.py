"""A watched gateway before a simulated Keepa, and what must hold of both after any input."""

import asyncio
import json
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from support.callers.wire import Answer
from support.gateways.processes import KEY, Gateway, Simulator
from support.measure.loop_watch import Findings

MOST_MS = 50
"""Of processor time in one callback, whatever a caller sends."""
FLOOR = 10
_RESET = struct.pack("ii", 1, 0)
_PATIENCE_SECONDS = 20
# After the last byte that came: an answer takes a few milliseconds.
_QUIET_SECONDS = 0.03
_LATE_SECONDS = 5
# What it may warn of; anything else above `info` is a fault.
_HARMLESS = {"embedded_store", "below_safety_buffer", "unknown_endpoint"}


class WatchedGateway(Gateway):
    """`keepa-gateway serve` whose event loop is watched."""

    command = (sys.executable, "-m", "fuzz.serve_watched", "findings.json")

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__(folder, pythonpath=Path(__file__).parents[1], **settings)
        self.findings = Findings(self.process.pid, folder / "findings.json")


class Guarded:
    """Runs both processes; to be used from outside of any event loop."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self._runner = asyncio.Runner()
        # About as much as is asked for: some calls are refused, and many are not.
        self.simulator = Simulator(folder / "simulator", tokens=150, rate=1200, lump_in_ms=5000)
        self._runner.run(self.simulator.started())
        self.gateway = WatchedGateway(
            folder / "gateway", keepa_base_url=self.simulator.url, min_balance_threshold=FLOOR,
            # In proportion to the plan, so that it warns of nothing at its start.
            alert_balance=3000, drain_seconds=0, log_level="DEBUG", **settings,
        )  # fmt: skip
        self._runner.run(self._start())
        address = urlsplit(self.gateway.url)
        self._address = (str(address.hostname), int(address.port or 0))
        self._log_at = 0
        self.outcomes: Counter[str] = Counter()
        self.gateway.findings.ask()

    async def _start(self) -> None:
        await (await self.gateway.started()).ready()

    def end(self) -> None:
        for process in (self.gateway, self.simulator):
            if not process.has_ended:
                process.kill()
        self._runner.close()

    def ask(self, target: str) -> Answer:
        return self._runner.run(self.gateway.ask(target))

    def exchange(
        self,
        pieces: list[bytes],
        ending: str = "wait",
        is_enough: Callable[[bytes], bool] = lambda _: True,
    ) -> bytes:
        """Send pieces on a connection of their own; return all that came back.

        Args:
            pieces: What is sent.
            ending: `wait` for answers, `close` or `reset` at once.
            is_enough: Of what came; before it is, silence is waited out for longer.
        """
        received = bytearray()
        self.check_running()
        with socket.create_connection(self._address, timeout=_PATIENCE_SECONDS) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for piece in pieces:
                    self._send(connection, piece, received)
                while ending == "wait" and (
                    _is_readable(connection, _QUIET_SECONDS)
                    or (not is_enough(bytes(received)) and _is_readable(connection, _LATE_SECONDS))
                ):
                    if not (data := connection.recv(1 << 18)):
                        break
                    received += data
            except OSError:
                # The other side hung up while more was to be sent.
                pass
            if ending == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        return bytes(received)

    @staticmethod
    def _send(connection: socket.socket, piece: bytes, received: bytearray) -> None:
        """Send all of a piece, and take what comes meanwhile: else both sides might wait."""
        view = memoryview(piece)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while view:
            readable, writable, _ = select.select([connection], [connection], [], 1)
            if readable:
                if not (data := connection.recv(1 << 18)):
                    return
                received += data
            if writable:
                view = view[connection.send(view[: 1 << 16]) :]
            assert time.monotonic() < deadline, "it takes no more bytes"

    def check_running(self) -> None:
        """See that neither process has ended."""
        for process in (self.gateway, self.simulator):
            code = process.process.poll()
            assert code is None, f"exit {code}: {process.output[-3000:]}{process.errors}"

    def check_alive(self) -> None:
        """See that it serves others at once."""
        self.check_running()
        assert self.ask("/healthz").status == 200

    def longest_callback(self) -> dict[str, Any]:
        """Return the longest callback since the last time."""
        found = self.gateway.findings.ask()
        assert found["callbacks"], "the loop is not the one that is watched"
        return dict(found["longest"][0])

    def read_log(self) -> None:
        """See that what it printed since the last time is whole, harmless and without the key."""
        assert self.gateway.errors == ""
        with (self.gateway.folder / "out").open("rb") as out:
            out.seek(self._log_at)
            new = out.read()
        new = new[: new.rfind(b"\n") + 1]
        self._log_at += len(new)
        assert KEY.encode() not in new
        assert b"Traceback" not in new, new.decode()
        for line in new.splitlines():
            facts = json.loads(line)
            assert facts["level"] in {"info", "debug"} or facts["event"] in _HARMLESS, facts
            if facts["event"] == "call":
                self.outcomes[facts["outcome"]] += 1

    def be_quiet(self) -> None:
        """Wait until nothing is under way at Keepa and nothing is reserved."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (tokens := self.ask("/status").json()["tokens"])["reserved"] or self.state()[
            "in_flight"
        ]:
            assert time.monotonic() < deadline, tokens
            time.sleep(0.02)

    def state(self) -> dict[str, Any]:
        return self._runner.run(self.simulator.state())


def _is_readable(connection: socket.socket, seconds: float) -> bool:
    return bool(select.select([connection], [], [], seconds)[0])
