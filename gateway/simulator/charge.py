"""What a call costs, and what it found."""

import dataclasses

from gateway.simulator.fetching import Fetched


@dataclasses.dataclass(frozen=True, slots=True)
class Charge:
    """What a call costs, in tokens, and what it found.

    Attributes:
        tokens: the cost; `tokensConsumed` of the answer.
        items: what the answer lists: ASINs, sellers or categories; one picture of `/graphimage`.
        total: how much a finder query matches, on all pages.
        products: what the answer lists where these are products.
    """

    tokens: int
    items: tuple[str, ...] = ()
    total: int = 0
    products: tuple[Fetched, ...] = ()
