"""The conditions of alarms, each as this gateway sees it.

An alarm begins when its condition holds. It ends later than the condition: a balance has to rise
one lump above its threshold, any other condition has to be absent for a quiet time. So a condition
that comes and goes is posted once.
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
    """The names of alarms."""

    BALANCE_LOW = "balance_low"
    BELOW_FLOOR = "balance_below_floor"
    DRIFT = "drift"
    KEEPA_OUTAGE = "keepa_outage"
    REDIS_OUTAGE = "redis_outage"


class Condition(Protocol):
    """The condition of one alarm that all gateways share.

    Attributes:
        alarm: Its name.
        key: Its name in the store.
        threshold: Tokens that the balance is compared with; None: it is not.
        quiet_seconds: How long the alarm stays on after any gateway last saw the condition.
        again_seconds: After which it is posted again while it lasts; 0: it is posted once.
        reads_balance: Whether it depends on the last known balance.
    """

    alarm: Alarm
    key: str
    threshold: int | None
    quiet_seconds: float
    again_seconds: float
    reads_balance: bool

    def look(self, now: float) -> Sighting:
        """Return what this gateway sees; `now` in monotonic seconds."""

    def counted(self, tokens: int) -> None:
        """Note that the store has added so many tokens of the last sighting."""


class BalanceBelow:
    """The balance is below a threshold; it ends when the balance is a lump above.

    The balance, not what is available: reservations come back.

    Args:
        alarm: Its name.
        threshold: Tokens.
        read: Returns the last known balance; None: it is not known, or too old.
    """

    quiet_seconds = 0.0
    again_seconds = 0.0
    reads_balance = True

    def __init__(self, alarm: Alarm, threshold: int, read: Callable[[], Balance | None]) -> None:
        self.alarm = alarm
        # Gateways with different thresholds, as during a change of one, have different alarms:
        # else each would end the alarm of the other.
        self.key = f"{alarm}:{threshold}"
        self.threshold: int | None = threshold
        self._threshold = threshold
        self._read = read

    def look(self, now: float) -> Sighting:  # noqa: ARG002 - the balance is as it is
        """Return whether the balance is below, above, or in between: there the alarm stays."""
        balance = self._read()
        if balance is None:
            return Sighting(None, is_sure=False)
        if balance.tokens < self._threshold:
            # Calls in doubt are counted as spent, and may not be: `/token` is being asked.
            if balance.tokens + balance.doubtful >= self._threshold:
                return Sighting(None, is_sure=False)
            return Sighting(0.0)
        # A full bucket counts as above, whatever its size.
        over_at = max(self._threshold, min(self._threshold + balance.gain, balance.capacity))
        return Sighting(None, is_sure=balance.tokens >= over_at)

    def counted(self, tokens: int) -> None:
        """No tokens are counted here."""


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
        """Return when the circuit was last open."""
        if self._is_open():
            self._seen_at = now
        return Sighting(None if self._seen_at is None else now - self._seen_at)

    def counted(self, tokens: int) -> None:
        """No tokens are counted here."""


class Drift:
    """Somebody else has spent tokens of the key.

    Takes every reply of the ledger in place of the metrics, and passes it on to them.
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
        """Return when tokens were last missing, and how many the store has not added yet."""
        ago = None if self._seen_at is None else max(0.0, now - self._seen_at)
        return Sighting(ago, tokens=self._uncounted)

    def counted(self, tokens: int) -> None:
        """Note that the store has added so many."""
        self._uncounted -= tokens


class StoreOutage:
    """The ledger's store is away from this gateway: no state that the store could share."""

    def __init__(self, is_up: Callable[[], bool]) -> None:
        self._is_up = is_up
        self._was_up: bool | None = None
        self._changed_at = 0.0

    def look(self, now: float) -> bool | None:
        """Return whether it is away; None: its last change is too recent."""
        is_up = self._is_up()
        if is_up is not self._was_up:
            self._was_up = is_up
            self._changed_at = now
        if now - self._changed_at < (STORE_UP_SECONDS if is_up else STORE_DOWN_SECONDS):
            return None
        return not is_up
