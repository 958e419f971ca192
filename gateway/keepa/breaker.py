"""The circuit breaker on Keepa: calls that would surely fail are refused before they reserve.

There are two kinds of circuits. Keepa's own opens when calls in a row get no answer at all, and
closes with the first answer to anything, the free `/token` first of all. A server that answers is
alive: an error of its own (5xx) counts only against that service's calls of that endpoint, so that
no caller is refused for what another one does.

Libraries for this let any number of calls through a half-open circuit, or know no probe whose turn
is given back; and each keeps the count that is all there is to it.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator

from gateway.errors import CircuitOpen, Refusal
from gateway.keepa.circuit import Circuit, State
from gateway.keepa.stalls import Stalls

# Of an endpoint's calls, this many for each failure are looked at: it opens when half of them fail.
_CALLS_PER_FAILURE = 2


class Breaker:
    """All circuits of this process: Keepa's, and one for each service's calls of each endpoint.

    Both names come from closed sets, so that the circuits are few.

    Args:
        failures: How many unanswered calls in a row open Keepa's circuit; and how many failed ones,
            if they are half of the latest calls or more, that of a service's endpoint.
        cooldown_seconds: How long a circuit then refuses before a probe.
        stalls: When this process itself could not run.
    """

    def __init__(self, failures: int, cooldown_seconds: float, stalls: Stalls) -> None:
        self._failures = failures
        self._cooldown_seconds = cooldown_seconds
        self._stalls = stalls
        self._keepa = Circuit(failures, failures, cooldown_seconds, circuit="keepa")
        self._endpoints: dict[tuple[str, str], Circuit] = {}
        self._answered_at = -math.inf
        self._opened = asyncio.Event()

    @property
    def state(self) -> State:
        """Of Keepa's circuit."""
        return self._keepa.state

    @property
    def is_closed(self) -> bool:
        """Whether Keepa's circuit is."""
        return self._keepa.is_closed

    def endpoints(self) -> Iterator[tuple[str, str, bool]]:
        """Yield service and endpoint of all other circuits, and whether calls are refused there."""
        for (service, endpoint), circuit in self._endpoints.items():
            yield service, endpoint, not circuit.is_closed

    def refusal(self, service: str, endpoint: str) -> CircuitOpen | None:
        """Return why such a call would be refused now; None: it would pass."""
        if wait_ms := self._keepa.wait_ms(lets_probe=False):
            return CircuitOpen(retry_after_ms=wait_ms)
        circuit = self._endpoints.get((service, endpoint))
        if circuit and (wait_ms := circuit.wait_ms(lets_probe=True)):
            return CircuitOpen(
                f"Keepa answers {service}'s {endpoint} calls with errors of its own (5xx, "
                "BREAKER_FAILURES of them); one is tried again",
                retry_after_ms=wait_ms,
            )
        return None

    def enter(self, service: str, endpoint: str) -> "Trial":
        """Let a call pass; the trial has to end.

        Raises:
            CircuitOpen: It may not.
        """
        if refusal := self.refusal(service, endpoint):
            raise refusal
        circuit = self._endpoints.get((service, endpoint))
        if circuit is None:
            circuit = self._endpoints[service, endpoint] = Circuit(
                self._failures,
                _CALLS_PER_FAILURE * self._failures,
                self._cooldown_seconds,
                circuit="endpoint",
                service=service,
                endpoint=endpoint,
            )
        return Trial(self, circuit)

    def note_answer(self) -> None:
        """Note that Keepa answered, whatever and to whom: it is alive."""
        self._answered_at = time.monotonic()
        if not self._keepa.is_closed:
            # What failed while Keepa went away says nothing of the endpoints.
            for circuit in self._endpoints.values():
                circuit.close()
            self._opened.clear()
        self._keepa.close()

    def note_silence(self, since: float) -> bool:
        """Note a call that Keepa did not answer since then; False: it answered others meanwhile."""
        if self._answered_at > since:
            return False
        self._keepa.fail(is_probe=False)
        if not self._keepa.is_closed:
            self._opened.set()
        return True

    def was_stalled(self, since: float) -> bool:
        """Say whether this process itself could not run for a while since then."""
        return self._stalls.any_since(since)

    async def run(self, ask: Callable[[], Awaitable[object]]) -> None:
        """For ever: once Keepa's circuit has cooled down, ask what costs nothing.

        So no caller's call is the probe: none is kept waiting or refused for another's failure.

        Args:
            ask: Raises Refusal where Keepa does not answer.
        """
        while True:
            await self._opened.wait()
            if (seconds := self._keepa.probe_in_seconds) > 0:
                await asyncio.sleep(seconds)
                continue
            asked_at = time.monotonic()
            try:
                await ask()
            except Refusal:
                if not self._keepa.is_closed and not self.was_stalled(asked_at):
                    self._keepa.open()
            else:
                self.note_answer()


class Trial:
    """One call's way through the circuits. It counts once, however often the call is attempted."""

    __slots__ = ("_breaker", "_circuit", "_has_ended", "_is_answered", "_is_probe")

    def __init__(self, breaker: Breaker, circuit: Circuit) -> None:
        self._breaker = breaker
        self._circuit = circuit
        self._is_probe = circuit.take_turn()
        self._is_answered = False
        self._has_ended = False

    @property
    def may_go_on(self) -> bool:
        """Whether the circuits let a further attempt pass."""
        return self._breaker.is_closed and self._circuit.is_closed

    def note_answer(self) -> None:
        """Note that the head of an answer came."""
        self._is_answered = True
        self._breaker.note_answer()

    def succeed(self) -> None:
        """End: Keepa answered, and with no error of its own."""
        self._has_ended = True
        self._circuit.succeed(is_probe=self._is_probe)

    def fail(self) -> None:
        """End: Keepa answered with an error of its own (5xx)."""
        self._has_ended = True
        self._circuit.fail(is_probe=self._is_probe)

    def break_off(self, sent_at: float) -> None:
        """End: no connection, no answer in time, or one that was cut; `sent_at` is monotonic.

        Keepa that has answered other calls meanwhile is alive, so then it is the endpoint's fault.
        """
        if self._breaker.was_stalled(sent_at):
            self.withdraw()
        elif self._is_answered or not self._breaker.note_silence(sent_at):
            self.fail()

    def withdraw(self) -> None:
        """End, unless it has ended: the call says nothing of Keepa."""
        if not self._has_ended and self._is_probe:
            self._circuit.give_back()
        self._has_ended = True
