"""What a cache would have saved: tokens paid for answers that had been paid for before.

Counted whether there is a cache or not, from the digests of the latest entries, so that an operator
knows what it is worth before he switches it on.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.cache.questions import LIVE, NEVER

if TYPE_CHECKING:
    from gateway.cache.questions import Question

MOST_ENTRIES: Final = 50_000
WITHIN: Final = {"1h": 3600.0, "24h": 86_400.0}
"""The ages that are counted, in seconds, by their label."""


class _Fetch(NamedTuple):
    """When an entry was fetched, and under which `Question.hours`."""

    at: float
    hours: float


class Repeats:
    """Remembers which entries were paid for, and when a cache would have fetched them.

    For each age it is told apart what that cache would have given and what it would have fetched
    anew: of an entry asked for every 40 minutes, a cache of one hour saves each second one.
    """

    def __init__(self, most: int = MOST_ENTRIES) -> None:
        self._most = most
        # By Python's own hash, of 64 bits and salted: among 50 000 two are taken for one once in
        # ten billion runs.
        self._fetches: OrderedDict[int, list[_Fetch]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._fetches)

    def count(self, question: Question, tokens: float, now: float) -> dict[str, float]:
        """Return how many of a call's tokens each age would have saved, by its label.

        Args:
            question: what the call asked.
            tokens: what it cost; each of its entries is taken to have cost the same.
            now: monotonic seconds, when it was paid for.
        """
        names, ages = question.name_entries(), _ages_for(question)
        fetch = _Fetch(now, question.hours)
        saved = [0] * len(ages)
        for name in names:
            key = hash(name)
            after = [fetch] * len(ages)
            for place, before in enumerate(self._fetches.pop(key, ())):
                if before.hours <= fetch.hours and now - before.at <= ages[place]:
                    after[place] = before
                    saved[place] += 1
            self._fetches[key] = after
            if len(self._fetches) > self._most:
                self._fetches.popitem(last=False)
        share = tokens / len(names)
        return {label: share * count for label, count in zip(WITHIN, saved, strict=True)}


def _ages_for(question: Question) -> list[float]:
    """Return how old an entry may be, by the rules of `freshness`; infinitely young: not at all.

    Without what only the answer tells, how old Keepa's data was.
    """
    own = math.inf
    if question.update is not None and question.update != NEVER:
        own = -math.inf if question.update == LIVE else question.update * 3600
    return [min(age, own) for age in WITHIN.values()]
