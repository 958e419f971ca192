"""The life of a call: price, reserve, forward, then settle, release or doubt.

Every call to Keepa comes through `Proxy.handle`, top to bottom: `Intake` prices it, `Gate` reserves
for it; what its hold becomes is decided here, once per call, in `_resolve`.
"""

import asyncio
import time
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import web

from gateway.call.carriage import Carriage
from gateway.call.dispatch import Dispatcher, Limits
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
from gateway.front.answers import refuse, tell_balance
from gateway.front.door import cancel_if_left, request_id
from gateway.front.facts import Facts
from gateway.front.headers import traceparent
from gateway.front.reply import Reply
from gateway.keepa.costs import UNKNOWN
from gateway.keepa.envelope import Envelope
from gateway.keepa.stalls import Deadline
from gateway.keepa.upstream import Slots, backoff_seconds
from gateway.ledger import Ledger

_log: Any = structlog.get_logger(__name__)


class Proxy:
    """Forwards calls that fit the budget."""

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
        limits: Limits,
    ) -> None:
        self._intake = intake
        self._gate = gate
        self._ledger = ledger
        self._observer = observer
        self._dispatcher = dispatcher
        self._slots = slots
        self._reports = reports
        self._limits = limits
        self._under_way = 0
        self._none_under_way = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> Reply:
        """Answer one call for Keepa."""
        began_at = time.monotonic()
        facts = Facts(request_id(request), floor=self._limits.floor)
        if "traceparent" in request.headers:
            facts.traceparent = traceparent(request.headers)
        cancel_if_left(request)
        try:
            call = await self._intake.read(request, facts)
            if call.price.endpoint == UNKNOWN:
                self._reports.unknown_endpoint(facts, call.target)
            if call.is_ledgers and await self._is_known():
                self._reports.answered(facts, began_at)
                return tell_balance(request, self._ledger.latest, facts)
            hold, trial = await self._gate.admit(call, facts)
        except Refusal as refusal:
            return self._refuse(request, refusal, facts, began_at)
        deadline = hold.began_at + self._limits.upstream_seconds
        return await self._forward(request, Carriage(call, hold, facts, deadline, trial), began_at)

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

    async def _forward(
        self, request: web.BaseRequest, carriage: Carriage, began_at: float
    ) -> Reply:
        """Forward one admitted call and resolve its hold."""
        self._under_way += 1
        try:
            # The loop's own clock is the monotonic one, on which holds count.
            async with Deadline(carriage.deadline):
                return await self._carry(request, carriage)
        except (Refusal, TimeoutError) as failure:
            is_timeout = isinstance(failure, TimeoutError) and carriage.waits_for_keepa
            if is_timeout or isinstance(failure, UpstreamUnreachable):
                carriage.trial.break_off(carriage.sent_at)
            return self._explain(request, carriage, failure)
        finally:
            self._resolve(carriage, Envelope(), whole=False)
            carriage.trial.withdraw()
            self._reports.forwarded(carriage, began_at)
            self._under_way -= 1
            if not self._under_way:
                self._none_under_way.set()

    async def _carry(self, request: web.BaseRequest, carriage: Carriage) -> Reply:
        """Attempt the call until it is answered or may not be attempted again."""
        ending: Reply | UpstreamUnreachable | None = None
        while True:
            try:
                ending = await self._attempt(request, carriage)
            except UpstreamUnreachable as failure:
                ending = failure
            except Overloaded:
                # Of a later attempt: the call's answer is how the one before ended.
                if ending is None:
                    raise
                break
            if carriage.is_final or not await self._prepare_again(request, carriage):
                break
        if isinstance(ending, Refusal):
            raise ending
        carriage.status = ending.status
        if ending.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            carriage.trial.fail()
        else:
            carriage.trial.succeed()
        return ending

    async def _attempt(self, request: web.BaseRequest, carriage: Carriage) -> Reply:
        """Send the call once, and pass its answer on."""
        async with self._slots:
            relay = await self._dispatcher.send(request, carriage)
            return await relay.run(partial(self._resolve, carriage))

    async def _prepare_again(self, request: web.BaseRequest, carriage: Carriage) -> bool:
        """Wait a little for another attempt, with tokens held for it; False: there is none.

        Where Keepa may have charged the one before, its hold stays, and the next gets its own.
        """
        call, hold = carriage.call, carriage.hold
        pause = backoff_seconds(carriage.attempts)
        if (
            carriage.attempts > self._limits.retries
            or not carriage.trial.may_go_on
            or (carriage.dispatched and not call.is_repeatable)
            or request.transport is None
            or time.monotonic() + pause > carriage.deadline
        ):
            return False
        if carriage.dispatched:
            self._resolve(carriage, Envelope(), whole=False)
        cancel_if_left(request)
        await asyncio.sleep(pause)
        if carriage.dispatched:
            again = await self._gate.admit_again(call, carriage.facts)
            if again is None:
                return False
            hold = again
        elif self._limits.is_too_old(hold.began_at):
            return False
        carriage.begin_again(hold)
        return True

    def _resolve(self, carriage: Carriage, envelope: Envelope, *, whole: bool) -> None:
        """Decide what the hold becomes; the first word counts."""
        if carriage.outcome:
            return
        hold = carriage.hold
        if not carriage.dispatched:
            carriage.outcome = "released"
            self._ledger.release(hold)
        elif envelope.is_void:
            # All zeros: Keepa does not know the key. Nothing was charged, and nothing observed.
            _log.error("key_refused_by_keepa", hint="is KEEPA_API_KEY right?")
            carriage.outcome = "released"
            self._ledger.release(hold)
        elif envelope.tokens_consumed is not None:
            self._settle(carriage, envelope.tokens_consumed, envelope)
        elif carriage.is_picture and whole:
            self._settle(carriage, hold.tokens, envelope)
        else:
            # It may have been charged: the hold stays until it expires.
            carriage.outcome = "doubt"
            self._ledger.doubt(hold)

    def _settle(self, carriage: Carriage, consumed: int, envelope: Envelope) -> None:
        hold = carriage.hold
        carriage.outcome = "settled"
        carriage.consumed = consumed
        self._reports.settled(hold, consumed)
        self._ledger.settle(hold, consumed, self._observer.read(envelope, carriage.seen_at))

    def _explain(
        self, request: web.BaseRequest, carriage: Carriage, failure: Refusal | TimeoutError
    ) -> Reply:
        """Tell the caller of a failure, or nothing where it has the answer's head already."""
        if carriage.relay and carriage.relay.reply:
            return carriage.relay.reply
        if isinstance(failure, Refusal):
            refusal = failure
        else:
            was_sent = carriage.dispatched or carriage.attempts > 1
            refusal = UpstreamTimeout() if was_sent else Overloaded()
        carriage.status = refusal.status
        facts = carriage.facts
        facts.max_items_now = carriage.call.items_within(facts.balance)
        reserved = carriage.doubtful_tokens
        if carriage.dispatched and carriage.outcome in {"", "doubt"}:
            reserved += carriage.hold.tokens
        return refuse(request, refusal, facts, reserved)

    def _refuse(
        self, request: web.BaseRequest, refusal: Refusal, facts: Facts, began_at: float
    ) -> Reply:
        if not facts.balance.known:
            latest = self._ledger.latest
            is_current = isinstance(refusal, Overloaded | CircuitOpen) or refusal.is_policy
            facts.balance = latest._replace(known=latest.known and is_current)
        self._reports.refused(facts, refusal, began_at)
        return refuse(request, refusal, facts)
