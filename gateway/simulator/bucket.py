"""Keepa's token bucket, as Keepa fills and drains it.

Source: "The bucket" in the project's page on Keepa. Tokens arrive in one lump a minute, the bucket
holds an hour's worth of lumps, and any call runs while the balance is positive, whatever it costs.
"""

import math

LUMP_INTERVAL_MS = 60_000
LUMPS_HELD = 60
"""Unused tokens expire after 60 minutes, so a bucket never holds more than 60 lumps."""


class Bucket:
    """One key's balance, in tokens; pure, for it is told the time (`now_ms`) by every caller.

    A balance above the capacity at creation is kept; a lump never lowers it. Time that goes
    backwards (a clock that was set) brings no lump and takes none back.

    Args:
        tokens: the balance to begin with; may be negative or above the capacity.
        refill_rate: tokens a lump, before the flow reduction.
        now_ms: the time of creation, in ms since any epoch.
        flow_reduction: what price trackings take away from each lump (a double, as Keepa's).
        first_lump_in_ms: the phase: when the first lump falls, after creation.

    Attributes:
        lowest: the lowest balance there ever was, whoever drew it down.
        lowest_by_charge: the lowest balance that a call of our own (`charge`) has left behind.
        charged_total: what calls have cost, in tokens.
        spent_total: what consumers outside have drawn, in tokens.
        gained_total: what lumps have added, in tokens.
        lost_total: what lumps could not add because the bucket was full, in tokens.
    """

    def __init__(
        self,
        tokens: int,
        refill_rate: int,
        now_ms: int,
        *,
        flow_reduction: float = 0.0,
        first_lump_in_ms: int = LUMP_INTERVAL_MS,
    ) -> None:
        if refill_rate < 0:
            raise ValueError(f"refill_rate must not be negative, got {refill_rate}")
        if first_lump_in_ms < 0:
            raise ValueError(f"first_lump_in_ms must not be negative, got {first_lump_in_ms}")
        self.refill_rate = refill_rate
        self.flow_reduction = flow_reduction
        self.lowest = self.lowest_by_charge = self._balance = tokens
        self.charged_total = self.spent_total = self.gained_total = self.lost_total = 0
        self._next_lump_ms = now_ms + first_lump_in_ms

    @property
    def capacity(self) -> int:
        """The most that lumps fill the bucket to, in tokens."""
        return LUMPS_HELD * self.refill_rate

    @property
    def gain(self) -> int:
        """Tokens a lump brings: Keepa rounds to the nearest integer, halves up as Java does."""
        return max(0, math.floor(self.refill_rate - self.flow_reduction + 0.5))

    def balance(self, now_ms: int) -> int:
        """Tell the balance at `now_ms`, in tokens."""
        self._fill(now_ms)
        return self._balance

    def refill_in_ms(self, now_ms: int) -> int:
        """Tell how long it is until the next lump, 1 to 60 000 ms (more only before the first)."""
        self._fill(now_ms)
        return self._next_lump_ms - now_ms

    def charge(self, cost: int, now_ms: int) -> bool:
        """Run a call that costs `cost` tokens; False, and nothing taken, when Keepa would refuse.

        Keepa looks at the balance, never at the cost: a call of 500 runs on a balance of 1 and
        leaves -499. A free call always runs.
        """
        if cost < 0:
            raise ValueError(f"a call cannot cost less than nothing, got {cost}")
        self._fill(now_ms)
        if cost == 0:
            return True
        if self._balance <= 0:
            return False
        self._take(cost)
        self.charged_total += cost
        self.lowest_by_charge = min(self.lowest_by_charge, self._balance)
        return True

    def spend(self, tokens: int, now_ms: int) -> None:
        """Draw `tokens` for a consumer outside (a web page, a script) whom nobody here sees."""
        if tokens < 0:
            raise ValueError(f"a consumer cannot spend less than nothing, got {tokens}")
        self._fill(now_ms)
        self._take(tokens)
        self.spent_total += tokens

    def change_rate(self, refill_rate: int, flow_reduction: float, now_ms: int) -> None:
        """Change the plan or the trackings from `now_ms` on; lumps until then keep the old rate."""
        if refill_rate < 0:
            raise ValueError(f"refill_rate must not be negative, got {refill_rate}")
        self._fill(now_ms)
        self.refill_rate = refill_rate
        self.flow_reduction = flow_reduction

    def _take(self, tokens: int) -> None:
        self._balance -= tokens
        self.lowest = min(self.lowest, self._balance)

    def _fill(self, now_ms: int) -> None:
        """Add all lumps fallen by `now_ms` at once: years of idleness take no longer than one."""
        if now_ms < self._next_lump_ms:
            return
        lumps = (now_ms - self._next_lump_ms) // LUMP_INTERVAL_MS + 1
        self._next_lump_ms += lumps * LUMP_INTERVAL_MS
        brought = lumps * self.gain
        added = min(brought, max(0, self.capacity - self._balance))
        self._balance += added
        self.gained_total += added
        self.lost_total += brought - added
