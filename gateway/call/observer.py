"""Knows the balance: asks Keepa's free `/token`, once for all who wait, one gateway at a time."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import structlog

from gateway.balance import MICRO
from gateway.errors import BalanceUnknown, LedgerUnavailable, Refusal, UpstreamUnreachable
from gateway.keepa.envelope import Envelope, read_envelope
from gateway.keepa.upstream import Upstream
from gateway.lane import in_task
from gateway.ledger import Code, Ledger, Observation, Outlook, Turn

_log: Any = structlog.get_logger(__name__)

# How long a call waits for an unknown balance. Less than the wait would turn a new epoch's learning
# time into refusals.
PATIENCE_SECONDS = 3.0
# Between looks at what another gateway, whose turn it is, found out.
_LOOK_AGAIN_SECONDS = 0.1
# After a failed attempt; with nobody waiting a second more each time, up to the second number.
_TRY_AGAIN_SECONDS = 0.5
_TRY_AGAIN_AT_MOST_SECONDS = 8.0
_MINUTE_MS = 60_000
# Each answer may say the same.
_WARN_AGAIN_SECONDS = 600.0


class Observer:
    """Keeps the ledger's observation fresh.

    Args:
        fresh_seconds: An older observation is refreshed in the background, with or without calls; a
            younger one where our own accounting has become doubtful.
        stale_seconds: An older one is as good as none.
    """

    def __init__(
        self, ledger: Ledger, upstream: Upstream, *, fresh_seconds: float, stale_seconds: float
    ) -> None:
        self._ledger = ledger
        self._upstream = upstream
        self._fresh_seconds = fresh_seconds
        self._stale_seconds = stale_seconds
        self._wanted = asyncio.Event()
        self._turn: Turn | None = None
        # Monotonic seconds.
        self._warn_at = 0.0
        self._look_at = 0.0
        # Without calls nobody else would ask, and a gateway that is not ready gets no calls.
        ledger.on_doubt = self._wanted.set
        # What the waiters wait for: None when calls are admitted, or why they will not be.
        self._inquiry: asyncio.Future[Refusal | None] | None = None

    @property
    def knows(self) -> bool:
        """Whether calls can be admitted on what was last heard."""
        balance = self._ledger.latest
        return balance.known and balance.observed_ms_ago <= self._stale_seconds * 1000

    async def become_known(self, patience_seconds: float) -> None:
        """Return when the balance is known and calls are admitted; all waiters share one inquiry.

        Raises:
            BalanceUnknown: Not in time.
            LedgerUnavailable: The store does not answer.
        """
        await in_task()
        if self._inquiry is None:
            self._inquiry = asyncio.get_running_loop().create_future()
        self._wanted.set()
        try:
            refusal = await asyncio.wait_for(asyncio.shield(self._inquiry), patience_seconds)
        except TimeoutError:
            raise BalanceUnknown from None
        if refusal:
            raise type(refusal)

    def read(self, envelope: Envelope, seen_at: float) -> Observation | None:
        """Return what the ledger can weigh, or None where the answer is no reading of the bucket.

        Args:
            envelope: Of any answer of Keepa's.
            seen_at: When its headers came, monotonic seconds.
        """
        if not envelope.has_observation:
            return None
        # A flow above the rate itself means no gain; more digits of it mean nothing.
        flow = min(envelope.flow_reduction or 0.0, float(envelope.refill_rate or 0))
        return Observation(
            envelope.tokens_left or 0,
            self._read_refill_in(envelope.refill_in_ms or 0),
            envelope.refill_rate or 0,
            int(flow * MICRO),
            seen_at,
        )

    def _read_refill_in(self, told_ms: int) -> int:
        """Return when the next lump comes; a minute where what is told cannot be.

        There is a lump each minute. One that is overdue may be in `tokensLeft` already, and counted
        again it would be spent twice.
        """
        if 0 <= told_ms <= _MINUTE_MS:
            return told_ms
        if time.monotonic() >= self._warn_at:
            self._warn_at = time.monotonic() + _WARN_AGAIN_SECONDS
            _log.warning("refill_in_out_of_range", told_ms=told_ms, taken_for_ms=_MINUTE_MS)
        return _MINUTE_MS

    async def run(self) -> None:
        """Observe for ever: at start, when the observation is old, in doubt, or on demand."""
        failures = 0
        while True:
            # Before, not after: what becomes doubtful meanwhile is looked at again.
            self._wanted.clear()
            try:
                admitted_in = await self.refresh()
            except Refusal as refusal:
                if not failures:
                    trouble = refusal.trouble if isinstance(refusal, UpstreamUnreachable) else ""
                    _log.warning("balance_not_refreshed", reason=refusal.reason, trouble=trouble)
                if isinstance(refusal, LedgerUnavailable):
                    self._answer(refusal)
                if not self._inquiry:
                    self._wanted.clear()
                await asyncio.sleep(_TRY_AGAIN_SECONDS)
                failures += 1
                # A waiter's patience is short; with nobody waiting, Keepa is left in peace.
                if not self._inquiry:
                    await self._wait_wanted(min(failures, _TRY_AGAIN_AT_MOST_SECONDS))
                continue
            failures = 0
            if admitted_in > 0:
                await asyncio.sleep(admitted_in)
                continue
            self._answer(None)
            old_in = self._fresh_seconds - self._ledger.latest.observed_ms_ago / 1000
            look_in = self._look_at - time.monotonic()
            await self._wait_wanted(max(_TRY_AGAIN_SECONDS, min(old_in, look_in)))
            if not self._inquiry:
                # Hundreds of calls that become doubtful together are asked about once.
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def refresh(self) -> float:
        """Ask Keepa, if the observation is old or in doubt and it is this gateway's turn.

        Returns:
            Seconds until calls are admitted, or until another look at what another gateway, whose
            turn it is, found out; 0: the balance is known.

        Raises:
            LedgerUnavailable: The store does not answer.
            BalanceUnknown: Keepa's answer was no reading of the bucket.
            UpstreamUnreachable, UpstreamTimeout: Keepa did not answer.
        """
        turn = self._turn
        if turn is None or time.monotonic() > turn.ends_at:
            turn = await self._ledger.claim()
        if turn.code == Code.UNKNOWN:
            return _LOOK_AGAIN_SECONDS
        if turn.code == Code.RESOLVED:
            return self._expect(turn.outlook)
        # Kept until it is used up or over: a failed attempt does not make the next one wait for it.
        self._turn = turn
        body, encoding, seen_at = await self._upstream.fetch_token()
        observation = self.read(read_envelope(body, encoding), seen_at)
        if observation is None:
            _log.error(
                "token_reading_missing",
                hint="Keepa's /token answered without a balance: is the key right?",
            )
            raise BalanceUnknown
        self._turn = None
        return self._expect(await self._ledger.observe(turn, observation))

    def _expect(self, outlook: Outlook) -> float:
        """Note when to look again; return the seconds until calls are admitted."""
        self._look_at = time.monotonic() + outlook.look_in_ms / 1000
        return outlook.admits_in_ms / 1000

    async def _wait_wanted(self, at_most_seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), at_most_seconds)

    def _answer(self, refusal: Refusal | None) -> None:
        inquiry, self._inquiry = self._inquiry, None
        if inquiry and not inquiry.done():
            inquiry.set_result(refusal)
