"""The token fields of a Keepa answer: their names, the values they may have, what they tell.

Every JSON answer of Keepa's carries them at top level, errors included (Keepa's API documentation,
"Response", and recorded answers).
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

# A bucket holds the lumps of an hour. It may hold more for a while, where the plan became smaller,
# but not by this factor: such a reading would admit everything until the next one, and is none.
_MOST_MINUTES: Final = 60 * 1000


@dataclass(frozen=True, slots=True)
class Envelope:
    """What one answer says about the bucket; `None` is a field not found, or not believable.

    Attributes:
        tokens_left: the balance in tokens, may be negative.
        refill_in_ms: milliseconds to the next lump, as told: a bucket's are 0 to 60 000.
        refill_rate: tokens in each minute's lump.
        flow_reduction: the part of the lump that price trackings take away, in tokens.
        tokens_consumed: what the answered call cost, in tokens.
    """

    tokens_left: int | None = None
    refill_in_ms: int | None = None
    refill_rate: int | None = None
    flow_reduction: float | None = None
    tokens_consumed: int | None = None

    @property
    def is_empty(self) -> bool:
        """No field was found: a picture, an error page, a body cut before them."""
        return self == _NOTHING

    @property
    def is_void(self) -> bool:
        """Rate, balance and consumption are there and 0: Keepa's answer to a wrong key."""
        return self.refill_rate == 0 and self.tokens_left == 0 and self.tokens_consumed == 0

    @property
    def has_observation(self) -> bool:
        """The bucket can be read from it, and could hold that. No `flow_reduction` counts as 0."""
        return (
            self.tokens_left is not None
            and self.refill_in_ms is not None
            and self.refill_rate is not None
            and self.refill_rate > 0
            and self.tokens_left <= self.refill_rate * _MOST_MINUTES
        )

    @property
    def has_consumption(self) -> bool:
        """It says what the call cost."""
        return self.tokens_consumed is not None


_NOTHING: Final = Envelope()


class Field(NamedTuple):
    """Where a field's value goes and which values are believed; all others count as not found.

    `read` makes a whole number of it where the ledger counts in whole ones: a fraction is rounded
    to the side that spends less.
    """

    attribute: str
    lowest: float
    highest: float
    read: Callable[[float], float]


FIELDS: Final = {
    b"tokensLeft": Field("tokens_left", -(10**9), 10**9, math.floor),
    # A bucket's is 0 to 60 000. What else is told does not make the rest of the answer worthless.
    b"refillIn": Field("refill_in_ms", -sys.float_info.max, sys.float_info.max, math.ceil),
    b"refillRate": Field("refill_rate", 0, 10**6, math.floor),
    b"tokenFlowReduction": Field("flow_reduction", 0, sys.float_info.max, float),
    b"tokensConsumed": Field("tokens_consumed", 0, 10**9, math.ceil),
}


_BY_TEXT: Final = [(b'"%s"' % name, name.decode(), field) for name, field in FIELDS.items()]


def parse_envelope(text: bytes) -> Envelope | None:
    """The fields of a small JSON text; `None` where a search is needed: no JSON, or a name twice.

    Of two fields of one name a parser takes the last, the search takes the first.
    """
    try:
        root = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if type(root) is not dict:
        return _NOTHING
    found: dict[str, Any] = {}
    for quoted, name, field in _BY_TEXT:
        if text.count(quoted) > 1:
            return None
        value = root.get(name)
        if type(value) is int or type(value) is float:
            found[field.attribute] = check_value(field, float(value))
    return Envelope(**found)


def check_value(field: Field, value: float) -> float | None:
    """The value of a JSON number, or `None` where the field cannot have it."""
    return field.read(value) if field.lowest <= value <= field.highest else None
