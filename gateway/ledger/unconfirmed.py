"""Resolutions on their way: what the store has not confirmed yet."""

import asyncio
import itertools
import time
from collections import Counter

import structlog

from gateway.ledger.scripts import RELEASE, SETTLE, Script
from gateway.ledger.store import Arguments

_log = structlog.get_logger(__name__)

# Far above what one gateway can have in flight when its store goes away.
AT_MOST = 20_000
# Room is made for so many at once: looking for the oldest takes a look at all.
_ROOM = AT_MOST // 20
# As LIFE in markers.lua: how long the store knows a resolved id.
_MARKER_SECONDS = 600


class Unconfirmed:
    """Resolutions by call id, oldest first: not too many, and none that is too old.

    One that is dropped leaves its hold to expire, which counts it as spent: the safe side.

    Args:
        hold_seconds: Life of a hold. Hold and marker are gone so long after the resolution was
            raised, or were never there: a copy that comes later could only charge a second time.
    """

    def __init__(self, hold_seconds: float) -> None:
        self._life_seconds = hold_seconds + _MARKER_SECONDS
        self._raised: dict[str, tuple[Script, Arguments, float]] = {}
        self._none_left = asyncio.Event()
        self._none_left.set()

    def __len__(self) -> int:
        return len(self._raised)

    def __getitem__(self, call_id: str) -> tuple[Script, Arguments]:
        script, arguments, _ = self._raised[call_id]
        return script, arguments

    def add(self, call_id: str, script: Script, arguments: Arguments) -> None:
        """Keep it until it is confirmed, in the place of an earlier one of the same call."""
        if len(self._raised) >= AT_MOST:
            self._make_room()
        self._raised[call_id] = (script, arguments, time.monotonic())
        self._none_left.clear()

    def confirm(self, call_id: str) -> None:
        """Forget it: the store has it. Two copies may have been under way."""
        self._raised.pop(call_id, None)
        if not self._raised:
            self._none_left.set()

    def call_ids(self) -> list[str]:
        """Return whose resolutions are to be sent, without those that are too old by now."""
        now = time.monotonic()
        too_old = itertools.takewhile(
            lambda call_id: now - self._raised[call_id][2] >= self._life_seconds, self._raised
        )
        self._drop(list(too_old), "too old")
        return list(self._raised)

    async def confirmed(self) -> None:
        """Wait until none is left."""
        await self._none_left.wait()

    def _make_room(self) -> None:
        # What a lost release does, a lost settle does too, and forgets what an answer said.
        by_worth = sorted(self._raised, key=lambda call_id: self._raised[call_id][0] is not RELEASE)
        self._drop(by_worth[:_ROOM], "too many")

    def _drop(self, call_ids: list[str], why: str) -> None:
        if not call_ids:
            return
        dropped = Counter(self._raised[call_id][0].name for call_id in call_ids)
        for call_id in call_ids:
            self.confirm(call_id)
        _log.error(
            "resolutions_dropped",
            why=why,
            releases=dropped[RELEASE.name],
            settles=dropped[SETTLE.name],
            hint="their holds expire and count as spent",
        )
