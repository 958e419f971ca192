"""The life of a call: price, reserve, forward, then settle, release or doubt.

Every call to Keepa comes through `Proxy.handle`, top to bottom. What is decided about tokens is
decided by the ledger's scripts; what a hold becomes is decided here, once per call, in `_resolve`.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Coroutine
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import web

from gateway.answers import refuse, tell_balance
from gateway.balance import Balance
from gateway.breaker import Breaker
from gateway.carriage import Carriage
from gateway.dispatch import Dispatcher, Limits
from gateway.door import cancel_if_left
from gateway.envelope import Envelope
from gateway.errors import (
    BalanceUnknown,
    CircuitOpen,
    ExceedsCapacity,
    InsufficientTokensError,
    LedgerUnavailable,
    Overloaded,
    RateLimited,
    Refusal,
    RefusedCall,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.headers import request_id
from gateway.intake import Call, Intake
from gateway.ledger import Admission, Code, Hold, Ledger
from gateway.observer import PATIENCE_SECONDS, Observer, read_observation
from gateway.reply import Reply
from gateway.reports import Reports
from gateway.upstream import Slots, backoff_seconds

_log: Any = structlog.get_logger(__name__)


class Proxy:
    """Forwards calls that fit the budget."""

    def __init__(
        self,
        *,
        intake: Intake,
        ledger: Ledger,
        observer: Observer,
        breaker: Breaker,
        dispatcher: Dispatcher,
        slots: Slots,
        reports: Reports,
        limits: Limits,
    ) -> None:
        self._intake = intake
        self._ledger = ledger
        self._observer = observer
        self._breaker = breaker
        self._dispatcher = dispatcher
        self._slots = slots
        self._reports = reports
        self._limits = limits
        # Unlike a caller's request id, never the same twice.
        self._call_ids = map(f"{secrets.token_hex(6)}-{{}}".format, itertools.count(1))
        self._under_way = 0
        self._none_under_way = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> Reply:
        """Answer one call for Keepa."""
        began_at = time.monotonic()
        facts = RefusedCall(request_id=request_id(request.headers), floor=self._limits.floor)
        cancel_if_left(request)
        try:
            call = await self._intake.read(request, facts)
            if call.price.endpoint == "token":
                return await self._tell_balance(request, facts, began_at)
            # Before it takes tokens and a request slot, which a refused call leaves to others.
            with self._slots.on_the_way:
                is_probe = not self._breaker.is_closed
                if is_probe:
                    hold = await self._reserve_as_probe(call, facts)
                else:
                    hold = await self._reserve(call, facts)
        except Refusal as refusal:
            return self._refuse(request, refusal, facts, began_at)
        deadline = hold.began_at + self._limits.upstream_seconds
        return await self._forward(
            request, Carriage(call, hold, facts, deadline, is_probe), began_at
        )

    async def finish(self) -> None:
        """Wait for the calls whose callers have left."""
        if self._under_way:
            self._none_under_way.clear()
            await self._none_under_way.wait()

    async def _tell_balance(
        self, request: web.BaseRequest, facts: RefusedCall, began_at: float
    ) -> Reply:
        """Answer `/token` from the ledger; Keepa is asked only where the ledger does not know."""
        if not await self._ledger.is_fresh():
            try:
                await self._observer.become_known(PATIENCE_SECONDS)
            except BalanceUnknown:
                if not self._observer.knows:
                    raise
        self._reports.answered(facts, began_at)
        return tell_balance(request, self._ledger.latest, facts.request_id, self._limits.floor)

    async def _reserve_as_probe(self, call: Call, facts: RefusedCall) -> Hold:
        """Reserve for the one call that tries Keepa again; give that turn back where it may not."""
        await self._breaker.become_probe()
        try:
            return await self._reserve(call, facts)
        except BaseException:
            self._breaker.give_back()
            raise

    async def _reserve(self, call: Call, facts: RefusedCall) -> Hold:
        """Hold the call's price, or raise why not; wait a little for an unknown balance."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            admission = await self._ask_for_hold(call)
            facts.balance = admission.balance
            if admission.hold:
                return admission.hold
            if admission.code != Code.UNKNOWN:
                facts.max_items_now = self._items_within(call, admission.balance)
                raise _refusal_of(admission)
            patience = deadline - time.monotonic()
            if 0 < (admission.wait_ms or 0) <= patience * 1000:
                # Known, but a new epoch has yet to hear of all holds: until when is known too, and
                # a refresh that hangs meanwhile must not keep the call waiting.
                await asyncio.sleep((admission.wait_ms or 0) / 1000)
            else:
                await self._observer.become_known(patience)

    def _ask_for_hold(self, call: Call) -> Coroutine[Any, Any, Admission]:
        return self._ledger.reserve(
            next(self._call_ids),
            call.price.tokens,
            self._limits.floor,
            call.service,
            call.price.endpoint,
        )

    def _items_within(self, call: Call, balance: Balance) -> int | None:
        """Return how many of the call's items would fit now; None: it has none."""
        # Keepa runs nothing from 0 down, however low the floor.
        spendable = balance.available - self._limits.floor if balance.available > 0 else -1
        return call.price.items_within(spendable)

    async def _forward(
        self, request: web.BaseRequest, carriage: Carriage, began_at: float
    ) -> Reply:
        """Forward one admitted call and resolve its hold."""
        self._under_way += 1
        try:
            # The loop's own clock is the monotonic one, on which holds count.
            async with asyncio.timeout_at(carriage.deadline):
                return await self._carry(request, carriage)
        except (Refusal, TimeoutError) as failure:
            if isinstance(failure, TimeoutError) and carriage.waits_for_keepa:
                self._judge(carriage, failed=True)
            return self._explain(request, carriage, failure)
        finally:
            self._resolve(carriage, Envelope(), whole=False)
            if carriage.is_probe:
                self._breaker.give_back()
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
                self._judge(carriage, failed=True)
                ending = failure
            except Overloaded:
                # Of a later attempt: the call's answer is how the one before ended.
                if ending is None:
                    raise
                break
            if carriage.is_begun or not await self._prepare_again(request, carriage):
                break
        if isinstance(ending, Refusal):
            raise ending
        carriage.status = ending.status
        return ending

    async def _attempt(self, request: web.BaseRequest, carriage: Carriage) -> Reply:
        """Send the call once, and pass its answer on."""
        async with self._slots:
            relay = await self._dispatcher.send(request, carriage)
            reply = await relay.run(partial(self._resolve, carriage))
        self._judge(carriage, failed=reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR)
        return reply

    def _judge(self, carriage: Carriage, *, failed: bool) -> None:
        """Tell the circuit breaker how an attempt ended."""
        is_probe, carriage.is_probe = carriage.is_probe, False
        if failed:
            self._breaker.fail(is_probe=is_probe)
        else:
            self._breaker.succeed(is_probe=is_probe)

    async def _prepare_again(self, request: web.BaseRequest, carriage: Carriage) -> bool:
        """Wait a little for another attempt, with tokens held for it; False: there is none.

        Where Keepa may have charged the one before, its hold stays, and the next gets its own.
        """
        call, hold = carriage.call, carriage.hold
        pause = backoff_seconds(carriage.attempts)
        if (
            carriage.attempts > self._limits.retries
            or not self._breaker.is_closed
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
            try:
                admission = await self._ask_for_hold(call)
            except LedgerUnavailable:
                return False
            if admission.hold is None:
                return False
            carriage.facts.balance = admission.balance
            hold = admission.hold
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
        self._ledger.settle(hold, consumed, read_observation(envelope, carriage.seen_at))

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
        facts.max_items_now = self._items_within(carriage.call, facts.balance)
        reserved = carriage.doubtful_tokens
        if carriage.dispatched and carriage.outcome in {"", "doubt"}:
            reserved += carriage.hold.tokens
        return refuse(request, refusal, facts, reserved)

    def _refuse(
        self, request: web.BaseRequest, refusal: Refusal, facts: RefusedCall, began_at: float
    ) -> Reply:
        if not facts.balance.known:
            latest = self._ledger.latest
            is_current = latest.known and isinstance(refusal, Overloaded | CircuitOpen)
            facts.balance = latest._replace(known=is_current)
        self._reports.refused(facts, refusal, began_at)
        return refuse(request, refusal, facts)


def _refusal_of(admission: Admission) -> Refusal:
    if admission.code == Code.CAPACITY:
        return ExceedsCapacity()
    if admission.code == Code.FLOOR:
        return InsufficientTokensError(retry_after_ms=admission.wait_ms)
    if admission.code == Code.RATE:
        return RateLimited(retry_after_ms=admission.wait_ms)
    raise AssertionError(admission)
