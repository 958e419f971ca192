"""What a price is made of, in words: `6 x 2 offer pages x 3 products`.

Every call is priced and hardly one is asked for its parts: pricing keeps raw shares, whose words
are put together when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Share: TypeAlias = tuple[str, int, int]
"""A wording, the tokens for one, how many of it. In the wording `{each}` are these tokens,
`{number}` how many and `{s}` its plural's letter, `{items}` the items of the call.

A plain tuple: every call makes one at least, and a named one takes five times as long."""

ITEMS: Final = "{each} x {items}"

_NOUNS: Final = {
    "category": ("category", "categories"),
    "lightningdeal": ("lightning deal", "lightning deals"),
    "product": ("product", "products"),
    "seller": ("seller", "sellers"),
    "tracking": ("tracking", "trackings"),
}
_OTHER_NOUNS: Final = ("item", "items")


class Part(NamedTuple):
    """One part of a price.

    Attributes:
        what: how it comes about, for people.
        tokens: all of the part, however many items the call has.
    """

    what: str
    tokens: int


def spell_items(endpoint: str, items: int, codes: int, code_limit: int | None) -> str:
    """Return the items of a call, `codes` of them codes: `3 products`, `2 codes x code-limit 5`."""
    one, many = _NOUNS.get(endpoint, _OTHER_NOUNS)
    if codes:
        one, many = (
            ("code", "codes") if codes >= items else ("product or code", "products and codes")
        )
    text = f"{items} {one if items == 1 else many}"
    if code_limit is not None:
        return f"{text} x code-limit {code_limit}"
    # What such a code costs has no bound, and what it costs more is overrun.
    return f"{text}, at least (no code-limit)" if codes else text


def spell_call(endpoint: str, tokens: int) -> str:
    """Return what a call of one flat price is: `bestsellers`, `token: free`."""
    what = "unknown endpoint" if endpoint == "unknown" else endpoint
    return what if tokens else f"{what}: free"


def spell(shares: Iterable[Share], items: str, times: int) -> list[Part]:
    """Return shares as parts, each share `times` over; `items` as by `spell_items`."""
    return [
        Part(
            wording.format(each=each, number=number, s="" if number == 1 else "s", items=items),
            each * number * times,
        )
        for wording, each, number in shares
    ]
