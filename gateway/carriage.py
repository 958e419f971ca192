"""One admitted call on its way to Keepa and back."""

from dataclasses import dataclass

from gateway.errors import RefusedCall
from gateway.intake import Call
from gateway.ledger import Hold
from gateway.relay import Relay


@dataclass(slots=True)
class Carriage:
    """One admitted call under way, and what became of it."""

    call: Call
    hold: Hold
    facts: RefusedCall
    dispatched: bool = False
    """From here on Keepa may charge: the call is carried to its end, whoever leaves."""
    relay: Relay | None = None
    """There once the answer's head is."""
    head_seconds: float = 0.0
    seen_at: float = 0.0
    is_picture: bool = False
    outcome: str = ""
    """`settled`, `released` or `doubt`; empty: not resolved yet."""
    consumed: int | None = None
    status: int = 0

    @property
    def upstream_seconds(self) -> float:
        """Time spent waiting for Keepa."""
        return self.head_seconds + (self.relay.waited_seconds if self.relay else 0.0)
