"""Counts tokens that were paid for the same answers again: what an answer cache would save."""

import time
from http import HTTPStatus

from gateway.cache.questions import read_question
from gateway.cache.repeats import WITHIN, Repeats
from gateway.cache.rules import RULES
from gateway.call.exchange import Exchange
from gateway.metrics import Metrics


class RepeatedTokens:
    """Knows what this gateway has paid for, as long as it runs.

    Attributes:
        totals: Tokens that caches of these ages would have saved, by the age's label.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._repeats = Repeats()
        self.totals = dict.fromkeys(WITHIN, 0.0)
        # From 0 on, so that the first count is seen as an increase.
        for endpoint in RULES:
            for label in WITHIN:
                metrics.repeated(endpoint, label, 0)

    def note(self, exchange: Exchange) -> None:
        """Count a call that was forwarded, where it was answered and paid for."""
        attempt, asked = exchange.attempt, exchange.asked
        if not attempt.consumed or attempt.status != HTTPStatus.OK:
            return
        path, _, query = asked.target.partition("?")
        question = read_question(asked.method, path.strip("/"), query, asked.body)
        if question is None:
            return
        counted = self._repeats.count(question, attempt.consumed, time.monotonic())
        for label, tokens in counted.items():
            if tokens:
                self.totals[label] += tokens
                self._metrics.repeated(question.endpoint, label, tokens)
