"""One admitted call: the attempts at sending it, and what became of each."""

from gateway.call.asked import Asked
from gateway.call.relay import Relay
from gateway.front.record import Record
from gateway.keepa.breaker import Trial
from gateway.ledger import Hold


class Attempt:
    """One sending of a call to Keepa. The next one is another object, perhaps on the same hold.

    Attributes:
        hold: What it may cost.
        is_sent: Whether Keepa may charge it: then it is carried to its end, whoever leaves.
        sent_at: When it was sent; monotonic, as all times here.
        seen_at: When its answer's head came, or was given up.
        status: The answer's; 0: none came.
        relay: How its answer goes on; there once the head is.
        outcome: `settled`, `released` or `doubt`; empty: not resolved yet.
        consumed: What Keepa charged, where that is known.
    """

    __slots__ = (
        "consumed", "hold", "is_sent", "outcome", "relay", "seen_at", "sent_at", "status",
    )  # fmt: skip

    relay: Relay | None

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self.is_sent = False
        self.sent_at = 0.0
        self.seen_at = 0.0
        self.status = 0
        self.relay = None
        self.outcome = ""
        self.consumed: int | None = None

    @property
    def upstream_seconds(self) -> float:
        """Time spent waiting for Keepa."""
        return self.seen_at - self.sent_at + (self.relay.waited_seconds if self.relay else 0.0)

    @property
    def is_final(self) -> bool:
        """Whether no other may follow: the answer has begun to go out, or may not go out."""
        return self.relay is not None and (self.relay.is_refused or self.relay.response is not None)

    @property
    def waits_for_keepa(self) -> bool:
        """Whether it was last seen waiting for Keepa; else for its turn, or its caller."""
        return self.is_sent and (self.relay is None or self.relay.is_reading)


class Exchange:
    """One admitted call under way.

    Attributes:
        asked: The call.
        record: What is told of it.
        trial: What the circuit breaker is told of it.
        deadline: For all attempts together; monotonic.
        attempts: The latest last.
        status: The response's; 0: there is none yet.
    """

    __slots__ = ("asked", "attempts", "deadline", "record", "status", "trial")

    def __init__(
        self, asked: Asked, record: Record, hold: Hold, trial: Trial, upstream_seconds: float
    ) -> None:
        self.asked = asked
        self.record = record
        self.trial = trial
        self.deadline = hold.began_at + upstream_seconds
        self.attempts = [Attempt(hold)]
        self.status = 0

    @property
    def attempt(self) -> Attempt:
        """The latest."""
        return self.attempts[-1]

    @property
    def upstream_seconds(self) -> float:
        """Time spent waiting for Keepa, in all attempts."""
        return sum(attempt.upstream_seconds for attempt in self.attempts)

    @property
    def doubtful_tokens(self) -> int:
        """Still held for attempts that Keepa may have charged."""
        return sum(each.hold.tokens for each in self.attempts if each.outcome == "doubt")
