"""What an answer of Keepa's was cut into, or why nothing of it is kept."""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.cache.entries import Packed

COLLECTED_BYTES: Final = 64 * 1024 * 1024
"""What a process collects at most, deflated, of all the answers that are under way."""

# Keepa minutes count from here, in minutes since 1970.
_EPOCH_MINUTES: Final = 21_564_000
_CLOCKS_DIFFER_SECONDS: Final = 60  # by the rounding to whole minutes


class Oddity(enum.StrEnum):
    """Why nothing of an answer is kept."""

    CUT = "cut"  # it ended too soon
    ERROR = "error"  # it says what went wrong
    TOO_LARGE = "too_large"
    BUSY = "busy"  # no room for what is collected
    NOT_JSON = "not_json"
    UNKNOWN_MEMBER = "unknown_member"
    TWICE = "twice"  # a member of the root, or an ASIN
    NO_PRODUCT = "no_product"  # an element without an ASIN, or none at all
    UNASKED = "unasked"
    NO_COST = "no_cost"  # it does not say what it cost
    WRONG_KEY = "wrong_key"  # all token fields are zero

    @property
    def reason(self) -> str:
        """The label that it is counted under."""
        return self.value if self in _REASONS else "odd"


_REASONS: Final = frozenset({Oddity.CUT, Oddity.ERROR, Oddity.TOO_LARGE, Oddity.BUSY})


class Room:
    """What all answers of a process that are being collected may hold together, deflated.

    Its splitters work in threads.
    """

    def __init__(self, limit: int = COLLECTED_BYTES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self.taken = 0

    def take(self, size: int) -> bool:
        """Claim room; False: there is none."""
        with self._lock:
            if self.taken + size > self._limit:
                return False
            self.taken += size
            return True

    def give_back(self, size: int) -> None:
        """End a claim."""
        with self._lock:
            self.taken -= size


@dataclass(frozen=True, slots=True)
class Product:
    """One element of `products`; `minute` is its `lastUpdate`, in Keepa minutes, if it has one."""

    asin: str
    minute: int | None
    body: Packed
    has_offers: bool


@dataclass(slots=True)
class Cut:
    """What an answer was cut into; complete once the splitter has finished.

    Attributes:
        oddity: why nothing of it may be kept; None: nothing is wrong.
        products: of a question of products, in Keepa's order.
        whole: of any other: the root's own members as one text; None: there were none.
        before: the root's text up to the `[` of its products.
        after: from their `]` on.
        numbers: the token fields, as they were written.
    """

    oddity: Oddity | None = None
    products: list[Product] = field(default_factory=list)
    whole: Packed | None = None
    before: bytes = b""
    after: bytes = b""
    numbers: dict[bytes, float] = field(default_factory=dict)

    @property
    def consumed(self) -> float:
        """What the answer cost, in tokens."""
        return self.numbers[b"tokensConsumed"]

    def data_age(self, product: Product) -> int | None:
        """Return how old Keepa's data was when Keepa answered, in seconds; None: not known."""
        sent_ms = self.numbers.get(b"timestamp")
        if sent_ms is None or product.minute is None or product.minute <= 0:
            return None
        age = int(sent_ms // 1000) - (product.minute + _EPOCH_MINUTES) * 60
        return max(age, 0) if age >= -_CLOCKS_DIFFER_SECONDS else None
