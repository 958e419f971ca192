"""One admitted call on its way to Keepa and back."""

from dataclasses import dataclass

from gateway.call.intake import Call
from gateway.call.relay import Relay
from gateway.front.facts import Facts
from gateway.keepa.breaker import Trial
from gateway.ledger import Hold


@dataclass(slots=True)
class Carriage:
    """One admitted call under way, and what became of it: of its latest attempt, mostly."""

    call: Call
    hold: Hold
    facts: Facts
    deadline: float
    """Monotonic; for all attempts together."""
    trial: Trial
    """What the circuit breaker is told of it."""
    attempts: int = 1
    earlier_seconds: float = 0.0
    """Time that earlier attempts spent waiting for Keepa."""
    doubtful_tokens: int = 0
    """Still held for earlier attempts that Keepa may have charged."""
    dispatched: bool = False
    """From here on Keepa may charge: the call is carried to its end, whoever leaves."""
    relay: Relay | None = None
    """There once the answer's head is."""
    head_seconds: float = 0.0
    sent_at: float = 0.0
    """When the attempt was, and then when its answer's head came; monotonic."""
    seen_at: float = 0.0
    is_picture: bool = False
    outcome: str = ""
    """`settled`, `released` or `doubt`; empty: not resolved yet."""
    consumed: int | None = None
    status: int = 0

    @property
    def upstream_seconds(self) -> float:
        """Time spent waiting for Keepa."""
        waited = self.relay.waited_seconds if self.relay else 0.0
        return self.earlier_seconds + self.head_seconds + waited

    @property
    def is_final(self) -> bool:
        """Whether no attempt may follow: the answer has begun to go out, or may not go out."""
        return self.relay is not None and (self.relay.is_refused or self.relay.reply is not None)

    @property
    def waits_for_keepa(self) -> bool:
        """Whether the call was last seen waiting for Keepa; else for its turn, or its caller."""
        return self.dispatched and (self.relay is None or self.relay.is_reading)

    def begin_again(self, hold: Hold) -> None:
        """Start another attempt; the one before is resolved, unless it had the same hold."""
        self.earlier_seconds = self.upstream_seconds
        if self.outcome == "doubt":
            self.doubtful_tokens += self.hold.tokens
        self.hold = hold
        self.attempts += 1
        self.dispatched = self.is_picture = False
        self.relay = None
        self.head_seconds = 0.0
        self.outcome = ""
        self.consumed = None
        self.status = 0
