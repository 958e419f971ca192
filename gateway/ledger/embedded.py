"""The embedded store: the same Lua, without a Redis server."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, cast

import structlog
from fakeredis import FakeAsyncRedis
from redis.exceptions import RedisError

from gateway.errors import LedgerUnavailable
from gateway.ledger.scripts import TEXTS, Script, words_of
from gateway.ledger.store import Arguments

_log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 3_600


class EmbeddedStore:
    """The same Lua inside this process, for one gateway without a Redis server. Nothing is kept."""

    kind = "embedded"
    # No other gateway's holds can be missing.
    learning_us = 0
    up = True

    def __init__(self) -> None:
        # One connection, in order: redis-py's default pool refuses above 100 calls at once.
        self._client = FakeAsyncRedis(single_connection_client=True)
        self._run_id = f"embedded-{uuid.uuid4().hex}"
        self._swept_at = time.monotonic()
        self.on_connect: Callable[[], None] = lambda: None

    async def open(self) -> None:
        """Load the scripts."""
        for text in TEXTS:
            await self._client.script_load(text)

    async def close(self) -> None:
        """Let go of the store."""
        await self._client.aclose()

    def run(
        self, script: Script, keys: Sequence[str], arguments: Arguments
    ) -> asyncio.Future[list[Any]]:
        """Run one script."""
        # Shielded: a caller who leaves must not cancel a command half way through the client.
        return asyncio.shield(asyncio.ensure_future(self._run(script, keys, arguments)))

    async def _run(self, script: Script, keys: Sequence[str], arguments: Arguments) -> list[Any]:
        try:
            words = words_of([(script, arguments())])
            reply = await self._client.evalsha(
                script.sha, len(keys), *keys, self._run_id, self.learning_us, *words
            )
        except RedisError as error:
            _log.error("script_refused", script=script.name, error=str(error)[:200])
            raise LedgerUnavailable from error
        if time.monotonic() - self._swept_at > _SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            # fakeredis lets go of what has expired only when it counts its keys.
            await self._client.dbsize()
        return cast("list[Any]", reply[0] if script.is_of_many else reply)
