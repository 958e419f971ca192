"""A store whose clock can be turned, the windows of hours and days with it."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from gateway.ledger import EmbeddedStore, Store
from gateway.ledger.scripts import ALL, RESERVE, Script
from gateway.ledger.store import Arguments, Sink

# As the ledger's own transitions do it; what stands beside it keeps its clock.
_READING = "local NOW = clock[1] * MICRO + clock[2]"


class TurnedStore:
    """Runs the scripts of another store by a clock of its own.

    Other than SHIFT_CLOCK, which moves what a ledger remembers: hours and days begin by the clock
    itself, so that it is the reading of it that has to be turned.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._scripts = {script.name: script for script in ALL}
        self._ahead_us = 0
        self.kind = store.kind
        self.learning_us = store.learning_us
        self.on_connect: Callable[[], None] = lambda: None

    @property
    def up(self) -> bool:
        return self._store.up

    async def open(self) -> None:
        """It is open."""

    async def close(self) -> None:
        """Whoever opened it closes it."""

    async def turn(self, seconds: float) -> None:
        """Let that much time pass."""
        self._ahead_us += int(seconds * 1_000_000)
        self._scripts = {script.name: _turned(script, self._ahead_us) for script in ALL}
        if isinstance(self._store, EmbeddedStore):
            # Redis is sent the text of a script that it does not know.
            for script in self._scripts.values():
                await self._store._client.script_load(script.text)

    async def turn_to(self, moment: datetime) -> None:
        """Let it be that moment."""
        await self.turn(moment.timestamp() - time.time() - self._ahead_us / 1_000_000)

    def begin_life(self) -> None:
        """What runs next finds another life of the server, and the data of the last one."""
        self._store._run_id += "'"

    def run(
        self, script: Script, keys: Sequence[str], arguments: Arguments
    ) -> asyncio.Future[list[Any]]:
        return self._store.run(self._scripts[script.name], keys, arguments)

    def send(self, script: Script, keys: Sequence[str], arguments: Arguments, sink: Sink) -> None:
        self._store.send(self._scripts[script.name], keys, arguments, sink)


def _turned(script: Script, ahead_us: int) -> Script:
    if _READING not in script.text:
        assert script is not RESERVE
        return script
    text = script.text.replace(_READING, f"{_READING} + {ahead_us}")
    return replace(script, text=text, sha=hashlib.sha1(text.encode()).hexdigest())
