"""The price of one call."""

from __future__ import annotations

from typing import NamedTuple

from gateway.keepa.costs.parts import ITEMS, Part, Share, spell, spell_call, spell_items

TOO_LARGE: tuple[Share, ...] = (("too large to read: the endpoint's worst", 0, 0),)
"""The shares of a call that is not read: its tokens are one part, whatever they are."""


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
        shares: what `per_item` is made of before `code_limit` multiplies it, or `fixed` where items
            are free; empty where it is one piece. Raw: for `describe`.
        offers: how many offers of each product are priced, 20 to 100; None where none are asked
            for. This and the two below: `/product` only.
        codes: how many of the items are codes, each of which may match many products.
        code_limit: how many products of each code are priced, 1 to 10 000; None where there are no
            codes, or no `code-limit`.
        unread: what of the call could not be read, so that it is priced at its worst: names of
            parameters, or `call` for all of it.
    """

    endpoint: str
    tokens: int
    items: int | None
    per_item: int
    fixed: int
    shares: tuple[Share, ...] = ()
    offers: int | None = None
    codes: int = 0
    code_limit: int | None = None
    unread: tuple[str, ...] = ()

    @classmethod
    def flat(cls, endpoint: str, tokens: int) -> Price:
        """Price a call that has no items."""
        return cls(endpoint, tokens, None, 0, tokens)

    @classmethod
    def of_items(cls, endpoint: str, items: int, per_item: int, fixed: int = 0) -> Price:
        """Price a call that carries `items`."""
        return cls(endpoint, fixed + items * per_item, items, per_item, fixed)

    @classmethod
    def of_shares(
        cls,
        endpoint: str,
        items: int | None,
        shares: tuple[Share, ...],
        unread: tuple[str, ...] = (),
    ) -> Price:
        """Price a call by its shares, which each of its items costs; of None, the call itself."""
        tokens = 0
        for _, each, number in shares:
            tokens += each * number
        if items is None:
            return cls(endpoint, tokens, None, 0, tokens, shares, unread=unread)
        return cls(endpoint, items * tokens, items, tokens, 0, shares, unread=unread)

    @property
    def doubt(self) -> str:
        """What could not be read, and what that comes to, in words; empty: all of it was read."""
        if not self.unread:
            return ""
        if self.shares is TOO_LARGE:
            return "the call is too large to be read: its worst is counted"
        return f"{' and '.join(self.unread)} could not be read: the worst is counted"

    @property
    def is_unlimited(self) -> bool:
        """Whether codes are looked up without a `code-limit`: then `tokens` is no worst case."""
        return self.codes > 0 and self.code_limit is None

    def describe(self) -> list[Part]:
        """Return what the price is made of, one part at least; their tokens add up to `tokens`.

        A call that is free has one part, of 0 tokens.
        """
        if self.shares is TOO_LARGE:
            return [Part(TOO_LARGE[0][0], self.tokens)]
        count = self.items or 0
        items = spell_items(self.endpoint, count, self.codes, self.code_limit)
        if "code-limit" in self.unread:
            items += ", for it cannot be read"
        if self.shares:
            times = count * (self.code_limit or 1) if self.per_item else 1
            return spell(self.shares, items, times)
        parts = []
        if self.items is None or self.fixed:
            parts.append(Part(spell_call(self.endpoint, self.fixed), self.fixed))
        if self.items is not None:
            parts += spell([(ITEMS, self.per_item, 1)], items, count)
        return parts

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
