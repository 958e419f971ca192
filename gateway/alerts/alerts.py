"""Alerts without Prometheus: what begins and ends is posted to a webhook, once for all gateways.

Once a second each gateway looks at what it knows already; it asks the store only where that differs
from what it last heard was told, and now and then. See docs/alerts.md.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.alerts.conditions import Condition, KeepaOutage
from gateway.alerts.outages import PAUSE_SECONDS, Outages
from gateway.alerts.texts import About, describe_event
from gateway.alerts.webhook import Webhook
from gateway.errors import LedgerUnavailable
from gateway.ledger import Agreement, Alarms, EmbeddedStore, Ledger, Sighting

_TICK_SECONDS = 1.0
# A claim that is not renewed ends after ten.
_RENEW_SECONDS = 3.0
# Where it is on: well within the quiet time, after which it would be taken for over.
_ASK_WHILE_ON_SECONDS = 5.0
# Where it is not: what another gateway, gone since, has told is heard so late at most.
_ASK_SECONDS = 30.0
_LAST_POSTS_SECONDS = 1.0


@dataclass(slots=True)
class _Watch:
    """What this gateway knows of one agreed alarm. Moments are monotonic seconds."""

    condition: Condition
    believed: bool | None = None
    """What was last heard to be told."""
    ask_at: float = 0.0
    """When to ask whatever is seen."""
    wait_until: float = 0.0
    """Before which asking for another state is of no use."""
    posting: asyncio.Task[None] | None = None

    @property
    def is_posting(self) -> bool:
        return self.posting is not None and not self.posting.done()

    def is_due(self, sighting: Sighting, now: float) -> bool:
        """Say whether the store has to be asked now."""
        if now >= self.ask_at:
            return True
        if self.is_posting:
            return False
        is_on = sighting.is_on(self.condition.quiet_seconds)
        differs = sighting.is_sure and is_on != self.believed
        return sighting.tokens > 0 or (differs and now >= self.wait_until)

    def hear(self, agreement: Agreement, sighting: Sighting, now: float) -> None:
        """Note what the store said."""
        self.believed = agreement.told
        self.wait_until = now + agreement.ask_again_seconds
        is_on = agreement.told or sighting.is_on(self.condition.quiet_seconds)
        pause = _ASK_WHILE_ON_SECONDS if is_on else _ASK_SECONDS
        self.ask_at = now + (pause if agreement.to_post is None else _RENEW_SECONDS)


class Alerts:
    """Tells the webhook of alarms.

    At most one post of each alarm is under way here, so that begin and end come in order and
    nothing piles up: what is true is posted when the webhook can be reached again.

    Args:
        ledger: Knows the balance.
        alarms: Where gateways agree.
        conditions: What they agree on.
        outages: The store's, which each tells for itself.
        webhook: Not yet entered.
        about: Whom the events are about.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        alarms: Alarms,
        conditions: Sequence[Condition],
        outages: Outages,
        webhook: Webhook,
        about: About,
    ) -> None:
        self._ledger = ledger
        self._alarms = alarms
        self._watches = [_Watch(condition) for condition in conditions]
        self._outages = outages
        self._webhook = webhook
        self._about = about

    async def run(self) -> None:
        """Watch for ever; at the end give posts under way a second."""
        async with self._webhook:
            try:
                while True:
                    await asyncio.sleep(_TICK_SECONDS)
                    self._outages.tend()
                    await self._tend_all()
            finally:
                await self._finish()

    async def _tend_all(self) -> None:
        for watch in self._watches:
            try:
                await self._tend(watch)
            except LedgerUnavailable:
                # Nothing can be agreed on now, and the others would only wait for the same.
                return

    async def _tend(self, watch: _Watch) -> None:
        condition = watch.condition
        sighting = condition.look(time.monotonic())
        if not watch.is_due(sighting, time.monotonic()):
            return
        if condition.reads_balance:
            # What was last heard may be a minute old where other gateways had all the calls.
            await self._ledger.is_fresh()
            sighting = condition.look(time.monotonic())
        was_posting = watch.is_posting
        agreement = await self._alarms.agree(
            condition.key,
            sighting,
            quiet_seconds=condition.quiet_seconds,
            believed=watch.believed or False,
            again_seconds=condition.again_seconds,
        )
        condition.counted(sighting.tokens)
        watch.hear(agreement, sighting, time.monotonic())
        # A post that ended while the store was asked is not known to its answer.
        if agreement.to_post is not None and not was_posting:
            watch.posting = asyncio.create_task(
                self._tell(watch, agreement, is_on=agreement.to_post)
            )

    async def _tell(self, watch: _Watch, agreement: Agreement, *, is_on: bool) -> None:
        condition = watch.condition
        event = describe_event(
            condition.alarm,
            self._about,
            is_on=is_on,
            balance=self._ledger.latest,
            threshold=condition.threshold,
            tokens=agreement.tokens,
            tokens_told=agreement.tokens_told,
            since=agreement.since,
            at=agreement.now,
        )
        has_arrived = await self._webhook.post(event)
        if has_arrived:
            watch.believed = is_on
        pause_seconds = 0.0 if has_arrived else PAUSE_SECONDS
        while True:
            try:
                await self._alarms.note_post(
                    condition.key,
                    is_on=is_on,
                    pause_seconds=pause_seconds,
                    tokens=agreement.tokens,
                )
            except LedgerUnavailable:
                await asyncio.sleep(_TICK_SECONDS)
            else:
                return

    def _last_words(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield the posts of what ends with this gateway, for nobody else could know of it."""
        yield self._outages.finish()
        for watch in self._watches:
            # The embedded store, and what was told of each alarm with it, is gone in a moment.
            is_own = isinstance(self._ledger.store, EmbeddedStore)
            if is_own and isinstance(watch.condition, KeepaOutage) and watch.believed:
                yield self._tell(watch, Agreement(True, False, 0, 0, time.time(), 0), is_on=False)

    async def _finish(self) -> None:
        posts = [watch.posting for watch in self._watches]
        posts += [asyncio.create_task(work) for work in self._last_words()]
        running = [post for post in posts if post and not post.done()]
        if running:
            await asyncio.wait(running, timeout=_LAST_POSTS_SECONDS)
        for post in running:
            post.cancel()
        await asyncio.gather(*running, return_exceptions=True)
