"""The price of one call."""

from __future__ import annotations

from typing import NamedTuple


class Price(NamedTuple):
    """What one call may cost at worst: `tokens == fixed + items * per_item`.

    Attributes:
        endpoint: lower-case name out of a closed set (the known endpoints, those named in
            ENDPOINT_COSTS, `unknown`), safe as a metric label.
        tokens: the tokens to reserve.
        items: how many ASINs, codes, sellers, categories or trackings the call carries, clamped to
            what Keepa takes in one call; None where a call has none.
        per_item: tokens for each item.
        fixed: tokens for the call, however many items it has.
    """

    endpoint: str
    tokens: int
    items: int | None
    per_item: int
    fixed: int

    @classmethod
    def flat(cls, endpoint: str, tokens: int) -> Price:
        """Price a call that has no items."""
        return cls(endpoint, tokens, None, 0, tokens)

    @classmethod
    def of_items(cls, endpoint: str, items: int, per_item: int, fixed: int = 0) -> Price:
        """Price a call that carries `items`."""
        return cls(endpoint, fixed + items * per_item, items, per_item, fixed)

    def items_within(self, available: int) -> int | None:
        """Return how many of the items fit into `available` tokens, 0 to `items`; None: has none.

        Where items are free (the ids of one category call), all of them fit or none.
        """
        if self.items is None:
            return None
        if available < self.fixed:
            return 0
        if self.per_item == 0:
            return self.items
        return min(self.items, (available - self.fixed) // self.per_item)
