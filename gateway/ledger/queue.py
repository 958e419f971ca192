"""This gateway's calls in the queue: each is told when to ask for its tokens again."""

import asyncio
import time
from typing import Any

import structlog

from gateway.errors import LedgerUnavailable
from gateway.lane import in_task
from gateway.ledger.ledger import Ledger

_log: Any = structlog.get_logger(__name__)

# Between questions to the store while somebody waits. What another gateway's calls give back is
# heard of so late at most; one question costs Redis less than a millisecond, however many wait.
_ASK_AGAIN_SECONDS = 0.25
# However often the balance changes: what this gateway's own replies tell is asked about at once.
_ASK_AT_MOST_EVERY_SECONDS = 0.02
# A store that is away for a moment costs nobody its place; who may wait has time for that much.
_AWAY_AT_MOST_SECONDS = 3.0
# A lump is there when it has fallen, not a fraction before.
_AFTER_LUMP_SECONDS = 0.002


class Queue:
    """Waits for the turn of calls that have taken a place in the ledger's queue.

    The order, and who may run, is the store's to say: see `queue.lua`. A call whose turn has come
    asks for its tokens like any other, so that it holds none before, and a gateway that dies with
    its callers leaves nothing but places, which the others remove.

    Args:
        at_most: How many calls may wait here.
    """

    def __init__(self, ledger: Ledger, at_most: int) -> None:
        self._ledger = ledger
        self._at_most = at_most
        self._waiting: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._heard_at = 0.0
        self.is_open = True
        ledger.on_gain = self._changed.set
        ledger.on_epoch = self.call_all

    @property
    def has_room(self) -> bool:
        """Whether another call may wait here."""
        return self.is_open and len(self._waiting) < self._at_most

    async def wait(self, place: str, seconds: float) -> None:
        """Return when it is the turn of that place to ask again, or its time is up."""
        await in_task()
        turn = asyncio.Event()
        self._waiting[place] = turn
        if len(self._waiting) == 1:
            self._changed.set()
        try:
            async with asyncio.timeout(seconds):
                await turn.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.pop(place, None)

    def call_all(self) -> None:
        """Have all ask again: the queue itself may be gone."""
        for turn in self._waiting.values():
            turn.set()

    def close(self) -> None:
        """Let nobody wait any longer: the gateway stops."""
        self.is_open = False
        self.call_all()

    async def run(self) -> None:
        """Ask for ever, while anybody waits."""
        while True:
            if not self._waiting:
                self._changed.clear()
                await self._changed.wait()
                self._heard_at = time.monotonic()
            pause = await self._ask()
            await asyncio.sleep(_ASK_AT_MOST_EVERY_SECONDS)
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()

    async def _ask(self) -> float:
        """Ask the store whose turn it is, and tell them; return for how long not to ask again."""
        now = time.monotonic()
        try:
            served = await self._ledger.next_in_queue(next(iter(self._waiting), ""))
        except LedgerUnavailable:
            if now - self._heard_at > _AWAY_AT_MOST_SECONDS:
                # What they ask next tells them so.
                self.call_all()
            return _ASK_AGAIN_SECONDS
        self._heard_at = now
        if served.is_forgotten:
            self.call_all()
        for place in served.places:
            turn = self._waiting.get(place)
            if turn:
                turn.set()
        until_lump = served.lump_in_ms / 1000 + _AFTER_LUMP_SECONDS
        until_slot = served.slot_wait_ms / 1000 or _ASK_AGAIN_SECONDS
        return min(_ASK_AGAIN_SECONDS, until_lump, until_slot)
