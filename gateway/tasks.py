"""What a gateway does by itself, once a second."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from gateway.call.reports import Reports
from gateway.errors import LedgerUnavailable
from gateway.ledger import Ledger, ReplyLost

_log: Any = structlog.get_logger(__name__)
_TICK_SECONDS = 1.0
# Each costs Redis some microseconds.
_COUNTS_AT_A_TIME = 200


async def tend_ledger(
    ledger: Ledger, reports: Reports, safety_buffer: int, review: Callable[[int], Iterable[str]]
) -> None:
    """Keep live holds known, resend what the store has not confirmed, warn when tokens run low.

    And have the ledger count the refusals that it was not asked about.

    Args:
        ledger: The account's.
        reports: Knows those refusals.
        safety_buffer: Below so many available tokens it warns.
        review: Returns what does not suit a plan of so many tokens a minute; asked once.
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
    """Have the ledger count the refusals that it was not asked about; raises LedgerUnavailable."""
    while refusals := reports.take_refusals(_COUNTS_AT_A_TIME):
        try:
            await ledger.count_refusals(refusals)
        except ReplyLost:
            # Perhaps counted: rather one tick's too few than the same twice.
            raise
        except LedgerUnavailable:
            reports.put_back(refusals)
            raise
