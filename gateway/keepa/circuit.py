"""One circuit of the circuit breaker: closed, or open for a cooldown and until a probe ends."""

import time
from collections import deque
from enum import Enum
from typing import Any

import structlog

_log: Any = structlog.get_logger(__name__)
# What a call is told to wait while a probe is under way.
_PROBING_MS = 1_000


class State(Enum):
    """Whether calls pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """The cooldown is over: a probe is due, or under way."""


class Circuit:
    """One circuit: it opens when enough of the latest calls failed, and a probe closes it.

    Args:
        failures: How many failed calls open it...
        of: ...of so many latest ones.
        cooldown_seconds: How long it then refuses before a probe.
        name: What the log says of it.
    """

    def __init__(self, failures: int, of: int, cooldown_seconds: float, **name: str) -> None:
        self._failures_at_most = failures
        self._cooldown_seconds = cooldown_seconds
        self._name = name
        self._latest: deque[bool] = deque(maxlen=of)
        """Whether each call failed."""
        self._probe_at: float | None = None
        self._is_probing = False

    @property
    def state(self) -> State:
        """Whether calls pass now."""
        if self._probe_at is None:
            return State.CLOSED
        return State.OPEN if self.probe_in_seconds > 0 else State.HALF_OPEN

    @property
    def is_closed(self) -> bool:
        """Whether all calls pass."""
        return self._probe_at is None

    @property
    def probe_in_seconds(self) -> float:
        """How long until a probe is due; 0 or less: it is."""
        return 0.0 if self._probe_at is None else self._probe_at - time.monotonic()

    def wait_ms(self, *, lets_probe: bool) -> int:
        """How long a call that comes now would have to wait; 0: it passes, perhaps as the probe."""
        if self._probe_at is None:
            return 0
        early_ms = self.probe_in_seconds * 1000
        if early_ms > 0:
            return int(early_ms) + 1
        return 0 if lets_probe and not self._is_probing else _PROBING_MS

    def take_turn(self) -> bool:
        """Say whether the call that passes now is the probe; a probe ends in one of the below."""
        self._is_probing = self._probe_at is not None
        return self._is_probing

    def give_back(self) -> None:
        """Let another call be the probe: this one was not sent."""
        self._is_probing = False

    def succeed(self, *, is_probe: bool) -> None:
        """Note a call that did not fail."""
        if self._probe_at is None:
            self._latest.append(False)
        elif is_probe:
            # Calls sent before it opened say nothing of what Keepa does now.
            self.close()

    def fail(self, *, is_probe: bool) -> None:
        """Note a call that failed."""
        if self._probe_at is None:
            self._latest.append(True)
            if sum(self._latest) >= self._failures_at_most:
                self.open()
        elif is_probe:
            self.open()

    def open(self) -> None:
        """Refuse for a cooldown, from now on."""
        self._is_probing = False
        self._probe_at = time.monotonic() + self._cooldown_seconds
        _log.warning(
            "circuit_opened",
            **self._name,
            failures=sum(self._latest),
            of=len(self._latest),
            cooldown_seconds=self._cooldown_seconds,
        )

    def close(self) -> None:
        """Let all calls pass, and count anew."""
        self._latest.clear()
        if self._probe_at is not None:
            self._probe_at = None
            self._is_probing = False
            _log.info("circuit_closed", **self._name)
