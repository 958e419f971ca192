"""What a simulated Keepa account looks like, and how badly it behaves."""

import dataclasses
import math
from typing import Literal, get_args

FieldOrder = Literal["first", "sorted", "alternate"]
"""Where an answer carries its token fields.

`first`: before the data (older answers); `sorted`: all keys sorted, so mostly after it (newer
ones); `alternate`: each answer the other way than the one before.
"""

FIELD_ORDERS: tuple[FieldOrder, ...] = get_args(FieldOrder)

Oddity = Literal["reordered", "null", "double", "unasked", "unknown_member"]
"""What may be wrong with an answer, with its products for the most part.

`reordered`: another order than was asked for; `null`: an element that is none; `double`: the first
of them twice; `unasked`: one more, whose ASIN nobody asked for; `unknown_member`: in any
answer a member that Keepa has not.
"""

ODDITIES: tuple[Oddity, ...] = get_args(Oddity)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimulatorConfig:
    """A simulated account; raises ValueError for values that no account can have.

    Attributes:
        api_key: the only key that is answered; None: any key, or none.
        tokens: the balance to begin with; may be negative or above the capacity.
        refill_rate: tokens a lump, one lump a minute.
        flow_reduction: what trackings take away from each lump.
        first_lump_in_ms: when the first lump falls.
        field_order: see `FieldOrder`.
        latency_seconds: how long each call takes, between its charge and its answer.
        fault_rate: the share (0 to 1) of calls that suffer a fault nobody asked for.
        seed: of the random choice of those faults.
        decoys: whether answers have fields inside that are named like token fields; see `decoys`.
        lenient: whether a call is served without a domain, and with ASINs that are none, as short
            ones that a test is easier to read with.
        odd: what is wrong with each answer; None: nothing.
    """

    api_key: str | None = None
    tokens: int = 100
    refill_rate: int = 20
    flow_reduction: float = 0.0
    first_lump_in_ms: int = 60_000
    field_order: FieldOrder = "alternate"
    latency_seconds: float = 0.0
    fault_rate: float = 0.0
    seed: int = 0
    decoys: bool = False
    lenient: bool = False
    odd: Oddity | None = None

    def __post_init__(self) -> None:
        if self.refill_rate < 0:
            raise ValueError(f"refill_rate must not be negative, got {self.refill_rate}")
        if not math.isfinite(self.flow_reduction) or self.flow_reduction < 0:
            raise ValueError(f"flow_reduction must not be negative, got {self.flow_reduction}")
        if self.first_lump_in_ms < 0:
            raise ValueError(f"first_lump_in_ms must not be negative, got {self.first_lump_in_ms}")
        if self.field_order not in FIELD_ORDERS:
            raise ValueError(f"field_order must be one of {FIELD_ORDERS}, got {self.field_order!r}")
        if not math.isfinite(self.latency_seconds) or self.latency_seconds < 0:
            raise ValueError(f"latency_seconds must not be negative, got {self.latency_seconds}")
        if self.odd is not None and self.odd not in ODDITIES:
            raise ValueError(f"odd must be one of {ODDITIES}, got {self.odd!r}")
        if not 0 <= self.fault_rate <= 1:
            raise ValueError(f"fault_rate must be from 0 to 1, got {self.fault_rate}")
