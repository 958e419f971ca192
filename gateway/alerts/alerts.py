"""Alerts without Prometheus: the begin and end of each alarm is posted once for all gateways.

Once a second each gateway checks its conditions against what it knows. It asks the store only where
they differ from what was last posted, and every few seconds anyway. See docs/alerts.md.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.alerts.conditions import Condition, KeepaOutage
from gateway.alerts.outages import PAUSE_SECONDS, Outages
from gateway.alerts.texts import Origin, describe_event
from gateway.alerts.webhook import Webhook
from gateway.errors import LedgerUnavailable
from gateway.ledger import Agreement, Alarms, EmbeddedStore, Ledger, Sighting

_TICK_SECONDS = 1.0
# A claim that is not renewed ends after ten seconds.
_RENEW_SECONDS = 3.0
# While an alarm is on: well within its quiet time, after which it would end.
_ASK_WHILE_ON_SECONDS = 5.0
# While it is off: how late at most a gateway learns of an alarm that a dead gateway has posted.
_ASK_SECONDS = 30.0
_LAST_POSTS_SECONDS = 1.0


@dataclass(slots=True)
class _Watch:
    """What this gateway knows of one alarm. Moments are monotonic seconds."""

    condition: Condition
    believed: bool | None = None
    """Whether the alarm was on when the store was last asked."""
    ask_at: float = 0.0
    """When to ask the store in any case."""
    wait_until: float = 0.0
    """Before this, asking to change the state is of no use."""
    posting: asyncio.Task[None] | None = None

    @property
    def is_posting(self) -> bool:
        return self.posting is not None and not self.posting.done()

    def is_due(self, sighting: Sighting, now: float) -> bool:
        """Say whether to ask the store now."""
        if now >= self.ask_at:
            return True
        if self.is_posting:
            return False
        is_on = sighting.is_on(self.condition.quiet_seconds)
        differs = sighting.is_sure and is_on != self.believed
        return sighting.tokens > 0 or (differs and now >= self.wait_until)

    def hear(self, agreement: Agreement, sighting: Sighting, now: float) -> None:
        """Note the store's reply."""
        self.believed = agreement.told
        self.wait_until = now + agreement.ask_again_seconds
        is_on = agreement.told or sighting.is_on(self.condition.quiet_seconds)
        pause = _ASK_WHILE_ON_SECONDS if is_on else _ASK_SECONDS
        self.ask_at = now + (pause if agreement.to_post is None else _RENEW_SECONDS)


class Alerts:
    """Posts alarms to the webhook.

    At most one post of each alarm is under way, so that begin and end arrive in order and posts do
    not pile up: when the webhook can be reached again, the state of that moment is posted.

    Args:
        ledger: Has the balance.
        alarms: The state of all alarms, shared by the gateways.
        conditions: One for each shared alarm.
        outages: The store's outages, which each gateway posts for itself.
        webhook: Not yet entered.
        origin: Account and gateway that the events name.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        alarms: Alarms,
        conditions: Sequence[Condition],
        outages: Outages,
        webhook: Webhook,
        origin: Origin,
    ) -> None:
        self._ledger = ledger
        self._alarms = alarms
        self._watches = [_Watch(condition) for condition in conditions]
        self._outages = outages
        self._webhook = webhook
        self._origin = origin

    async def run(self) -> None:
        """Check the conditions for ever; on cancellation give posts under way a second."""
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
                # No state can be shared now; the other alarms would wait for the same.
                return

    async def _tend(self, watch: _Watch) -> None:
        condition = watch.condition
        sighting = condition.look(time.monotonic())
        if not watch.is_due(sighting, time.monotonic()):
            return
        if condition.reads_balance:
            # The last balance may be a minute old where other gateways had all the calls.
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
        # The reply does not know of a post that ended meanwhile.
        if agreement.to_post is not None and not was_posting:
            watch.posting = asyncio.create_task(
                self._tell(watch, agreement, is_on=agreement.to_post)
            )

    async def _tell(self, watch: _Watch, agreement: Agreement, *, is_on: bool) -> None:
        condition = watch.condition
        event = describe_event(
            condition.alarm,
            self._origin,
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
        """Yield the posts of alarms that end with this gateway: no other gateway knows of them."""
        yield self._outages.finish()
        for watch in self._watches:
            # The embedded store, with the state of all alarms, ends with the process.
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
