"""The account's ledger: reserve before a call, resolve after it, observe in between.

A thin face of the Lua transitions: nothing is decided here. What this side adds is delivery: a
call's resolution reaches the store even when the store is away for a while, and its live holds come
back when the store was emptied.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from gateway.balance import UNKNOWN, Balance
from gateway.errors import LedgerUnavailable
from gateway.lane import Pause
from gateway.ledger import scripts
from gateway.ledger.replies import Code, Reply, read_overview, read_reply
from gateway.ledger.scripts import Script
from gateway.ledger.store import Arguments, ReplyLost, Store
from gateway.ledger.unconfirmed import Unconfirmed
from gateway.ledger.usage import HourKeys
from gateway.ledger.values import (
    Admission,
    Ask,
    Hold,
    Listener,
    Observation,
    Outlook,
    Overview,
    Purpose,
    Rules,
    Served,
    Turn,
)

_log = structlog.get_logger(__name__)

_US = 1_000_000
# One gateway's turn to refresh the balance; another takes over when it died with it.
_TURN_US = 2 * _US
# What one script is told of: each costs Redis some 6 us.
_AT_A_TIME = 200
# The same inconsistency is logged again after so long; all are counted.
_TELL_AGAIN_SECONDS = 10.0


class Ledger:
    """One Keepa account's tokens, shared by all gateways on the same store."""

    def __init__(self, store: Store, account: str, rules: Rules, listener: Listener) -> None:
        self.store = store
        self.latest: Balance = UNKNOWN
        self._hour_keys = HourKeys(account)
        self._name = secrets.token_hex(6)
        self._rules = rules
        self._listener = listener
        self._hold_us = int(rules.hold_seconds * _US)
        self._rate = rules.rate_per_minute, rules.rate_burst
        # As terms.lua reads it.
        self._rules_record = (
            f"{self._hold_us}|{int(rules.stale_seconds * _US)}|{rules.rate_per_minute}|"
            f"{rules.rate_burst}|{self._name}"
        )
        self._epoch = 0
        self._doubt_at = 0
        # In doubt or in flight: what a new epoch has to learn of.
        self._live: dict[str, Hold] = {}
        self._unconfirmed = Unconfirmed(rules.hold_seconds)
        self._under_way: set[str] = set()
        self._bringing_back: asyncio.Task[None] | None = None
        # Until when what was found inconsistent is not logged again.
        self._inconsistent_until: dict[str, float] = {}
        self.on_doubt: Callable[[], None] = lambda: None
        """Called when what is known of the balance may be gone or wrong: the store is another or is
        new, or calls were counted as spent that may not be."""
        self.on_gain: Callable[[], None] = lambda: None
        """Called when a reply told of more tokens than the one before."""
        self.on_epoch: Callable[[], None] = lambda: None
        """Called when the store has begun a new epoch: what stood in the queue may be gone."""
        store.on_connect = self._greet

    async def reserve(self, ask: Ask) -> Admission:
        """Ask for a hold and a request slot (T3); both or nothing.

        Raises:
            LedgerUnavailable: No answer from the store; what it may have held is released. To a
                quote also: the store would take no hold.
        """
        began_at = time.monotonic()
        script = scripts.RESERVE
        arguments = (ask.record, ask.terms.record, self._rules_record)
        try:
            # Not by way of _run: one coroutine less for each call.
            asked = Pause()
            self.store.send(script, self._keys, lambda: arguments, asked)
            raw = await asked
        except (ReplyLost, asyncio.CancelledError):
            self.leave(ask.call_id, ask.place)
            raise
        is_quote = ask.purpose is Purpose.QUOTE
        if is_quote:
            self._check_store()
        reply = self._heard(script, began_at, raw)
        wait_us, place, against, room, per_minute = reply.extra
        if reply.code == Code.DONE and not is_quote:
            hold = Hold(
                ask.call_id,
                ask.tokens,
                ask.service,
                ask.endpoint,
                reply.epoch,
                reply.balance.consumed,
                began_at,
            )
            self._live[ask.call_id] = hold
            return Admission(reply.code, reply.balance, hold, 0, "", against, per_minute=per_minute)
        wait_ms = None if wait_us < 0 else -(-wait_us // 1000)
        return Admission(
            reply.code,
            reply.balance,
            None,
            wait_ms,
            place.decode(),
            room=None if room < 0 else room,
            per_minute=per_minute,
        )

    def hold_blindly(self, call_id: str, tokens: int, service: str, endpoint: str) -> Hold:
        """Return a hold that the store does not know of: it is brought there when it is back."""
        hold = Hold(call_id, tokens, service, endpoint, 0, 0, time.monotonic())
        self._live[call_id] = hold
        return hold

    def leave(self, call_id: str, place: str) -> None:
        """The call is given up before it was admitted: what it may hold by now is released."""
        self._resolve(call_id, scripts.RELEASE, lambda: (f"{call_id}|0|{place}",))

    async def next_in_queue(self, place: str = "") -> Served:
        """Ask which of this gateway's waiting calls would run now; raises LedgerUnavailable.

        Args:
            place: Of the call that waits longest; the store says so where it has lost it.
        """
        reply = await self._run(scripts.NEXT_IN_QUEUE, lambda: (self._name, *self._rate, place))
        slot_wait_us, is_forgotten, places = reply.extra
        return Served(
            [place.decode() for place in places],
            is_forgotten == 1,
            -(-slot_wait_us // 1000),
            reply.balance.lump_in_ms,
        )

    async def count_refusals(self, counts: Mapping[tuple[str, str, str], int]) -> None:
        """Add to what was refused: service, endpoint and reason to calls.

        Raises:
            LedgerUnavailable: Nothing was added; ReplyLost: it may have been.
        """
        flat = [part for names, calls in counts.items() for part in (*names, calls)]
        await self._run(scripts.COUNT_REFUSALS, lambda: flat)

    def settle(self, hold: Hold, consumed: int, observation: Observation | None = None) -> None:
        """The call consumed that much (T4): delivered in the background, surely and once."""
        ended = hold.ended_record(consumed)

        def arguments() -> Sequence[str | int]:
            return (ended, observation.record(time.monotonic()) if observation else "")

        self._resolve(hold.id, scripts.SETTLE, arguments)

    def release(self, hold: Hold) -> None:
        """The call surely consumed nothing (T5): delivered in the background."""
        self._resolve(hold.id, scripts.RELEASE, lambda: (f"{hold.id}|{hold.epoch}|",))

    def doubt(self, hold: Hold) -> None:
        """The call may have consumed its reservation (T5): the hold stays until it expires.

        It also stays among the holds that this gateway brings back to an emptied store: Keepa may
        still be at work on it.
        """

    async def keep(self) -> None:
        """Name the live holds (T8), for a new epoch to have them; raises LedgerUnavailable."""
        now = time.monotonic()
        for hold in [
            h for h in self._live.values() if now - h.began_at >= self._rules.hold_seconds
        ]:
            del self._live[hold.id]
        holds = list(self._live.values())
        for first in range(0, len(holds), _AT_A_TIME):
            some = holds[first : first + _AT_A_TIME]
            await self._run(scripts.RESTORE_HOLDS, partial(self._keep_arguments, some))

    def _keep_arguments(self, holds: list[Hold]) -> Sequence[str | int]:
        now = time.monotonic()
        ages = [int((now - hold.began_at) * _US) for hold in holds]
        return [
            hold.live_record(age_us, max(0, self._hold_us - age_us))
            for hold, age_us in zip(holds, ages, strict=True)
        ]

    async def is_fresh(self) -> bool:
        """Say whether the observation needs no refresh; raises LedgerUnavailable."""
        fresh_us = int(self._rules.fresh_seconds * _US)
        reply = await self._run(scripts.CLAIM_REFRESH, lambda: (fresh_us, 0))
        self._check_store()
        return reply.code == Code.RESOLVED

    async def claim(self, *, at_once: bool = False) -> Turn:
        """Ask for the turn to refresh the balance; raises LedgerUnavailable.

        Args:
            at_once: Refresh also an observation that is still fresh.
        """
        fresh_us = 0 if at_once else int(self._rules.fresh_seconds * _US)
        ends_at = time.monotonic() + _TURN_US / _US
        reply = await self._run(scripts.CLAIM_REFRESH, lambda: (fresh_us, _TURN_US))
        return Turn(reply.code, reply.balance, reply.epoch, self._outlook(reply), ends_at)

    async def observe(self, turn: Turn, observation: Observation) -> Outlook:
        """Weigh a `/token` answer (T6); raises LedgerUnavailable."""
        reply = await self._run(
            scripts.OBSERVE,
            lambda: (turn.epoch, turn.balance.consumed, observation.record(time.monotonic())),
        )
        return self._outlook(reply)

    def _outlook(self, reply: Reply) -> Outlook:
        learning_us, look_us = reply.extra
        # With no hold there now, none expires before one that is made next.
        look_us = self._hold_us if look_us < 0 else min(look_us, self._hold_us)
        return Outlook(-(-learning_us // 1000), -(-look_us // 1000))

    async def overview(self) -> Overview:
        """Tell the account's state; raises LedgerUnavailable."""
        reply = await self._run(scripts.OVERVIEW, lambda: self._rate)
        self._check_store()
        return read_overview(reply)

    def _check_store(self) -> None:
        """Fail where a script that only reads was answered by a store that takes no writes."""
        if not self.store.up:
            raise LedgerUnavailable

    def _greet(self) -> None:
        self.deliver()
        self.on_doubt()

    def deliver(self) -> None:
        """Send what the store has not confirmed. On a new connection this goes before all else."""
        for call_id in self._unconfirmed.call_ids():
            if call_id not in self._under_way:
                self._send(call_id)

    async def delivered(self, timeout_seconds: float) -> bool:
        """Wait until the store has confirmed every resolution; False: it has not in time."""
        try:
            await asyncio.wait_for(self._unconfirmed.confirmed(), timeout_seconds)
        except TimeoutError:
            return False
        return True

    @property
    def _keys(self) -> tuple[str, ...]:
        return self._hour_keys.now()

    @property
    def unconfirmed(self) -> int:
        """How many resolutions the store has not confirmed yet."""
        return len(self._unconfirmed)

    async def _run(self, script: Script, arguments: Arguments) -> Reply:
        started = time.monotonic()
        raw = await self.store.run(script, self._keys, arguments)
        return self._heard(script, started, raw)

    def _heard(self, script: Script, started: float, raw: list[Any]) -> Reply:
        reply = read_reply(raw)
        if reply.balance.available > self.latest.available:
            self.on_gain()
        self.latest = reply.balance
        self._listener.replied(script.name, time.monotonic() - started, reply.events)
        if reply.events.inconsistent:
            self._tell_inconsistent(script, reply)
        if reply.doubt_at != self._doubt_at:
            self._doubt_at = reply.doubt_at
            if reply.doubt_at:
                self.on_doubt()
        if reply.epoch != self._epoch:
            if self._epoch:
                _log.warning("new_epoch", live_holds=len(self._live))
                self.on_doubt()
                self.on_epoch()
            self._epoch = reply.epoch
            if self._live:
                # Kept: a task that nobody refers to may be collected before its end.
                self._bringing_back = asyncio.create_task(self._bring_back())
        return reply

    def _tell_inconsistent(self, script: Script, reply: Reply) -> None:
        """Log what was found, not the same again for a while."""
        what, now = reply.events.inconsistent, time.monotonic()
        if now < self._inconsistent_until.get(what, 0.0):
            return
        self._inconsistent_until[what] = now + _TELL_AGAIN_SECONDS
        balance = reply.balance
        _log.error(
            "ledger_inconsistent",
            what=what,
            script=script.name,
            balance=balance.tokens if balance.known else None,
            reserved=balance.held,
            live_holds=len(self._live),
        )

    async def _bring_back(self) -> None:
        try:
            await self.keep()
        except LedgerUnavailable:
            _log.warning("holds_not_restored")

    def _resolve(self, call_id: str, script: Script, arguments: Arguments) -> None:
        self._live.pop(call_id, None)
        self._unconfirmed.add(call_id, script, arguments)
        self._send(call_id)

    def _send(self, call_id: str) -> None:
        script, arguments = self._unconfirmed[call_id]
        self._under_way.add(call_id)
        self.store.send(script, self._keys, arguments, _Delivery(self, call_id, script))

    def confirm(self, call_id: str, script: Script, started: float, raw: list[Any] | None) -> None:
        """The store has the resolution; None: it may not have it, and `deliver` sends it again."""
        self._under_way.discard(call_id)
        if raw is None:
            return
        # Two resolutions of one id may be under way: the second finds it confirmed.
        self._unconfirmed.confirm(call_id)
        self._heard(script, started, raw)


class _Delivery:
    """One resolution under way."""

    __slots__ = ("_call_id", "_ledger", "_script", "_started")

    def __init__(self, ledger: Ledger, call_id: str, script: Script) -> None:
        self._ledger = ledger
        self._call_id = call_id
        self._script = script
        self._started = time.monotonic()

    def done(self) -> bool:
        """Its reply is always wanted."""
        return False

    def set_result(self, raw: list[Any]) -> None:
        """The store has it."""
        self._ledger.confirm(self._call_id, self._script, self._started, raw)

    def set_exception(self, _: Exception) -> None:
        """The store may not have it."""
        self._ledger.confirm(self._call_id, self._script, self._started, None)
