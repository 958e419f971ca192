"""Sends an admitted call to Keepa, and readies its answer's way back."""

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web
from multidict import MultiMapping

from gateway.call.carriage import Carriage
from gateway.call.relay import Relay
from gateway.call.screen import report_key
from gateway.errors import Overloaded
from gateway.front.door import carry_on
from gateway.front.headers import (
    forward_answer_headers,
    forward_request_headers,
    leave_out,
    own_headers,
)
from gateway.keepa.real_key import RealKey
from gateway.keepa.upstream import NotSent, Upstream


@dataclass(frozen=True, slots=True)
class Limits:
    """What forwarding needs of the settings. Times in seconds."""

    floor: int
    upstream_seconds: float
    """From the reservation to the answer's last byte."""
    hold_seconds: float
    retries: int
    """Attempts after the first."""

    def is_too_old(self, began_at: float) -> bool:
        """Say whether a hold of then (monotonic) may no longer be sent.

        It must outlive Keepa's work on its call, however long the call waited for its turn.
        """
        return time.monotonic() - began_at > self.hold_seconds - self.upstream_seconds


class Dispatcher:
    """Sends calls.

    Args:
        executor: Where large answers are inflated and searched.
        to_simulator: Whether the upstream may be a simulator, which calls may steer.
    """

    def __init__(
        self,
        upstream: Upstream,
        executor: Executor,
        real_key: RealKey,
        limits: Limits,
        *,
        to_simulator: bool,
    ) -> None:
        self._upstream = upstream
        self._executor = executor
        self._real_key = real_key
        self._limits = limits
        self._to_simulator = to_simulator

    async def send(self, request: web.BaseRequest, carriage: Carriage) -> Relay:
        """Send the call; return how its answer goes on when the answer's head is there.

        Raises:
            Overloaded: The hold is too old; nothing was sent.
            UpstreamUnreachable: As `Upstream.send`.
        """
        call, hold = carriage.call, carriage.hold
        if self._limits.is_too_old(hold.began_at):
            raise Overloaded
        headers = forward_request_headers(request.headers, to_simulator=self._to_simulator)
        if call.is_rewritten:
            headers.popall("Content-Encoding", None)
        carry_on(request)
        carriage.dispatched = True
        carriage.sent_at = time.monotonic()
        try:
            answer = await self._upstream.send(call.method, call.target, headers, call.body)
        except NotSent:
            carriage.dispatched = False
            raise
        finally:
            carriage.seen_at = time.monotonic()
            carriage.head_seconds = carriage.seen_at - carriage.sent_at
        carriage.trial.note_answer()
        carriage.status = answer.status
        carriage.is_picture = answer.status == HTTPStatus.OK and _is_picture(answer.headers)
        headers = forward_answer_headers(answer.headers)
        if leave_out(headers, self._real_key.is_in):
            report_key("headers", "left out", carriage.facts.request_id)
        headers.update(own_headers(carriage.facts, hold.tokens, carriage.facts.balance))
        carriage.relay = Relay(request, answer, headers, self._executor, self._real_key)
        return carriage.relay


def _is_picture(headers: MultiMapping[str]) -> bool:
    """`/graphimage` answers with a PNG, which has no room for token fields."""
    return headers.get("Content-Type", "").lower().startswith("image/")
