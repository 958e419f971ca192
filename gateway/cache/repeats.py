"""What a cache would have saved: tokens paid for answers that had been paid for before.

Counted whether there is a cache or not, from the digests of the latest entries, so that an operator
knows what it is worth before he switches it on.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.cache.questions import LIVE

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
        self._fetches: OrderedDict[int, tuple[_Fetch, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._fetches)

    def count(self, question: Question, tokens: float, now: float) -> dict[str, float]:
        """Return how many of a call's tokens each age would have saved, by its label.

        Args:
            question: what the call asked.
            tokens: what it cost; each of its entries is taken to have cost the same.
            now: monotonic seconds, when it was paid for.
        """
        names = question.name_entries()
        saved = dict.fromkeys(WITHIN, 0)
        for name in names:
            key = hash(name)
            before = self._fetches.pop(key, ())
            after: list[_Fetch] = []
            for place, (label, age) in enumerate(WITHIN.items()):
                fetch = before[place] if before else None
                if fetch and _would_serve(fetch, question, now, age):
                    saved[label] += 1
                    after.append(fetch)
                else:
                    after.append(_Fetch(now, question.hours))
            self._fetches[key] = tuple(after)
            if len(self._fetches) > self._most:
                self._fetches.popitem(last=False)
        return {label: tokens * count / len(names) for label, count in saved.items()}


def _would_serve(fetch: _Fetch, question: Question, now: float, age: float) -> bool:
    """Apply the rules of `freshness`, without what only the answer tells: how old its data is."""
    hours = math.inf if question.update is None else question.update
    if hours == LIVE or fetch.hours > question.hours:
        return False
    if hours > 0:
        age = min(age, hours * 3600)
    return now - fetch.at <= age
