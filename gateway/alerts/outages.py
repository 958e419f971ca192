"""The store's outages, whose state gateways cannot share through the store while it is away.

Each gateway posts its own. When the store is back, it notes there that it has posted one and
renews the note. If it dies before it posts the end, another gateway finds the note old and posts
the end in its place.
"""

import asyncio
import time
from dataclasses import replace

from gateway.alerts.conditions import STORE_DOWN_SECONDS, STORE_UP_SECONDS, Alarm, StoreOutage
from gateway.alerts.texts import Origin, describe_event
from gateway.alerts.webhook import Webhook
from gateway.errors import LedgerUnavailable
from gateway.ledger import OUTAGE, Alarms, Ledger, Sighting

PAUSE_SECONDS = 60.0
"""After a post was given up, before any gateway tries again."""
# How often a note is renewed, and how old it is when its gateway is taken for dead.
_RENEW_SECONDS = 5.0
_LEFT_SECONDS = STORE_UP_SECONDS + _RENEW_SECONDS
# How often a gateway looks for old notes of others.
_LOOK_SECONDS = 30.0
# For a post that is under way at the stop: it may be the begin of an outage that has to be ended.
_LAST_POST_SECONDS = 0.4


class Outages:
    """Posts this gateway's outages, and the ends of those whose gateway has died.

    Args:
        ledger: Has the balance.
        alarms: Keeps the notes; its claims outlast a post that is tried again.
        outage: This gateway's.
        webhook: Entered by the caller.
        origin: Account and gateway that the events name.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        alarms: Alarms,
        outage: StoreOutage,
        webhook: Webhook,
        origin: Origin,
    ) -> None:
        self._ledger = ledger
        self._alarms = alarms
        self._outage = outage
        self._webhook = webhook
        self._origin = origin
        self._key = f"{OUTAGE}{origin.gateway}"
        self._is_told = False
        self._since = 0.0
        self._post: asyncio.Task[None] | None = None
        self._notes: asyncio.Task[None] | None = None
        self._notes_due_at = 0.0

    def tend(self) -> None:
        """Check once; posts and notes are made in the background."""
        now = time.monotonic()
        is_away = self._outage.look(now)
        if is_away not in {None, self._is_told} and _is_idle(self._post):
            self._post = asyncio.create_task(self._tell(is_away=bool(is_away)))
        if self._ledger.store.up and now >= self._notes_due_at and _is_idle(self._notes):
            self._notes = asyncio.create_task(self._tend_notes())

    async def finish(self) -> None:
        """Post the end of an outage that this gateway has posted, for it stops."""
        running = [task for task in (self._post, self._notes) if task and not task.done()]
        if running:
            await asyncio.wait(running, timeout=_LAST_POST_SECONDS)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._is_told:
            await self._tell(is_away=False, has_stopped=not self._ledger.store.up)

    async def _tell(self, *, is_away: bool, has_stopped: bool = False) -> None:
        now = time.time()
        if is_away:
            # A post that is tried again keeps the time of the begin.
            self._since = self._since or now - STORE_DOWN_SECONDS
        event = describe_event(
            Alarm.REDIS_OUTAGE,
            self._origin,
            is_on=is_away,
            balance=self._ledger.latest if self._ledger.store.up else None,
            since=self._since,
            at=now,
            has_stopped=has_stopped,
        )
        if not await self._webhook.post(event):
            await asyncio.sleep(PAUSE_SECONDS)
            return
        self._is_told = is_away
        self._notes_due_at = 0.0
        if not is_away:
            self._since = 0.0
            try:
                await self._alarms.outages(over=self._key)
            except LedgerUnavailable:
                # The gateway that finds the note posts the same end again.
                return

    async def _tend_notes(self) -> None:
        """Renew this gateway's note, or look for old notes of others."""
        try:
            if self._is_told:
                self._notes_due_at = time.monotonic() + _RENEW_SECONDS
                await self._alarms.agree(
                    self._key,
                    Sighting(0.0),
                    quiet_seconds=_LEFT_SECONDS,
                    believed=True,
                    began_seconds_ago=time.time() - self._since,
                )
                return
            self._notes_due_at = time.monotonic() + _LOOK_SECONDS
            for name in await self._alarms.outages():
                await self._end_left(name)
        except LedgerUnavailable:
            self._notes_due_at = time.monotonic() + _RENEW_SECONDS

    async def _end_left(self, name: str) -> None:
        """Post the end of an outage whose gateway has died.

        Raises:
            LedgerUnavailable: The store does not answer.
        """
        agreement = await self._alarms.agree(
            name, Sighting(None), quiet_seconds=_LEFT_SECONDS, believed=False
        )
        if agreement.ask_again_seconds:
            due_at = time.monotonic() + agreement.ask_again_seconds
            self._notes_due_at = min(self._notes_due_at, due_at)
        if not agreement.told:
            await self._alarms.outages(over=name)
        elif agreement.to_post is False:
            event = describe_event(
                Alarm.REDIS_OUTAGE,
                replace(self._origin, gateway=name.removeprefix(OUTAGE)),
                is_on=False,
                balance=self._ledger.latest,
                since=agreement.since,
                at=agreement.now,
                has_stopped=True,
            )
            has_arrived = await self._webhook.post(event)
            await self._alarms.note_post(
                name, is_on=False, pause_seconds=0.0 if has_arrived else PAUSE_SECONDS
            )
            if has_arrived:
                await self._alarms.outages(over=name)


def _is_idle(task: asyncio.Task[None] | None) -> bool:
    return task is None or task.done()
