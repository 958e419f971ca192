"""What a gateway does in the background, once a second."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from gateway.call.reports import Reports
from gateway.errors import LedgerUnavailable
from gateway.ledger import Ledger, ReplyLost

_log: Any = structlog.get_logger(__name__)
_TICK_SECONDS = 1.0
# Each takes Redis some microseconds.
_COUNTS_AT_A_TIME = 200


async def tend_ledger(
    ledger: Ledger, reports: Reports, safety_buffer: int, review: Callable[[int], Iterable[str]]
) -> None:
    """Renew live holds, resend what the store has not confirmed, count refusals, log low tokens.

    Args:
        ledger: The account's.
        reports: Has the refusals that policies made without asking the ledger.
        safety_buffer: Available tokens below which a warning is logged.
        review: Returns a warning for each setting that does not suit a plan of so many tokens a
            minute; called once.
    """
    is_low = is_reviewed = False
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        try:
            await ledger.keep()
            await count_refusals(ledger, reports)
        except LedgerUnavailable:
            continue
        ledger.deliver()
        balance = ledger.latest
        if balance.known and not is_reviewed:
            is_reviewed = True
            if found := list(review(balance.refill_rate)):
                _log.warning("settings_out_of_proportion", hint="; ".join(found))
        if balance.known and (balance.available + balance.doubtful < safety_buffer) != is_low:
            is_low = not is_low
            log = _log.warning if is_low else _log.info
            log(
                "below_safety_buffer" if is_low else "above_safety_buffer",
                available=balance.available,
                balance=balance.tokens,
                reserved=balance.held,
                safety_buffer=safety_buffer,
            )


async def count_refusals(ledger: Ledger, reports: Reports) -> None:
    """Have the ledger count the refusals that it was not asked about.

    Raises:
        LedgerUnavailable: The store does not answer.
    """
    while refusals := reports.take_refusals(_COUNTS_AT_A_TIME):
        try:
            await ledger.count_refusals(refusals)
        except ReplyLost:
            # They may be counted already: better one tick too few than the same twice.
            raise
        except LedgerUnavailable:
            reports.put_back(refusals)
            raise
