"""Admits calls: past the circuit, then budget, policies and request rate in one script, or a wait.

What is decided about tokens is decided by the ledger's scripts. Here is who asks them, when again,
and what a caller is told.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from gateway.call.asked import Asked
from gateway.call.observer import PATIENCE_SECONDS, Observer
from gateway.call.reports import Reports
from gateway.errors import (
    BalanceUnknown,
    ExceedsCapacity,
    InsufficientTokensError,
    LedgerUnavailable,
    RateLimited,
    Refusal,
    ServiceConcurrency,
    ServiceFloor,
    ServiceQuota,
)
from gateway.front.record import Record
from gateway.keepa.breaker import Breaker, Trial
from gateway.keepa.upstream import Slots
from gateway.ledger import Admission, Ask, Code, Hold, Ledger, Purpose, Queue


class Admitted(NamedTuple):
    """A call that may go to Keepa."""

    hold: Hold
    trial: Trial
    """What the circuit breaker is told of it."""


class Gate:
    """Admits calls.

    Args:
        default_wait_seconds: How long a call waits for tokens, or for a request slot, that does not
            say.
        max_wait_seconds: How long it waits at most, whatever it says.
        enforces: Whether a call that may not run is refused; else it is counted, and runs.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        queue: Queue,
        observer: Observer,
        breaker: Breaker,
        slots: Slots,
        reports: Reports,
        default_wait_seconds: float,
        max_wait_seconds: float,
        enforces: bool,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._observer = observer
        self._breaker = breaker
        self._slots = slots
        self._reports = reports
        self._default_wait_seconds = default_wait_seconds
        self._max_wait_seconds = max_wait_seconds
        self.enforces = enforces
        # Unlike a caller's request id, never the same twice.
        self._call_ids = map(f"{secrets.token_hex(6)}-{{}}".format, itertools.count(1))

    async def admit(self, asked: Asked, record: Record) -> Admitted:
        """Hold the call's price, or raise why not; `record` learns the balance.

        Raises:
            Refusal: What its service may never do; the budget, the service's caps, the request
                rate; a balance still unknown; a store that is away; an open circuit; too many calls
                on their way.
        """
        if not self.enforces:
            return await self._admit_anyway(asked, record)
        if asked.objection:
            if asked.objection.shows_balance:
                record.max_items_now = asked.items_within(self._ledger.latest)
            raise asked.objection
        call_id = next(self._call_ids)
        deadline = self._deadline(asked, record)
        wait_seconds = deadline - time.monotonic() if deadline else 0.0
        admitted, admission = await self._ask_in_turn(call_id, asked, record, wait_seconds)
        if admission.place:
            admitted, admission = await self._wait(
                call_id, asked, record, admission.place, deadline
            )
        if admitted is None:
            raise _refusal_of(asked, record, admission)
        return admitted

    async def admit_again(self, asked: Asked, record: Record) -> Hold | None:
        """Hold the price of another attempt; None: there are no tokens for it, or no store."""
        purpose = Purpose.ADMIT if self.enforces else Purpose.UNCOUNTED
        try:
            admission = await self._reserve(next(self._call_ids), asked, purpose=purpose)
        except LedgerUnavailable:
            return None
        if admission.hold:
            record.balance = admission.balance
        return admission.hold

    async def judge(self, asked: Asked, record: Record) -> Refusal | None:
        """Return what would be told to the call now, consuming nothing; None: it would run.

        It waits for an unknown balance as the call would.

        Raises:
            LedgerUnavailable: Nobody can say.
        """
        if asked.objection and not asked.objection.shows_balance:
            return asked.objection
        refusal = asked.objection or self._breaker.refusal(asked.service, asked.endpoint)
        ask = self._reserve if refusal else self._ask
        try:
            admission = await ask(next(self._call_ids), asked, purpose=Purpose.QUOTE)
        except BalanceUnknown as unknown:
            record.balance = self._ledger.latest
            return unknown
        record.balance = admission.balance
        record.max_items_now = asked.items_within(admission.balance, admission.room)
        if refusal:
            return refusal
        if admission.code == Code.DONE:
            return None
        return _refusal_of(asked, record, admission)

    async def _admit_anyway(self, asked: Asked, record: Record) -> Admitted:
        """Hold the call's price whatever speaks against it, and tell what did."""
        against = asked.objection
        purpose = Purpose.REFUSED if against else Purpose.SHADOW
        with self._slots.on_the_way:
            trial = self._breaker.enter(asked.service, asked.endpoint)
            try:
                admission = await self._reserve(next(self._call_ids), asked, purpose=purpose)
            except LedgerUnavailable as refusal:
                hold = self._ledger.hold_blindly(
                    next(self._call_ids), asked.price.tokens, asked.service, asked.endpoint
                )
                against = against or refusal
            except BaseException:
                trial.withdraw()
                raise
            else:
                if admission.hold is None:
                    raise AssertionError(admission)
                hold = admission.hold
                record.balance = admission.balance
                if admission.against != Code.DONE:
                    against = against or _refusal_of(asked, record, admission)
        if against:
            self._reports.let_through(record, against)
        return Admitted(hold, trial)

    def _deadline(self, asked: Asked, record: Record) -> float:
        """Return until when the call waits, monotonic; 0: it does not."""
        wanted, longest = asked.wait_seconds, self._max_wait_seconds
        if not longest or not self._queue.has_room:
            return 0.0
        if wanted is not None:
            record.preference_applied = f"wait={min(wanted, int(longest))}"
        seconds = self._default_wait_seconds if wanted is None else wanted
        return time.monotonic() + min(seconds, longest) if seconds else 0.0

    async def _wait(
        self, call_id: str, asked: Asked, record: Record, place: str, deadline: float
    ) -> tuple[Admitted | None, Admission]:
        """Wait in the queue and ask again, until the call is admitted or cannot be in time."""
        try:
            while True:
                began_at = time.monotonic()
                try:
                    await self._queue.wait(place, deadline - began_at)
                finally:
                    record.waited_seconds += time.monotonic() - began_at
                # At the end of its wait it asks for the last time.
                left = max(0.0, deadline - time.monotonic()) if self._queue.is_open else 0.0
                admitted, admission = await self._ask_in_turn(call_id, asked, record, left, place)
                if not admission.place:
                    return admitted, admission
                place = admission.place
        except BaseException:
            self._ledger.leave(call_id, place)
            raise

    async def _ask_in_turn(
        self, call_id: str, asked: Asked, record: Record, wait_seconds: float, place: str = ""
    ) -> tuple[Admitted | None, Admission]:
        """Ask for a hold, where there is room on the way to Keepa and the circuit lets it pass."""
        # Before it takes tokens and a request slot, which a refused call leaves to others.
        with self._slots.on_the_way:
            trial = self._breaker.enter(asked.service, asked.endpoint)
            try:
                admission = await self._ask(call_id, asked, wait_seconds=wait_seconds, place=place)
            except BaseException:
                trial.withdraw()
                raise
        record.balance = admission.balance
        if admission.hold:
            return Admitted(admission.hold, trial), admission
        trial.withdraw()
        return None, admission

    async def _ask(
        self,
        call_id: str,
        asked: Asked,
        *,
        purpose: Purpose = Purpose.ADMIT,
        wait_seconds: float = 0.0,
        place: str = "",
    ) -> Admission:
        """Ask for a hold; wait a little for an unknown balance."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            admission = await self._reserve(
                call_id, asked, purpose=purpose, wait_seconds=wait_seconds, place=place
            )
            if admission.code != Code.UNKNOWN:
                return admission
            patience = deadline - time.monotonic()
            if 0 < (admission.wait_ms or 0) <= patience * 1000:
                # Known, but a new epoch has yet to hear of all holds: until when is known too, and
                # a refresh that hangs meanwhile must not keep the call waiting.
                await asyncio.sleep((admission.wait_ms or 0) / 1000)
            else:
                await self._observer.become_known(patience)

    def _reserve(
        self,
        call_id: str,
        asked: Asked,
        *,
        purpose: Purpose = Purpose.ADMIT,
        wait_seconds: float = 0.0,
        place: str = "",
    ) -> Coroutine[Any, Any, Admission]:
        return self._ledger.reserve(
            Ask(
                call_id,
                asked.required_tokens,
                asked.allowance.terms,
                asked.service,
                asked.endpoint,
                purpose=purpose,
                wait_seconds=wait_seconds,
                place=place,
            )
        )


def _refusal_of(asked: Asked, record: Record, admission: Admission) -> Refusal:
    """Return what a call is told that may not run now."""
    record.max_items_now = asked.items_within(admission.balance, admission.room)
    code = admission.against or admission.code
    policy = asked.allowance.policy
    if code == Code.QUOTA:
        return ServiceQuota(policy.caps, admission.room or 0, retry_after_ms=admission.wait_ms)
    if code == Code.CONCURRENCY:
        return ServiceConcurrency(policy.max_concurrency or 0)
    if code == Code.RATE:
        return RateLimited(admission.per_minute, retry_after_ms=admission.wait_ms)
    if code in _LATER:
        return _LATER[code](retry_after_ms=admission.wait_ms)
    return _AT_ANY_TIME[code]()


_LATER: dict[int, Callable[..., Refusal]] = {
    Code.FLOOR: InsufficientTokensError,
    Code.SERVICE_FLOOR: ServiceFloor,
}
_AT_ANY_TIME: dict[int, Callable[[], Refusal]] = {
    Code.CAPACITY: ExceedsCapacity,
    Code.UNKNOWN: BalanceUnknown,
}
