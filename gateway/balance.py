"""What every reply of the ledger holds: the state of the bucket, and the events of the script."""

from typing import NamedTuple

MICRO = 1_000_000
HOUR_SECONDS = 3_600
"""Unused tokens expire after it; usage is counted by it."""


class Balance(NamedTuple):
    """One account's bucket when a script replied. Tokens are whole, times milliseconds."""

    known: bool
    """False until Keepa's balance has been observed in this life of the store."""
    tokens: int
    """The balance by the ledger's own accounting, before holds. May be negative."""
    held: int
    """Sum of the live reservations."""
    refill_rate: int
    """Tokens Keepa adds each minute, before price trackings take their part; 0: never observed."""
    flow_micro: int
    """The part that price trackings take away, in millionths of a token per minute."""
    lump_in_ms: int
    """Until the next lump; more than a minute where an answer showed that lumps come later."""
    observed_ms_ago: int
    """Age of the newest observation; meaningless while unknown."""
    consumed: int
    """Everything settled in this epoch."""
    doubtful: int = 0
    """How many tokens more there may be: calls in doubt count as spent until the next observation,
    which is asked for at once."""

    @property
    def available(self) -> int:
        """What new calls may draw on: the balance less the live reservations."""
        return self.tokens - self.held

    @property
    def debt(self) -> int:
        """By how much the balance is below zero: until it is refilled, Keepa refuses all calls."""
        return max(0, -self.tokens)

    @property
    def capacity(self) -> int:
        """Most tokens the bucket holds: unused ones expire after 60 minutes (Keepa's rule)."""
        return 60 * self.refill_rate

    @property
    def gain(self) -> int:
        """Tokens that surely arrive with each lump; Keepa rounds, the ledger rounds down."""
        return max(0, self.refill_rate * MICRO - self.flow_micro) // MICRO

    @property
    def flow_reduction(self) -> float:
        """Keepa's `tokenFlowReduction`."""
        return self.flow_micro / MICRO


UNKNOWN = Balance(
    known=False,
    tokens=0,
    held=0,
    refill_rate=0,
    flow_micro=0,
    lump_in_ms=60_000,
    observed_ms_ago=0,
    consumed=0,
)


INCONSISTENCIES = (
    "clock_set_back",
    "ledger_lost",
    "holds_lost",
    "expiries_lost",
    "starts_lost",
    "queue_lost",
    "services_lost",
    "sum_below_zero",
    "window_below_zero",
)
"""What the ledger may find inconsistent: keys that were lost, sums, the store's clock."""


class Events(NamedTuple):
    """What one script found, in tokens except `reaped`; counters add these up."""

    lost: int
    """Expired unused: the bucket was full when a lump came."""
    spent: int
    """Drift: certainly spent by others."""
    back: int
    """Drift: came back, without those that were only counted as spent in doubt."""
    reaped: int
    """Holds that expired unresolved."""
    reaped_tokens: int
    overrun: int
    """Charged above the reservation."""
    inconsistent: str = ""
    """Inconsistencies of the ledger's data: some of INCONSISTENCIES, separated by commas."""


NO_EVENTS = Events(0, 0, 0, 0, 0, 0)
