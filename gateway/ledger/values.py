"""What goes into the ledger and what comes out of it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from gateway.balance import Balance, Events

_US = 1_000_000
AUTO = -1


@dataclass(frozen=True, slots=True)
class Rules:
    """What the ledger needs of the settings. Times in seconds."""

    hold_seconds: float
    rate_per_minute: int
    """Requests that all callers may make; 0: any number; AUTO: as the plan brings tokens."""
    rate_burst: int
    """How many at once after quiet time; 0 and AUTO likewise."""
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

    def record(self, now: float) -> str:
        """Return it as `observation.lua` reads it; `now`: the moment of writing."""
        age_us = max(0, int((now - self.seen_at) * _US))
        return (
            f"{self.tokens_left}|{self.refill_in_ms}|{self.refill_rate}|{self.flow_micro}|{age_us}"
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """What a service is held to, beside the account's request rate. Tokens; a cap of 0 is none.

    Attributes:
        is_own_floor: Whether the floor is the service's, not the account's.
        tokens_per_hour: In one clock hour, UTC.
        tokens_per_day: The same for one day.
        max_concurrency: Live holds, those in doubt included.
        overdraft: Whether a call dearer than the bucket may run, alone, from a full one.
        record: As `terms.lua` reads it.
    """

    floor: int
    is_own_floor: bool = False
    tokens_per_hour: int = 0
    tokens_per_day: int = 0
    max_concurrency: int = 0
    overdraft: bool = False
    record: str = field(init=False)

    def __post_init__(self) -> None:
        record = (
            f"{self.floor}|{self.is_own_floor:d}|{self.tokens_per_hour}|{self.tokens_per_day}|"
            f"{self.max_concurrency}|{self.overdraft:d}"
        )
        object.__setattr__(self, "record", record)


class Purpose(StrEnum):
    """What a reserve is for."""

    ADMIT = "admit"
    SHADOW = "shadow"
    """Admit, whatever speaks against it."""
    UNCOUNTED = "uncounted"
    """As SHADOW, and count nothing as refused: a further attempt at a call."""
    REFUSED = "refused"
    """As UNCOUNTED, for a call that is refused already: it takes no request slot."""
    QUOTE = "quote"
    """Only say what would become of it."""


class Ask(NamedTuple):
    """What a call asks of the ledger: a hold and a request slot, both or nothing."""

    call_id: str
    tokens: int
    terms: Terms
    service: str
    endpoint: str
    purpose: Purpose = Purpose.ADMIT
    wait_seconds: float = 0.0
    """How long the call may wait from now on. One that fits by then takes a place in the queue."""
    place: str = ""
    """The one that an earlier attempt under the same id took; empty: none."""

    @property
    def record(self) -> str:
        """As `reserve.lua` reads it."""
        return (
            f"{self.call_id}|{self.tokens}|{self.service}|{self.endpoint}|{self.purpose}|"
            f"{int(self.wait_seconds * _US)}|{self.place}"
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

    def ended_record(self, consumed: int) -> str:
        """Return what `settle.lua` reads of its end."""
        return (
            f"{self.id}|{consumed}|{self.tokens}|{self.epoch}|{self.consumed_then}|"
            f"{self.service}|{self.endpoint}"
        )

    def live_record(self, age_us: int, left_us: int) -> str:
        """Return it as `restore_holds.lua` reads it."""
        return (
            f"{self.id}|{self.tokens}|{age_us}|{left_us}|{self.epoch}|"
            f"{self.service}|{self.endpoint}"
        )


class Admission(NamedTuple):
    """What `reserve` said. `hold` is there where `code` is DONE."""

    code: int
    balance: Balance
    hold: Hold | None
    wait_ms: int | None
    """Until the call may fit; None: never."""
    place: str = ""
    """In the queue, of a call that waits."""
    against: int = 0
    """In shadow: the code of what spoke against it; DONE: nothing."""
    room: int | None = None
    """Tokens that the service's caps leave, where they are in the way."""
    per_minute: int = 0
    """Requests that all callers may make; 0: any number."""


class Outlook(NamedTuple):
    """What lies ahead of who keeps the balance known."""

    admits_in_ms: int
    """Until the store's new life has learned of all holds and admits calls; 0: it does."""
    look_in_ms: int
    """Until there may be a reason to ask Keepa before the observation is old."""


class Turn(NamedTuple):
    """What `claim` said: whether to ask Keepa for the balance now, and what to observe it with."""

    code: int
    balance: Balance
    epoch: int
    outlook: Outlook
    ends_at: float
    """Monotonic seconds; another gateway may take its turn then."""


class Usage(NamedTuple):
    """One service's tallies, since the store was empty where nothing else is said. In tokens."""

    used: int
    reserved: int
    holds: int
    """Live ones, now."""
    this_hour: int
    this_day: int
    """Of the clock's windows (UTC): what was consumed, and what is held."""
    waiting: int
    """Calls in the queue, now."""
    refusals: dict[str, int]
    """Calls by reason."""

    @property
    def denied(self) -> int:
        """Calls refused."""
        return sum(self.refusals.values())


class Served(NamedTuple):
    """What `next_in_queue` said."""

    places: list[str]
    """Of this gateway's waiting calls, those that would run now."""
    is_forgotten: bool
    """The gateway was thought gone: its calls have to take their places again."""
    slot_wait_ms: int
    """Until the next request slot."""
    lump_in_ms: int


class RequestRate(NamedTuple):
    """How many requests all callers may make; 0: any number."""

    per_minute: int
    burst: int
    """At once, after quiet time."""


class Overview(NamedTuple):
    """The account at a glance."""

    balance: Balance
    used: int
    requests: int
    live_holds: int
    services: dict[str, Usage]
    request_rate: RequestRate
    """In force."""


class Listener(Protocol):
    """Hears of every reply; the metrics do."""

    def replied(self, script: str, seconds: float, events: Events) -> None:
        """One transition ran."""
