"""What a caller asked for, once its request was read."""

from typing import NamedTuple

from gateway.balance import Balance
from gateway.call.allowances import Allowance
from gateway.errors import Refusal
from gateway.keepa.costs import Price

# `/tracking` changes what is tracked; what an unknown endpoint changes, nobody knows.
_READING = frozenset(
    {
        "bestsellers", "category", "deal", "graphimage", "lightningdeal", "product", "query",
        "search", "seller", "sellerquery", "topseller",
    }
)  # fmt: skip


class Asked(NamedTuple):
    """One call as its caller asked for it; nothing changes it.

    Attributes:
        method: GET or POST.
        target: Path as it came, and the query with the real key.
        body: What goes to Keepa, with the real key where it is a form that has one.
        is_rewritten: Whether the body is not as it came: then without its Content-Encoding.
        service: Whose it is.
        price: What it may cost at worst.
        allowance: What its service may do.
        objection: Why its service may never make it, whatever the balance.
        wait_seconds: How long it would wait for tokens, in its own words; None: it does not say.
    """

    method: str
    target: str
    body: bytes
    is_rewritten: bool
    service: str
    price: Price
    allowance: Allowance
    objection: Refusal | None
    wait_seconds: int | None

    @property
    def endpoint(self) -> str:
        """Out of a closed set."""
        return self.price.endpoint

    @property
    def required_tokens(self) -> int:
        """What it may cost at worst."""
        return self.price.tokens

    @property
    def floor(self) -> int:
        """Its service's, in tokens."""
        return self.allowance.terms.floor

    @property
    def items(self) -> int | None:
        """How many ASINs, sellers, codes it carries; None: it has none."""
        return self.price.items

    @property
    def doubt(self) -> str:
        """What of it could not be read, so that its worst is required; empty: nothing."""
        return self.price.doubt

    @property
    def is_ledgers(self) -> bool:
        """Whether the ledger may answer it in Keepa's place."""
        return self.price.endpoint == "token" and not self.allowance.policy.blocked

    @property
    def is_repeatable(self) -> bool:
        """Whether it surely changes nothing at Keepa but the balance."""
        return self.price.endpoint in _READING

    def items_within(self, balance: Balance, room: int | None = None) -> int | None:
        """Return how many of the call's items would fit now; None: it has none.

        Args:
            balance: The bucket's.
            room: Tokens that the service's caps leave; None: any number.
        """
        available, max_cost = balance.available, self.allowance.policy.max_cost
        # Keepa runs nothing from 0 down, however low the floor.
        free = available - self.allowance.terms.floor if available > 0 else -1
        if room is not None:
            free = min(free, room)
        if max_cost is not None:
            free = min(free, max_cost)
        return self.price.items_within(free)
