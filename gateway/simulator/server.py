"""The simulator on a socket, for tests, benchmarks, and a gateway that runs it in-process."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from gateway.simulator.account import Account
from gateway.simulator.app import create_simulator
from gateway.simulator.bucket import Bucket
from gateway.simulator.config import SimulatorConfig
from gateway.simulator.control import ACCOUNT

LONGEST_LINE = 160 * 1024
"""A finder selection of many thousand characters comes in the query of a GET."""
SHUTDOWN_SECONDS = 0.5
"""Whoever closes the simulator no longer waits for its answers."""


class RunningSimulator:
    """A simulator that listens; closes at the end of an `async with`, or by `close`.

    Attributes:
        url: where it listens, `http://host:port` without a slash at the end.
    """

    def __init__(self, url: str, account: Account, runner: web.AppRunner) -> None:
        self.url = url
        self._account = account
        self._runner = runner

    @property
    def bucket(self) -> Bucket:
        """The bucket as it is now (`POST /sim/reset` makes another)."""
        return self._account.bucket

    def state(self) -> dict[str, Any]:
        """Tell what `GET /sim/state` tells."""
        return self._account.state()

    async def close(self) -> None:
        """Stop listening, and hang up on calls that are still being answered half a second on."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


async def start_simulator(
    config: SimulatorConfig | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    clock: Callable[[], float] = time.time,
) -> RunningSimulator:
    """Start a simulator in the running event loop.

    Args:
        config: the account it simulates; by default 100 tokens at 20 a minute.
        host: where to listen.
        port: 0 for any that is free.
        clock: the time in seconds since 1970.

    Raises:
        OSError: it cannot listen there.
    """
    app = create_simulator(config or SimulatorConfig(), clock)
    runner = web.AppRunner(
        app,
        access_log=None,  # it would show the key in every line
        auto_decompress=False,  # the body's digest is of what was received
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    bound_host, bound_port = runner.addresses[0][:2]
    shown = f"[{bound_host}]" if ":" in bound_host else bound_host
    return RunningSimulator(f"http://{shown}:{bound_port}", app[ACCOUNT], runner)
