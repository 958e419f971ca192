"""What has been told of each alarm, agreed on by all gateways through the store."""

import secrets
from typing import NamedTuple

from gateway.ledger import scripts
from gateway.ledger.scripts import name_alarm_keys
from gateway.ledger.store import Store

_US = 1_000_000
_NEVER, _UNSURE = -1, -2
OUTAGE = "redis_outage:"
"""What the name of a gateway's outage of the store begins with; its own name follows."""


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
        """ARGV[4] of alarm_seen.lua."""
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
        tokens_told: Those of the last post, of an alarm that is told again while it goes on.
    """

    told: bool
    to_post: bool | None
    ask_again_seconds: float
    since: float
    now: float
    tokens: int
    tokens_told: int = 0


class Alarms:
    """Lets one gateway tell of each alarm's begin and end.

    Args:
        store: The ledger's.
        account: Names the ledger.
        gateway: Names this gateway to whoever reads the store.
        claim_seconds: How long a gateway may post before another one takes over, unless it asks
            again meanwhile.
    """

    def __init__(
        self, store: Store, account: str, gateway: str = "", *, claim_seconds: float = 10.0
    ) -> None:
        self._store = store
        self._keys = name_alarm_keys(account)
        self._claim_us = int(claim_seconds * _US)
        # Two containers may be one host and process to themselves, and to the claim they must not.
        self._name = f"{gateway}#{secrets.token_hex(4)}"

    async def agree(
        self,
        name: str,
        sighting: Sighting,
        *,
        quiet_seconds: float,
        believed: bool,
        again_seconds: float = 0.0,
        began_seconds_ago: float = 0.0,
    ) -> Agreement:
        """Tell what is seen, and hear what is to be posted; raises LedgerUnavailable.

        Args:
            name: The alarm's.
            sighting: This gateway's.
            quiet_seconds: How long the alarm stays on after any gateway last saw it on.
            believed: What was last heard to be told.
            again_seconds: After which one that goes on, with more tokens, is told again; 0: never.
            began_seconds_ago: When it began, for a store that does not know.
        """
        arguments = (
            name,
            sighting.argument,
            int(quiet_seconds * _US),
            int(believed),
            sighting.tokens,
            self._name,
            self._claim_us,
            int(again_seconds * _US),
            max(0, int(began_seconds_ago * _US)),
        )
        told, post, wait_us, since_us, now_us, tokens, tokens_told = await self._store.run(
            scripts.ALARM_SEEN, self._keys, lambda: arguments
        )
        return Agreement(
            told == 1,
            None if post < 0 else post == 1,
            wait_us / _US,
            int(since_us) / _US,
            int(now_us) / _US,
            tokens,
            tokens_told,
        )

    async def note_post(
        self, name: str, *, is_on: bool, pause_seconds: float, tokens: int = 0
    ) -> None:
        """Note how this gateway's post ended; raises LedgerUnavailable.

        Args:
            name: The alarm's.
            is_on: What was to be posted.
            pause_seconds: How long nobody is to try again; 0: it arrived.
            tokens: Those that it told of.
        """
        arguments = (name, self._name, int(is_on), int(pause_seconds * _US), tokens)
        await self._store.run(scripts.ALARM_POSTED, self._keys, lambda: arguments)

    async def outages(self, *, over: str = "") -> list[str]:
        """Return the names of the store's outages that are told and not ended.

        Raises:
            LedgerUnavailable: No answer from the store.

        Args:
            over: One to forget first.
        """
        arguments = (OUTAGE, over)
        names = await self._store.run(scripts.OPEN_OUTAGES, self._keys, lambda: arguments)
        return [str(name, "utf-8") if isinstance(name, bytes) else name for name in names]
