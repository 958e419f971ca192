"""The life of a call: price, reserve, forward, then settle, release or doubt.

Every call to Keepa comes through `Proxy.handle`, top to bottom: `Intake` prices it, `Gate` reserves
for it; what its hold becomes is decided here, once per attempt, in `_resolve`.
"""

import asyncio
import time
from http import HTTPStatus
from typing import Any

import structlog

from gateway.call.dispatch import Dispatcher
from gateway.call.exchange import Attempt, Exchange
from gateway.call.gate import Gate
from gateway.call.intake import Intake
from gateway.call.observer import PATIENCE_SECONDS, Observer
from gateway.call.reports import Reports
from gateway.errors import (
    BalanceUnknown,
    CircuitOpen,
    LedgerUnavailable,
    Overloaded,
    Refusal,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.front.headers import traceparent
from gateway.front.own_responses import refuse, tell_balance
from gateway.front.record import Record, Unread
from gateway.front.request import Request
from gateway.front.response import Response
from gateway.keepa.costs import UNKNOWN
from gateway.keepa.deadlines import Deadlines
from gateway.keepa.envelope import Envelope
from gateway.keepa.upstream import Slots, backoff_seconds
from gateway.ledger import Ledger

_log: Any = structlog.get_logger(__name__)

_NOTHING_READ = Envelope()


class Proxy:
    """Forwards calls that fit the budget.

    Args:
        floor: The account's, in tokens.
        upstream_seconds: From the reservation to the answer's last byte.
        retries: Attempts after the first.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        gate: Gate,
        ledger: Ledger,
        observer: Observer,
        dispatcher: Dispatcher,
        slots: Slots,
        reports: Reports,
        floor: int,
        upstream_seconds: float,
        retries: int,
    ) -> None:
        self._intake = intake
        self._gate = gate
        self._ledger = ledger
        self._observer = observer
        self._dispatcher = dispatcher
        self._slots = slots
        self._reports = reports
        self._unread = Unread(floor)
        self._upstream_seconds = upstream_seconds
        self._retries = retries
        self._deadlines = Deadlines()
        self._under_way = 0
        self._none_under_way = asyncio.Event()

    async def handle(self, request: Request) -> Response:
        """Answer one call for Keepa."""
        record = Record(request.request_id, self._unread)
        if "traceparent" in request.headers:
            record.traceparent = traceparent(request.headers)
        request.connection.cancel_if_left()
        try:
            asked = record.asked = await self._intake.read(request)
            if asked.endpoint == UNKNOWN:
                self._reports.unknown_endpoint(record, asked.target)
            if asked.is_ledgers and await self._is_known():
                self._reports.answered(record)
                return tell_balance(request, self._ledger.latest, record)
            hold, trial = await self._gate.admit(asked, record)
        except Refusal as refusal:
            return self._refuse(request, refusal, record)
        return await self._forward(
            request, Exchange(asked, record, hold, trial, self._upstream_seconds)
        )

    async def finish(self) -> None:
        """Wait for the calls whose callers have left."""
        if self._under_way:
            self._none_under_way.clear()
            await self._none_under_way.wait()

    async def _is_known(self) -> bool:
        """Make sure that the ledger can answer `/token`; False: it cannot, and Keepa may.

        Keepa is asked only where the ledger does not know.

        Raises:
            LedgerUnavailable: There is no ledger.
            BalanceUnknown: Keepa does not tell.
        """
        try:
            if not await self._ledger.is_fresh():
                await self._observer.become_known(PATIENCE_SECONDS)
        except (BalanceUnknown, LedgerUnavailable) as refusal:
            if isinstance(refusal, BalanceUnknown) and self._observer.knows:
                return True
            if self._gate.enforces:
                raise
            return False
        return True

    async def _forward(self, request: Request, exchange: Exchange) -> Response:
        """Forward one admitted call and resolve its hold."""
        self._under_way += 1
        try:
            # The loop's own clock is the monotonic one, on which holds count.
            with self._deadlines.until(exchange.deadline):
                response = await self._carry(request, exchange)
        except (Refusal, TimeoutError) as failure:
            attempt = exchange.attempt
            is_timeout = isinstance(failure, TimeoutError) and attempt.waits_for_keepa
            if is_timeout or isinstance(failure, UpstreamUnreachable):
                exchange.trial.break_off(attempt.sent_at)
            self._resolve(attempt, _NOTHING_READ)
            response = self._explain(request, exchange, failure)
        finally:
            self._resolve(exchange.attempt, _NOTHING_READ)
            exchange.trial.withdraw()
            self._reports.forwarded(exchange)
            self._under_way -= 1
            if not self._under_way:
                self._none_under_way.set()
        return response

    async def _carry(self, request: Request, exchange: Exchange) -> Response:
        """Attempt the call until it is answered or may not be attempted again."""
        ending: Response | UpstreamUnreachable | None = None
        while True:
            try:
                ending = await self._attempt(request, exchange)
            except UpstreamUnreachable as failure:
                ending = failure
            except Overloaded:
                # Of a later attempt: the call's answer is how the one before ended.
                if ending is None:
                    raise
                break
            if exchange.attempt.is_final or not await self._prepare_again(request, exchange):
                break
        if isinstance(ending, Refusal):
            raise ending
        exchange.status = ending.status
        if ending.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            exchange.trial.fail()
        else:
            exchange.trial.succeed()
        return ending

    async def _attempt(self, request: Request, exchange: Exchange) -> Response:
        """Send the call once, and pass its answer on."""
        async with self._slots:
            with await self._dispatcher.send(request, exchange) as relay:
                try:
                    await relay.read()
                finally:
                    # Before a slow caller has taken the rest.
                    self._resolve(exchange.attempt, await relay.envelope())
                return await relay.pass_rest()

    async def _prepare_again(self, request: Request, exchange: Exchange) -> bool:
        """Wait a little for another attempt, with tokens held for it; False: there is none.

        Where Keepa may have charged the one before, its hold stays, and the next gets its own.
        """
        asked, last = exchange.asked, exchange.attempt
        pause = backoff_seconds(len(exchange.attempts))
        if (
            len(exchange.attempts) > self._retries
            or not exchange.trial.may_go_on
            or (last.is_sent and not asked.is_repeatable)
            or request.connection.has_left
            or time.monotonic() + pause > exchange.deadline
        ):
            return False
        if last.is_sent:
            self._resolve(last, _NOTHING_READ)
        request.connection.cancel_if_left()
        await asyncio.sleep(pause)
        hold = last.hold
        if last.is_sent:
            again = await self._gate.admit_again(asked, exchange.record)
            if again is None:
                return False
            hold = again
        elif self._dispatcher.is_too_late(exchange):
            return False
        exchange.attempts.append(Attempt(hold))
        return True

    def _resolve(self, attempt: Attempt, envelope: Envelope) -> None:
        """Decide what the hold becomes; the first word counts."""
        if attempt.outcome:
            return
        hold = attempt.hold
        if not attempt.is_sent:
            attempt.outcome = "released"
            self._ledger.release(hold)
        elif envelope.is_void:
            # All zeros: Keepa does not know the key. Nothing was charged, and nothing observed.
            _log.error("key_refused_by_keepa", hint="is KEEPA_API_KEY right?")
            attempt.outcome = "released"
            self._ledger.release(hold)
        elif envelope.tokens_consumed is not None:
            self._settle(attempt, envelope.tokens_consumed, envelope)
        elif attempt.relay and attempt.relay.is_whole_picture:
            self._settle(attempt, hold.tokens, envelope)
        else:
            # It may have been charged: the hold stays until it expires.
            attempt.outcome = "doubt"
            self._ledger.doubt(hold)

    def _settle(self, attempt: Attempt, consumed: int, envelope: Envelope) -> None:
        attempt.outcome = "settled"
        attempt.consumed = consumed
        self._reports.settled(attempt.hold, consumed)
        observation = self._observer.read(envelope, attempt.seen_at)
        self._ledger.settle(attempt.hold, consumed, observation)

    def _explain(
        self, request: Request, exchange: Exchange, failure: Refusal | TimeoutError
    ) -> Response:
        """Tell the caller of a failure, or nothing where it has the answer's head already."""
        attempt = exchange.attempt
        if attempt.relay and attempt.relay.response:
            return attempt.relay.response
        if isinstance(failure, Refusal):
            refusal = failure
        else:
            was_sent = attempt.is_sent or len(exchange.attempts) > 1
            refusal = UpstreamTimeout() if was_sent else Overloaded()
        exchange.status = refusal.status
        record = exchange.record
        record.max_items_now = exchange.asked.items_within(record.balance)
        return refuse(request, refusal, record, exchange.doubtful_tokens)

    def _refuse(self, request: Request, refusal: Refusal, record: Record) -> Response:
        if not record.balance.known:
            latest = self._ledger.latest
            is_current = isinstance(refusal, Overloaded | CircuitOpen) or refusal.is_policy
            record.balance = latest._replace(known=latest.known and is_current)
        self._reports.refused(record, refusal)
        return refuse(request, refusal, record)
