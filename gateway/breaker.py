"""The circuit breaker on Keepa: while every attempt fails, calls are refused before they reserve.

Libraries for this let any number of calls through a half-open circuit, or know no probe whose turn
is given back; and each keeps the count that is all there is to it.
"""

import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

import structlog

from gateway.errors import CircuitOpen, Refusal

_log: Any = structlog.get_logger(__name__)
# What a call is told to wait while another one is the probe.
_PROBING_MS = 1_000


class State(Enum):
    """Whether calls pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """The cooldown is over: one call may be the probe."""


class Breaker:
    """Judges Keepa by attempts in a row, for this process alone.

    Args:
        failures: How many failed attempts in a row open it.
        cooldown_seconds: How long it then refuses before a probe.
        ask: The free question that comes before a probe; raises Refusal where Keepa fails it.
    """

    def __init__(
        self, failures: int, cooldown_seconds: float, ask: Callable[[], Awaitable[object]]
    ) -> None:
        self._failures_at_most = failures
        self._cooldown_seconds = cooldown_seconds
        self._ask = ask
        self._failures = 0
        self._probe_at: float | None = None
        self._is_probing = False

    @property
    def state(self) -> State:
        """Whether calls pass now."""
        if self._probe_at is None:
            return State.CLOSED
        return State.OPEN if time.monotonic() < self._probe_at else State.HALF_OPEN

    @property
    def is_closed(self) -> bool:
        """Whether all calls pass."""
        return self._probe_at is None

    @property
    def refusal(self) -> CircuitOpen | None:
        """Why a call that came now would be refused; None: it would pass, perhaps as the probe."""
        early_ms = 0 if self._probe_at is None else (self._probe_at - time.monotonic()) * 1000
        if early_ms > 0:
            return CircuitOpen(retry_after_ms=int(early_ms) + 1)
        return CircuitOpen(retry_after_ms=_PROBING_MS) if self._is_probing else None

    async def become_probe(self) -> None:
        """Make the current call the one that tries Keepa again; it has to end in one of the below.

        Raises:
            CircuitOpen: It is too early, another call is the probe, or Keepa fails the free
                question.
        """
        if refusal := self.refusal:
            raise refusal
        self._is_probing = True
        try:
            await self._ask()
        except Refusal:
            self.fail(is_probe=True)
            raise CircuitOpen(retry_after_ms=int(self._cooldown_seconds * 1000)) from None
        except BaseException:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Let another call be the probe: this one was not sent."""
        self._is_probing = False

    def succeed(self, *, is_probe: bool) -> None:
        """Note that Keepa answered."""
        if self._probe_at is None:
            self._failures = 0
        elif is_probe:
            # Answers of calls sent before it opened say nothing of Keepa now.
            self._probe_at = None
            self._failures = 0
            self._is_probing = False
            _log.info("circuit_closed")

    def fail(self, *, is_probe: bool) -> None:
        """Note that an attempt failed: no connection, no answer in time, a cut body, a 5xx."""
        self._failures += 1
        if self._probe_at is None:
            if self._failures < self._failures_at_most:
                return
        elif not is_probe:
            return
        self._is_probing = False
        self._probe_at = time.monotonic() + self._cooldown_seconds
        _log.warning(
            "circuit_opened", failures=self._failures, cooldown_seconds=self._cooldown_seconds
        )
