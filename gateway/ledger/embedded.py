"""The embedded store: the same Lua, without a Redis server."""

import asyncio
import itertools
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from redis.exceptions import RedisError

from gateway.balance import HOUR_SECONDS
from gateway.errors import LedgerUnavailable
from gateway.ledger.redis.command import TOGETHER, ScriptCommand
from gateway.ledger.scripts import TEXTS, Script
from gateway.ledger.store import Arguments, Sink

_log = structlog.get_logger(__name__)

_SWEEP_SECONDS = HOUR_SECONDS
_COLLECT = "collectgarbage()"
_RUNS_TO_COLLECT = 50


class _CompiledOnce:
    """A Lua runtime that compiles each text once, and collects garbage now and then.

    fakeredis has each run compile its script and collect all garbage, which takes longer than the
    script does.
    """

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._compiled: dict[str | bytes, Callable[[], Any]] = {}
        self._runs = itertools.count(1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def execute(self, text: str | bytes) -> Any:
        """Run a text; return its result."""
        if text == _COLLECT and next(self._runs) % _RUNS_TO_COLLECT:
            return None
        compiled = self._compiled.get(text)
        if compiled is None:
            compiled = self._compiled[text] = self._runtime.compile(text)
        return compiled()


class EmbeddedStore:
    """The same Lua inside this process, for one gateway without a Redis server. Nothing is kept."""

    kind = "embedded"
    # No other gateway's holds can be missing.
    learning_us = 0
    up = True

    def __init__(self) -> None:
        # Not above: a gateway with a Redis server would start a quarter slower for nothing.
        from fakeredis import FakeAsyncRedis, FakeServer  # noqa: PLC0415

        self._server: Any = FakeServer()
        # One connection, in order: redis-py's default pool refuses above 100 calls at once.
        self._client = FakeAsyncRedis(server=self._server, single_connection_client=True)
        self._run_id = f"embedded-{uuid.uuid4().hex}"
        self._swept_at = time.monotonic()
        self._waiting: deque[ScriptCommand] = deque()
        self._runner: asyncio.Task[None] | None = None
        self.on_connect: Callable[[], None] = lambda: None

    async def open(self) -> None:
        """Load the scripts."""
        # The first run makes the runtime.
        await self._client.eval("return 1", 0)
        self._server._lua_runtime = _CompiledOnce(self._server._lua_runtime)  # noqa: SLF001
        for text in TEXTS:
            await self._client.script_load(text)

    async def close(self) -> None:
        """Let go of the store."""
        if self._runner:
            await self._runner
        await self._client.aclose()

    def run(
        self, script: Script, keys: Sequence[str], arguments: Arguments
    ) -> asyncio.Future[list[Any]]:
        """Run one script; those that a turn of the loop raises run few at a time in one go."""
        reply: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.send(script, keys, arguments, reply)
        return reply

    def send(self, script: Script, keys: Sequence[str], arguments: Arguments, sink: Sink) -> None:
        """Run one script; its reply goes to `sink`."""
        self._waiting.append(ScriptCommand(script, keys, arguments, sink))
        if self._runner is None:
            # A task of its own: a caller who leaves must not cancel a command half way through.
            self._runner = asyncio.create_task(self._run_all())

    async def _run_all(self) -> None:
        try:
            while self._waiting:
                command = self._waiting.popleft()
                while (
                    self._waiting
                    and len(command.followers) < TOGETHER - 1
                    and command.take_in(self._waiting[0])
                ):
                    self._waiting.popleft()
                await self._run(command)
        finally:
            self._runner = None
        if time.monotonic() - self._swept_at > _SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            # fakeredis lets go of what has expired only when it counts its keys.
            await self._client.dbsize()

    async def _run(self, command: ScriptCommand) -> None:
        try:
            command.answer(
                await self._client.evalsha(
                    command.script.sha,
                    len(command.keys),
                    *command.keys,
                    self._run_id,
                    self.learning_us,
                    *command.words_now(),
                )
            )
        except Exception as error:  # noqa: BLE001 - nothing of it has run
            # Only one of those that were to run in one go is at fault.
            if parts := command.apart(""):
                self._waiting.extendleft(reversed(parts))
                return
            if isinstance(error, RedisError):
                _log.error("script_refused", script=command.name, error=str(error)[:200])
                command.fail(LedgerUnavailable())
            else:
                _log.exception("unhandled", script=command.name)
                command.fail(error)
