"""What has been told of each alarm, agreed on by all gateways through the store."""

import secrets
from typing import NamedTuple

from gateway.ledger import scripts
from gateway.ledger.scripts import name_alarm_keys
from gateway.ledger.store import Store

_US = 1_000_000
_NEVER, _UNSURE = -1, -2


class Sighting(NamedTuple):
    """What one gateway sees of an alarm.

    Attributes:
        seconds_ago: Since it last saw the alarm on; None: never.
        is_sure: False: it cannot say; the alarm stays as it was told.
        tokens: To add to those that the alarm is about.
    """

    seconds_ago: float | None
    is_sure: bool = True
    tokens: int = 0

    def is_on(self, quiet_seconds: float) -> bool:
        """Say whether the alarm is on as far as this gateway can see."""
        ago = self.seconds_ago
        return ago is not None and (ago == 0 or ago < quiet_seconds)

    @property
    def argument(self) -> int:
        """ARGV[4] of alarm.lua."""
        if not self.is_sure:
            return _UNSURE
        return _NEVER if self.seconds_ago is None else int(self.seconds_ago * _US)


class Agreement(NamedTuple):
    """What all gateways hold of an alarm.

    Attributes:
        told: Whether the last post that arrived said that it is on.
        to_post: What this gateway is to post, now; None: nothing.
        ask_again_seconds: Until something may have changed; 0: nothing is under way.
        since: When it began, Unix seconds; 0: it is not on.
        now: The store's clock, Unix seconds.
        tokens: Those that it is about, so far.
    """

    told: bool
    to_post: bool | None
    ask_again_seconds: float
    since: float
    now: float
    tokens: int


class Alarms:
    """Lets one gateway tell of each alarm's begin and end.

    Args:
        store: The ledger's.
        account: Names the ledger.
        claim_seconds: How long a gateway may post before another one takes over, unless it asks
            again meanwhile.
    """

    def __init__(self, store: Store, account: str, *, claim_seconds: float = 10.0) -> None:
        self._store = store
        self._keys = name_alarm_keys(account)
        self._claim_us = int(claim_seconds * _US)
        self._name = secrets.token_hex(6)

    async def agree(
        self, name: str, sighting: Sighting, *, quiet_seconds: float, believed: bool
    ) -> Agreement:
        """Tell what is seen, and hear what is to be posted; raises LedgerUnavailable.

        Args:
            name: The alarm's.
            sighting: This gateway's.
            quiet_seconds: How long the alarm stays on after any gateway last saw it on.
            believed: What was last heard to be told.
        """
        arguments = (
            name,
            sighting.argument,
            int(quiet_seconds * _US),
            int(believed),
            sighting.tokens,
            self._name,
            self._claim_us,
        )
        told, post, wait_us, since_us, now_us, tokens = await self._store.run(
            scripts.ALARM, self._keys, lambda: arguments
        )
        return Agreement(
            told == 1,
            None if post < 0 else post == 1,
            wait_us / _US,
            int(since_us) / _US,
            int(now_us) / _US,
            tokens,
        )

    async def note_post(self, name: str, *, is_on: bool, pause_seconds: float) -> None:
        """Note how this gateway's post ended; raises LedgerUnavailable.

        Args:
            name: The alarm's.
            is_on: What was to be posted.
            pause_seconds: How long nobody is to try again; 0: it arrived.
        """
        arguments = (name, self._name, int(is_on), int(pause_seconds * _US))
        await self._store.run(scripts.TOLD, self._keys, lambda: arguments)
