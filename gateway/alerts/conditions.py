"""What alerts are about: each condition tells whether it holds, as this gateway sees it.

An alarm begins where its condition is seen, and ends only well after: a balance has to rise by one
lump more than it fell below, anything else has to stay away for a quiet time. So nothing that goes
back and forth is told each time.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from gateway.balance import Balance, Events
from gateway.ledger import Listener, Sighting

# A probe that fails opens the circuit again within a moment of the cooldown's end.
BREAKER_QUIET_SECONDS = 15.0
DRIFT_QUIET_SECONDS = 600.0
DRIFT_AGAIN_SECONDS = 600.0
# A fail-over takes a second or two; a store that comes and goes is one outage.
STORE_DOWN_SECONDS = 3.0
STORE_UP_SECONDS = 15.0


class Alarm(StrEnum):
    """What alerts tell of."""

    BALANCE_LOW = "balance_low"
    BELOW_FLOOR = "balance_below_floor"
    DRIFT = "drift"
    KEEPA_OUTAGE = "keepa_outage"
    REDIS_OUTAGE = "redis_outage"


class Condition(Protocol):
    """One alarm that all gateways agree on.

    Attributes:
        alarm: Which.
        key: Names it in the store.
        threshold: What the balance is compared with, where it is; tokens.
        quiet_seconds: How long it stays on after any gateway last saw it.
        again_seconds: After which it is told again while it goes on; 0: it is told once.
        reads_balance: Whether it depends on what was last heard of the balance.
    """

    alarm: Alarm
    key: str
    threshold: int | None
    quiet_seconds: float
    again_seconds: float
    reads_balance: bool

    def look(self, now: float) -> Sighting:
        """Tell what is seen; `now` in monotonic seconds."""

    def counted(self, tokens: int) -> None:
        """So many of the sighting's tokens need not be told again."""


class BalanceBelow:
    """The balance is below a threshold; over only when it is a lump above.

    The balance, not what is available: reservations come back.

    Args:
        alarm: Which.
        threshold: Tokens.
        read: Returns the balance as last heard; None: it is not known, or too old to tell.
    """

    quiet_seconds = 0.0
    again_seconds = 0.0
    reads_balance = True

    def __init__(self, alarm: Alarm, threshold: int, read: Callable[[], Balance | None]) -> None:
        self.alarm = alarm
        # Gateways with different thresholds, as when one is being changed, tell different alarms:
        # else each would take back what the other has told.
        self.key = f"{alarm}:{threshold}"
        self.threshold: int | None = threshold
        self._threshold = threshold
        self._read = read

    def look(self, now: float) -> Sighting:  # noqa: ARG002 - the balance is as it is
        """Tell whether the balance is below, above, or in between, where it stays as it was."""
        balance = self._read()
        if balance is None:
            return Sighting(None, is_sure=False)
        if balance.tokens < self._threshold:
            # What our own caution counted as spent may be there: /token is asked about it already.
            if balance.tokens + balance.doubtful >= self._threshold:
                return Sighting(None, is_sure=False)
            return Sighting(0.0)
        # A full bucket is above, whatever it holds.
        over_at = max(self._threshold, min(self._threshold + balance.gain, balance.capacity))
        return Sighting(None, is_sure=balance.tokens >= over_at)

    def counted(self, tokens: int) -> None:
        """Nothing is counted here."""


class KeepaOutage:
    """This gateway's circuit to Keepa is open, until a call has succeeded."""

    alarm = Alarm.KEEPA_OUTAGE
    key = str(Alarm.KEEPA_OUTAGE)
    threshold: int | None = None
    quiet_seconds = BREAKER_QUIET_SECONDS
    again_seconds = 0.0
    reads_balance = False

    def __init__(self, is_open: Callable[[], bool]) -> None:
        self._is_open = is_open
        self._seen_at: float | None = None

    def look(self, now: float) -> Sighting:
        """Tell when the circuit was last seen open."""
        if self._is_open():
            self._seen_at = now
        return Sighting(None if self._seen_at is None else now - self._seen_at)

    def counted(self, tokens: int) -> None:
        """Nothing is counted here."""


class Drift:
    """Tokens were spent by somebody else.

    Hears of every reply in the metrics' place, and passes it on.
    """

    alarm = Alarm.DRIFT
    key = str(Alarm.DRIFT)
    threshold: int | None = None
    quiet_seconds = DRIFT_QUIET_SECONDS
    again_seconds = DRIFT_AGAIN_SECONDS
    reads_balance = False

    def __init__(self, listener: Listener, clock: Callable[[], float]) -> None:
        self._listener = listener
        self._clock = clock
        self._seen_at: float | None = None
        self._uncounted = 0

    def replied(self, script: str, seconds: float, events: Events) -> None:
        """One transition ran."""
        self._listener.replied(script, seconds, events)
        if events.spent:
            self._seen_at = self._clock()
            self._uncounted += events.spent

    def look(self, now: float) -> Sighting:
        """Tell when tokens were last missing, and how many that nobody was told of yet."""
        ago = None if self._seen_at is None else max(0.0, now - self._seen_at)
        return Sighting(ago, tokens=self._uncounted)

    def counted(self, tokens: int) -> None:
        """So many are in the store by now."""
        self._uncounted -= tokens


class StoreOutage:
    """The ledger's store is away from this gateway, which cannot be agreed on through the store."""

    def __init__(self, is_up: Callable[[], bool]) -> None:
        self._is_up = is_up
        self._was_up: bool | None = None
        self._changed_at = 0.0

    def look(self, now: float) -> bool | None:
        """Tell whether it is away; None: not for long enough to say."""
        is_up = self._is_up()
        if is_up is not self._was_up:
            self._was_up = is_up
            self._changed_at = now
        if now - self._changed_at < (STORE_UP_SECONDS if is_up else STORE_DOWN_SECONDS):
            return None
        return not is_up
