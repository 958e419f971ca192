"""Callers, and what became of each call: an answer, a cut connection, or a promise broken."""

import asyncio
import time
from dataclasses import dataclass

from support.callers.crowd import BROKEN, verdict
from support.callers.mixed_calls import Request
from support.callers.refusals import read_refusal
from support.callers.wire import Answer, Caller, write_request

HANG_SECONDS = 12.0
"""Beyond every deadline there is: patience for a balance, the time-out of a call, and slack."""
TYPES = {
    "floor": "insufficientTokens",
    "ledger_unavailable": "unavailable",
    "balance_unknown": "unavailable",
    "circuit_open": "unavailable",
    "overloaded": "unavailable",
    "upstream_unreachable": "upstream",
    "upstream_timeout": "upstream",
}
"""Of every refusal that a fault may bring."""


@dataclass(frozen=True)
class End:
    """What became of one call.

    Attributes:
        verdict: `200`, `<status> <reason>`, `<status> keepa` or `page` where Keepa said it, `cut`
            or `gone` for a connection that ended, `left` for a caller who did, `hang`.
        seconds: how long it took.
        began_at: when it was made, monotonic seconds.
        problem: what is wrong with the answer; empty: nothing.
    """

    verdict: str
    seconds: float
    began_at: float
    problem: str = ""


async def call(url: str, request: Request, *, leaves: bool = False) -> End:
    """Make one call on a connection of its own; a caller who leaves does so within the body."""
    began_at = time.monotonic()
    told, problem = "gone", ""
    try:
        async with asyncio.timeout(HANG_SECONDS), Caller(url) as caller:
            await caller.send(
                write_request(
                    request.target, request.headers, method=request.method, body=request.body
                )
            )
            if leaves:
                await caller.receive_head()
                await caller.reader.read(1)
                told = "left"
            else:
                answer = await caller.receive(to=request.method)
                told = verdict(answer)
                problem = find_fault_with(answer)
    except TimeoutError:
        told = "hang"
    except BROKEN:
        pass
    return End(told, time.monotonic() - began_at, began_at, problem)


def find_fault_with(answer: Answer) -> str:
    """Say what is wrong with an answer; empty: nothing."""
    if not answer.whole:
        return ""
    try:
        is_json = (answer.get("Content-Type") or "").startswith("application/json")
        told = answer.json() if is_json else {}
        if "reason" in told:
            read_refusal(answer, answer.status, told["reason"], TYPES.get(told["reason"]))
        elif answer.status == 200:
            assert "tokensLeft" in told, "a 200 that is not Keepa's"
    except (AssertionError, ValueError, KeyError) as error:
        return f"{answer.status}: {str(error) or type(error).__name__}: {answer.body[:300]!r}"
    return ""
