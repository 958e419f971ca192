"""The seven token fields, and where in an answer they stand."""

import functools
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from gateway.simulator.pieces import Part


class TokenFields(NamedTuple):
    """What an answer says about the bucket: times in ms, amounts in tokens."""

    timestamp: int
    tokens_left: int
    refill_in: int
    refill_rate: int
    token_flow_reduction: float
    tokens_consumed: int
    processing_time_in_ms: int


NAMES = (
    "timestamp",
    "tokensLeft",
    "refillIn",
    "refillRate",
    "tokenFlowReduction",
    "tokensConsumed",
    "processingTimeInMs",
)
"""Keepa's names of the `TokenFields`, in the order of its older answers."""


class Body(NamedTuple):
    """A whole body, and the index of the part in which the last of the token fields stands."""

    parts: list[Part]
    fields_at: int


class _Step(NamedTuple):
    """A stretch of an answer: text with places for token fields, then the data of one key."""

    template: bytes
    fields: tuple[int, ...]
    key: str | None


def compose(
    data: Mapping[str, Sequence[Part]], fields: TokenFields, order: Literal["first", "sorted"]
) -> Body:
    """Compose an answer from its data (JSON values by key, in parts) and the token fields.

    In the order `first` the fields stand before the data, in `sorted` where their names fall among
    the sorted keys: after `products`, around `sellers`.
    """
    parts: list[Part] = []
    fields_at = 0
    for step in _plan(tuple(data), order):
        if step.fields:
            fields_at = len(parts)
        parts.append(step.template % tuple(fields[place] for place in step.fields))
        if step.key is not None:
            parts += data[step.key]
    return Body(parts, fields_at)


@functools.lru_cache(maxsize=256)
def _plan(keys: tuple[str, ...], order: Literal["first", "sorted"]) -> list[_Step]:
    """Lay out an answer with these keys: the same few layouts serve every call."""
    names = [*NAMES, *keys]
    if order == "sorted":
        names.sort()
    steps: list[_Step] = []
    template = b"{"
    places: list[int] = []
    for name in names:
        template += b'"%s":' % name.encode()
        if name in keys:
            steps.append(_Step(template, tuple(places), name))
            template, places = b"", []
        else:
            template += b"%a"  # repr: an integer stays one, and a double keeps its point
            places.append(NAMES.index(name))
        template += b"," if name != names[-1] else b"}"
    return [*steps, _Step(template, tuple(places), None)]
