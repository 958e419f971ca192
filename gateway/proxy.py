"""The life of a call: price, reserve, forward, then settle, release or doubt.

Every call to Keepa comes through `Proxy.handle`, top to bottom. What is decided about tokens is
decided by the ledger's scripts; what a hold becomes is decided here, once per call, in `_resolve`.
"""

import asyncio
import itertools
import secrets
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import web
from multidict import MultiMapping

from gateway.answers import refuse, tell_balance
from gateway.balance import Balance
from gateway.carriage import Carriage
from gateway.credentials import RealKey
from gateway.door import cancel_if_left, carry_on
from gateway.envelope import Envelope
from gateway.errors import (
    BalanceUnknown,
    ExceedsCapacity,
    InsufficientTokensError,
    Overloaded,
    RateLimited,
    Refusal,
    RefusedCall,
    UpstreamTimeout,
)
from gateway.headers import (
    forward_answer_headers,
    forward_request_headers,
    own_headers,
    request_id,
)
from gateway.intake import Call, Intake
from gateway.ledger import Admission, Code, Hold, Ledger
from gateway.observer import PATIENCE_SECONDS, Observer, read_observation
from gateway.relay import Relay
from gateway.reply import Reply
from gateway.reports import Reports
from gateway.upstream import NotSent, Slots, Upstream

_log: Any = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the proxy needs of the settings. Times in seconds."""

    floor: int
    upstream_seconds: float
    """From the reservation to the answer's last byte."""
    hold_seconds: float


class Proxy:
    """Forwards calls that fit the budget."""

    def __init__(
        self,
        *,
        intake: Intake,
        ledger: Ledger,
        observer: Observer,
        upstream: Upstream,
        slots: Slots,
        reports: Reports,
        executor: Executor,
        limits: Limits,
        real_key: RealKey,
    ) -> None:
        self._intake = intake
        self._ledger = ledger
        self._observer = observer
        self._upstream = upstream
        self._slots = slots
        self._reports = reports
        self._executor = executor
        self._limits = limits
        self._real_key = real_key
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
            self._slots.check()
            hold = await self._reserve(call, facts)
        except Refusal as refusal:
            return self._refuse(request, refusal, facts, began_at)
        return await self._forward(request, Carriage(call, hold, facts), began_at)

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

    async def _reserve(self, call: Call, facts: RefusedCall) -> Hold:
        """Hold the call's price, or raise why not; wait a little for an unknown balance."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            admission = await self._ledger.reserve(
                next(self._call_ids),
                call.price.tokens,
                self._limits.floor,
                call.service,
                call.price.endpoint,
            )
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

    def _items_within(self, call: Call, balance: Balance) -> int | None:
        """Return how many of the call's items would fit now; None: it has none."""
        # Keepa runs nothing from 0 down, however low the floor.
        spendable = balance.available - self._limits.floor if balance.available > 0 else -1
        return call.price.items_within(spendable)

    async def _forward(
        self, request: web.BaseRequest, carriage: Carriage, began_at: float
    ) -> Reply:
        """Forward one admitted call and resolve its hold."""
        # The loop's own clock is the monotonic one, on which holds count.
        deadline = carriage.hold.began_at + self._limits.upstream_seconds
        self._under_way += 1
        try:
            async with asyncio.timeout_at(deadline), self._slots:
                relay = await self._dispatch(request, carriage)
                return await relay.run(partial(self._resolve, carriage))
        except (Refusal, TimeoutError) as failure:
            return self._explain(request, carriage, failure)
        finally:
            self._resolve(carriage, Envelope(), whole=False)
            self._reports.forwarded(carriage, began_at)
            self._under_way -= 1
            if not self._under_way:
                self._none_under_way.set()

    async def _dispatch(self, request: web.BaseRequest, carriage: Carriage) -> Relay:
        """Send the call; return how its answer goes on when the answer's head is there."""
        call, hold = carriage.call, carriage.hold
        # A hold must outlive Keepa's work on its call, however long the call waited for its turn.
        margin = self._limits.hold_seconds - self._limits.upstream_seconds
        if time.monotonic() - hold.began_at > margin:
            raise Overloaded
        headers = forward_request_headers(request.headers)
        if call.is_rewritten:
            headers.popall("Content-Encoding", None)
        carry_on(request)
        carriage.dispatched = True
        sent_at = time.monotonic()
        try:
            answer = await self._upstream.send(call.method, call.target, headers, call.body)
        except NotSent:
            carriage.dispatched = False
            raise
        finally:
            carriage.head_seconds = time.monotonic() - sent_at
        carriage.seen_at = time.monotonic()
        carriage.status = answer.status
        carriage.is_picture = answer.status == HTTPStatus.OK and _is_picture(answer.headers)
        headers = forward_answer_headers(answer.headers, self._real_key.shown)
        headers.update(
            own_headers(
                carriage.facts.request_id, hold.tokens, carriage.facts.balance, self._limits.floor
            )
        )
        carriage.relay = Relay(request, answer, headers, self._executor, self._real_key)
        return carriage.relay

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
            refusal = UpstreamTimeout() if carriage.dispatched else Overloaded()
        carriage.status = refusal.status
        facts = carriage.facts
        facts.max_items_now = self._items_within(carriage.call, facts.balance)
        reserved = carriage.hold.tokens if carriage.dispatched else 0
        return refuse(request, refusal, facts, reserved)

    def _refuse(
        self, request: web.BaseRequest, refusal: Refusal, facts: RefusedCall, began_at: float
    ) -> Reply:
        if not facts.balance.known:
            latest = self._ledger.latest
            is_current = latest.known and isinstance(refusal, Overloaded)
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


def _is_picture(headers: MultiMapping[str]) -> bool:
    """`/graphimage` answers with a PNG, which has no room for token fields."""
    return headers.get("Content-Type", "").lower().startswith("image/")
