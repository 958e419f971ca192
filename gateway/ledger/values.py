"""What goes into the ledger and what comes out of it."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gateway.balance import Balance, Events

_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Rules:
    """What the ledger needs of the settings. Times in seconds."""

    hold_seconds: float
    rate_per_minute: int
    rate_burst: int
    fresh_seconds: float
    """An older observation is refreshed."""
    stale_seconds: float
    """An older observation is no ground to spend on."""


class Observation(NamedTuple):
    """What one answer of Keepa's says of the bucket."""

    tokens_left: int
    refill_in_ms: int
    refill_rate: int
    flow_micro: int
    seen_at: float
    """When its headers came, on this process' monotonic clock."""

    def arguments(self, now: float) -> tuple[int, ...]:
        """ARGV of `read_observation`; `now`: the moment of writing, which the age counts to."""
        age_us = int((now - self.seen_at) * _US)
        return (
            self.tokens_left,
            self.refill_in_ms,
            self.refill_rate,
            self.flow_micro,
            max(0, age_us),
        )


class Hold(NamedTuple):
    """A live reservation of this gateway."""

    id: str
    tokens: int
    service: str
    endpoint: str
    epoch: int
    consumed_then: int
    """C when it was reserved: goes with its answer's observation."""
    began_at: float
    """Monotonic, before the reserve was sent: never later than the store's own start."""


class Admission(NamedTuple):
    """What `reserve` said. `hold` is there where `code` is DONE."""

    code: int
    balance: Balance
    hold: Hold | None
    wait_ms: int | None
    """Until the call may fit; None: never."""


class Turn(NamedTuple):
    """What `claim` said: whether to ask Keepa for the balance now, and what to observe it with."""

    code: int
    balance: Balance
    epoch: int
    learning_ms: int
    ends_at: float
    """Monotonic seconds; another gateway may take its turn then."""


class Usage(NamedTuple):
    """One service's tallies since the store was empty."""

    used: int
    denied: int
    reserved: int


class Look(NamedTuple):
    """The account at a glance."""

    balance: Balance
    used: int
    requests: int
    live_holds: int
    services: dict[str, Usage]


class Listener(Protocol):
    """Hears of every reply; the metrics do."""

    def replied(self, script: str, seconds: float, events: Events) -> None:
        """One transition ran."""
