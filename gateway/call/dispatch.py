"""Sends an admitted call to Keepa, and readies its answer's way back."""

import time
from concurrent.futures import Executor

from gateway.call.exchange import Exchange
from gateway.call.relay import Relay
from gateway.call.screen import report_key
from gateway.errors import Overloaded
from gateway.front.headers import (
    forward_answer_headers,
    forward_request_headers,
    leave_out,
    own_headers,
)
from gateway.front.request import Request
from gateway.keepa.real_key import RealKey
from gateway.keepa.upstream import NotSent, Upstream


class Dispatcher:
    """Sends calls.

    Args:
        executor: Where large answers are inflated and searched.
        hold_patience_seconds: How old a hold may be when its call is sent: it must outlive Keepa's
            work on the call, however long the call waited for its turn.
        to_simulator: Whether the upstream may be a simulator, which calls may steer.
    """

    def __init__(
        self,
        upstream: Upstream,
        executor: Executor,
        real_key: RealKey,
        *,
        hold_patience_seconds: float,
        to_simulator: bool,
    ) -> None:
        self._upstream = upstream
        self._executor = executor
        self._real_key = real_key
        self._hold_patience_seconds = hold_patience_seconds
        self._to_simulator = to_simulator

    def is_too_late(self, exchange: Exchange) -> bool:
        """Say whether the latest attempt's hold is too old to be sent."""
        age_seconds = time.monotonic() - exchange.attempt.hold.began_at
        return age_seconds > self._hold_patience_seconds

    async def send(self, request: Request, exchange: Exchange) -> Relay:
        """Send the latest attempt; return how its answer goes on when the answer's head is there.

        Raises:
            Overloaded: The hold is too old; nothing was sent.
            UpstreamUnreachable: As `Upstream.send`.
        """
        if self.is_too_late(exchange):
            raise Overloaded
        asked, attempt = exchange.asked, exchange.attempt
        headers = forward_request_headers(request.headers, to_simulator=self._to_simulator)
        if asked.is_rewritten:
            headers.popall("Content-Encoding", None)
        request.connection.carry_on()
        attempt.is_sent = True
        attempt.sent_at = attempt.seen_at = time.monotonic()
        try:
            answer = await self._upstream.send(asked.method, asked.target, headers, asked.body)
        except NotSent:
            attempt.is_sent = False
            raise
        finally:
            attempt.seen_at = time.monotonic()
        exchange.trial.note_answer()
        attempt.status = answer.status
        headers = forward_answer_headers(answer.headers)
        record = exchange.record
        if leave_out(headers, self._real_key.is_in):
            report_key("headers", "left out", record.request_id)
        headers.update(own_headers(record, attempt.hold.tokens, record.balance))
        attempt.relay = Relay(request, answer, headers, self._executor, self._real_key)
        return attempt.relay
