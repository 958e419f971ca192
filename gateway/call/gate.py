"""Admits calls: past the circuit, then budget, policies and request rate in one script, or a wait.

What is decided about tokens is decided by the ledger's scripts. Here is who asks them, when again,
and what a caller is told.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.call.intake import Call
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
from gateway.front.facts import Facts
from gateway.keepa.breaker import Breaker, Trial
from gateway.keepa.upstream import Slots
from gateway.ledger import Admission, Ask, Code, Hold, Ledger, Purpose, Queue


@dataclass(frozen=True, slots=True)
class Patience:
    """How long calls wait for tokens or for a request slot, in seconds."""

    default_seconds: float
    """Of a call that does not say."""
    max_seconds: float


class Admitted(NamedTuple):
    """A call that may go to Keepa."""

    hold: Hold
    trial: Trial
    """What the circuit breaker is told of it."""


class Gate:
    """Admits calls.

    Args:
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
        patience: Patience,
        enforces: bool,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._observer = observer
        self._breaker = breaker
        self._slots = slots
        self._reports = reports
        self._patience = patience
        self.enforces = enforces
        # Unlike a caller's request id, never the same twice.
        self._call_ids = map(f"{secrets.token_hex(6)}-{{}}".format, itertools.count(1))

    async def admit(self, call: Call, facts: Facts) -> Admitted:
        """Hold the call's price, or raise why not; `facts` learns the balance.

        Raises:
            Refusal: What its service may never do; the budget, the service's caps, the request
                rate; a balance still unknown; a store that is away; an open circuit; too many calls
                on their way.
        """
        if not self.enforces:
            return await self._admit_anyway(call, facts)
        if call.objection:
            if call.objection.shows_balance:
                facts.max_items_now = call.items_within(self._ledger.latest)
            raise call.objection
        call_id = next(self._call_ids)
        deadline = self._deadline(call, facts)
        wait_seconds = deadline - time.monotonic() if deadline else 0.0
        admitted, admission = await self._ask_in_turn(call_id, call, facts, wait_seconds)
        if admission.place:
            admitted, admission = await self._wait(call_id, call, facts, admission.place, deadline)
        if admitted is None:
            raise _refusal_of(call, facts, admission)
        return admitted

    async def admit_again(self, call: Call, facts: Facts) -> Hold | None:
        """Hold the price of another attempt; None: there are no tokens for it, or no store."""
        purpose = Purpose.ADMIT if self.enforces else Purpose.UNCOUNTED
        try:
            admission = await self._reserve(next(self._call_ids), call, purpose=purpose)
        except LedgerUnavailable:
            return None
        if admission.hold:
            facts.balance = admission.balance
        return admission.hold

    async def judge(self, call: Call, facts: Facts) -> Refusal | None:
        """Return what would be told to the call now, consuming nothing; None: it would run.

        It waits for an unknown balance as the call would.

        Raises:
            LedgerUnavailable: Nobody can say.
        """
        if call.objection and not call.objection.shows_balance:
            return call.objection
        refusal = call.objection or self._breaker.refusal(call.service, call.price.endpoint)
        ask = self._reserve if refusal else self._ask
        try:
            admission = await ask(next(self._call_ids), call, purpose=Purpose.QUOTE)
        except BalanceUnknown as unknown:
            facts.balance = self._ledger.latest
            return unknown
        facts.balance = admission.balance
        facts.max_items_now = call.items_within(admission.balance, admission.room)
        if refusal:
            return refusal
        if admission.code == Code.DONE:
            return None
        return _refusal_of(call, facts, admission)

    async def _admit_anyway(self, call: Call, facts: Facts) -> Admitted:
        """Hold the call's price whatever speaks against it, and tell what did."""
        against = call.objection
        purpose = Purpose.REFUSED if against else Purpose.SHADOW
        with self._slots.on_the_way:
            trial = self._breaker.enter(call.service, call.price.endpoint)
            try:
                admission = await self._reserve(next(self._call_ids), call, purpose=purpose)
            except LedgerUnavailable as refusal:
                hold = self._ledger.hold_blindly(
                    next(self._call_ids), call.price.tokens, call.service, call.price.endpoint
                )
                against = against or refusal
            except BaseException:
                trial.withdraw()
                raise
            else:
                if admission.hold is None:
                    raise AssertionError(admission)
                hold = admission.hold
                facts.balance = admission.balance
                if admission.against != Code.DONE:
                    against = against or _refusal_of(call, facts, admission)
        if against:
            self._reports.let_through(facts, against)
        return Admitted(hold, trial)

    def _deadline(self, call: Call, facts: Facts) -> float:
        """Return until when the call waits, monotonic; 0: it does not."""
        patience, wanted = self._patience, call.wait_seconds
        if not patience.max_seconds or not self._queue.has_room:
            return 0.0
        if wanted is not None:
            facts.preference_applied = f"wait={min(wanted, int(patience.max_seconds))}"
        seconds = patience.default_seconds if wanted is None else wanted
        return time.monotonic() + min(seconds, patience.max_seconds) if seconds else 0.0

    async def _wait(
        self, call_id: str, call: Call, facts: Facts, place: str, deadline: float
    ) -> tuple[Admitted | None, Admission]:
        """Wait in the queue and ask again, until the call is admitted or cannot be in time."""
        try:
            while True:
                began_at = time.monotonic()
                try:
                    await self._queue.wait(place, deadline - began_at)
                finally:
                    facts.waited_seconds += time.monotonic() - began_at
                # At the end of its wait it asks for the last time.
                left = max(0.0, deadline - time.monotonic()) if self._queue.is_open else 0.0
                admitted, admission = await self._ask_in_turn(call_id, call, facts, left, place)
                if not admission.place:
                    return admitted, admission
                place = admission.place
        except BaseException:
            self._ledger.leave(call_id, place)
            raise

    async def _ask_in_turn(
        self, call_id: str, call: Call, facts: Facts, wait_seconds: float, place: str = ""
    ) -> tuple[Admitted | None, Admission]:
        """Ask for a hold, where there is room on the way to Keepa and the circuit lets it pass."""
        # Before it takes tokens and a request slot, which a refused call leaves to others.
        with self._slots.on_the_way:
            trial = self._breaker.enter(call.service, call.price.endpoint)
            try:
                admission = await self._ask(call_id, call, wait_seconds=wait_seconds, place=place)
            except BaseException:
                trial.withdraw()
                raise
        facts.balance = admission.balance
        if admission.hold:
            return Admitted(admission.hold, trial), admission
        trial.withdraw()
        return None, admission

    async def _ask(
        self,
        call_id: str,
        call: Call,
        *,
        purpose: Purpose = Purpose.ADMIT,
        wait_seconds: float = 0.0,
        place: str = "",
    ) -> Admission:
        """Ask for a hold; wait a little for an unknown balance."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            admission = await self._reserve(
                call_id, call, purpose=purpose, wait_seconds=wait_seconds, place=place
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
        call: Call,
        *,
        purpose: Purpose = Purpose.ADMIT,
        wait_seconds: float = 0.0,
        place: str = "",
    ) -> Coroutine[Any, Any, Admission]:
        return self._ledger.reserve(
            Ask(
                call_id,
                call.price.tokens,
                call.allowance.terms,
                call.service,
                call.price.endpoint,
                purpose=purpose,
                wait_seconds=wait_seconds,
                place=place,
            )
        )


def _refusal_of(call: Call, facts: Facts, admission: Admission) -> Refusal:
    """Return what a call is told that may not run now."""
    facts.max_items_now = call.items_within(admission.balance, admission.room)
    code = admission.against or admission.code
    policy = call.allowance.policy
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
