"""Keepa-like answers of any size around their token fields, and what a whole parser finds."""

import itertools
import json
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

NAMES = {
    "tokensLeft": "tokens_left",
    "refillIn": "refill_in_ms",
    "refillRate": "refill_rate",
    "tokenFlowReduction": "flow_reduction",
    "tokensConsumed": "tokens_consumed",
}
_LIMITS = {
    "tokensLeft": (-(10**9), 10**9),
    "refillIn": (-sys.float_info.max, sys.float_info.max),
    "refillRate": (0, 10**6),
    "tokenFlowReduction": (0, float("inf")),
    "tokensConsumed": (0, 10**9),
}

# What a long value repeats: raw JSON text that may stand inside a string, or inside an array.
_IN_STRINGS = (
    "x", "1,", "{", "}", "[", "]", "[[{", "}]]", '\\"', "\\\\", '\\\\\\"', "\\u005b", "\\u0022",
    "\\n",
    '\\"tokensLeft\\":7,', "tokensLeft", ":", "\u00e9", "\u4fa1", "\U0001f600", " ",
)  # fmt: skip
_IN_ARRAYS = (
    "1", "-1.5e3", "0", '""', '"a"', '"]"', '"["', '"{}"', '"\\""', '"\\\\"', "[]", "{}", "[[[]]]",
    '{"a":[{"b":{}}]}', '{"tokensLeft":7}', '{"x":"}","tokensLeft":7}', '"tokensLeft"', "null",
    '{"csv":[[1,2],null,[]]}', '["\\\\",1]', "[{}]",
)  # fmt: skip
# Around what the search gathers, looks ahead, and takes at a time.
_SIZES = (
    0,
    1,
    2,
    40,
    99,
    100,
    101,
    127,
    128,
    129,
    1000,
    3900,
    4095,
    4096,
    4097,
    9000,
    65_500,
    66_000,
)
_NUMBERS = (
    "0", "1", "-1", "123", "60000", "60001", "1e3", "12.0", "12.5", "-0", "0.25", "1000000000",
    "null", "true", '"12"', "[5]", '{"tokensLeft":5}', "99999999999", "1E-2",
)  # fmt: skip


class Cut(NamedTuple):
    """How a text comes in pieces: at these places (in ten-thousandths), or all of one size."""

    places: Sequence[int]
    size: int

    def apply(self, text: bytes) -> list[bytes]:
        if self.size:
            # No more than a few thousand pieces, whatever the text.
            size = max(self.size, len(text) // 4000)
            return [text[start : start + size] for start in range(0, len(text), size)]
        ends = sorted({len(text) * place // 10_000 for place in self.places} | {0, len(text)})
        return [text[start:end] for start, end in itertools.pairwise(ends)]


NOWHERE = Cut((), 0)
CUTS = st.one_of(
    st.builds(Cut, st.lists(st.integers(0, 10_000), max_size=12), st.just(0)),
    st.builds(Cut, st.just(()), st.sampled_from([1, 3, 64, 127, 1400, 4096, 4097, 16_384, 65_536])),
)


@st.composite
def _fillers(draw: st.DrawFn) -> str:
    """A value: a string or an array, some unit over and over with another one now and then."""
    size = draw(st.sampled_from(_SIZES))
    in_string = draw(st.booleans())
    units = st.sampled_from(_IN_STRINGS if in_string else _IN_ARRAYS)
    unit, other = draw(units), draw(units)
    glue = "" if in_string else draw(st.sampled_from([",", ", ", ",\n  "]))
    count = size // max(1, len(unit + glue))
    # Few of another kind among many: on this side or that of where a text counts as full of signs.
    others = {count * place // 100 for place in draw(st.lists(st.integers(0, 100), max_size=5))}
    parts = [other if number in others else unit for number in range(count)]
    return f'"{"".join(parts)}"' if in_string else f"[{glue.join(parts)}]"


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A JSON object with the token fields anywhere at its top level, and look-alikes deeper."""
    members = [
        (
            draw(st.sampled_from([*NAMES, "products", "a\\\\", "{", '\\"tokensLeft'])),
            draw(_fillers()),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    fields = draw(st.lists(st.tuples(st.sampled_from(list(NAMES)), st.sampled_from(_NUMBERS))))
    for field in fields:
        members.insert(draw(st.integers(0, len(members))), field)
    colon = draw(st.sampled_from([":", ": ", " : "]))
    comma = draw(st.sampled_from([",", ", ", ",\r\n\t"]))
    text = "{" + comma.join(f'"{name}"{colon}{value}' for name, value in members) + "}"
    before, after = draw(
        st.sampled_from([("", ""), ("\ufeff \n", "\n"), ("", ' {"tokensLeft":9}')])
    )
    return (before + text + after).encode()


def parse(text: bytes) -> dict[str, Any]:
    """What a whole parser finds: the first believable member of each name, by attribute."""

    class Pairs(list):
        pass

    plain = text.decode().removeprefix("\ufeff").lstrip()
    root, _ = json.JSONDecoder(object_pairs_hook=Pairs).raw_decode(plain)
    found: dict[str, Any] = {}
    for name, value in root:
        if name in NAMES and NAMES[name] not in found:
            found[NAMES[name]] = _believe(name, value)
    return {attribute: found.get(attribute) for attribute in NAMES.values()}


def _believe(name: str, value: Any) -> float | None:
    low, high = _LIMITS[name]
    if type(value) not in {int, float} or not low <= value <= high:
        return None
    if name == "tokenFlowReduction":
        return float(value)
    # A fraction counts for the side that spends less.
    return value // 1 if name in {"tokensLeft", "refillRate"} else -(-value // 1)
