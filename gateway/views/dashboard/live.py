"""The live events of open dashboards: one read of the ledger a second, however many are open."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable
from itertools import count

import orjson

from gateway.balance import Balance
from gateway.call.reports import Reports
from gateway.errors import LedgerUnavailable, Overloaded
from gateway.ledger import Chronicle, Ledger, Overview, Told, UsageHistory
from gateway.views.dashboard.snapshot import describe_account, describe_refusal, describe_usage
from gateway.views.dashboard.watcher import Watcher
from gateway.views.status import Status

# A refusal shows within two seconds, at every gateway: half a second until it is in the store, one
# until it is read there, and the rest for the network.
_NOTE_SECONDS = 0.5
_LOOK_SECONDS = 1.0
# Dashboards that open at the same time share one read of the ledger.
_LOOKS_APART_SECONDS = 0.1
_SAMPLE_SECONDS = 10.0
_REFUSALS_SHOWN = 50
_WATCHERS_AT_MOST = 100


class LiveView:
    """Reads the account for all dashboards open at this gateway, while there are any.

    It also writes the chronicle, dashboards or not: a sample of the balance every ten seconds, and
    the calls that this gateway refused.
    """

    def __init__(
        self,
        ledger: Ledger,
        chronicle: Chronicle,
        history: UsageHistory,
        reports: Reports,
        status: Status,
    ) -> None:
        self._ledger = ledger
        self._chronicle = chronicle
        self._history = history
        self._reports = reports
        self._status = status
        self._watchers: set[Watcher] = set()
        self._has_come = asyncio.Event()
        self._is_closed = False
        # Unique among all gateways.
        self._numbers = (f"{secrets.token_hex(4)}-{number}" for number in count())
        # Refused here and not yet in the chronicle: when, and the refusal as JSON.
        self._pending: deque[tuple[float, str]] = deque(maxlen=_REFUSALS_SHOWN)
        self._told = Told(1, [], [])
        self._refusals = b""
        self._usage = b""
        self._usage_due = 0.0

    @property
    def watchers(self) -> int:
        """How many dashboards are open."""
        return len(self._watchers)

    def open(self, cut: Callable[[], None]) -> Watcher:
        """Register a dashboard, which the caller has to close.

        Raises:
            Overloaded: Too many are open, or the gateway is about to stop.
        """
        if self._is_closed or len(self._watchers) >= _WATCHERS_AT_MOST:
            raise Overloaded("Too many dashboards are open, or the gateway is about to stop")
        watcher = Watcher(cut)
        self._watchers.add(watcher)
        self._has_come.set()
        return watcher

    def close(self, watcher: Watcher) -> None:
        """Forget a dashboard; without any the account is not read."""
        self._watchers.discard(watcher)

    def end(self) -> None:
        """End all streams and refuse new ones: the gateway stops."""
        self._is_closed = True
        for watcher in self._watchers:
            watcher.end()

    async def run(self) -> None:
        """Write the chronicle, and send events to the dashboards, for ever."""
        async with asyncio.TaskGroup() as jobs:
            jobs.create_task(self._write_chronicle())
            jobs.create_task(self._send_events())

    async def _write_chronicle(self) -> None:
        sample_due = 0.0
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            self._take_refusals()
            now = time.monotonic()
            try:
                if now >= sample_due:
                    overview = await self._ledger.overview()
                    await self._visit(sample=(overview.balance, overview.used))
                    sample_due = now + _SAMPLE_SECONDS
                elif self._pending:
                    await self._visit()
            except LedgerUnavailable:
                continue

    async def _send_events(self) -> None:
        while True:
            if not self._watchers:
                await self._has_come.wait()
            began_at = time.monotonic()
            self._has_come.clear()
            await self._send_once()
            await asyncio.sleep(_LOOKS_APART_SECONDS)
            left = began_at + _LOOK_SECONDS - time.monotonic()
            try:
                await asyncio.wait_for(self._has_come.wait(), max(0.0, left))
            except TimeoutError:
                continue

    async def _send_once(self) -> None:
        """Read the account once, and give its events to all dashboards."""
        asks_hour = any(watcher.lacks_hour for watcher in self._watchers)
        overview: Overview | None = None
        hour, usage = b"", self._usage
        try:
            read = await self._ledger.overview()
            told = await self._visit(samples=asks_hour)
            hour = _event("hour", [list(sample) for sample in reversed(told.samples)])
            await self._refresh_usage()
            overview = read
        except LedgerUnavailable:
            self._take_refusals()
        now = _event("now", describe_account(self._status, overview, self._told.gateways))
        refusals = _event("refusals", self._latest_refusals())
        news = b"" if refusals == self._refusals else refusals
        news += b"" if self._usage == usage else self._usage
        self._refusals = refusals
        for watcher in list(self._watchers):
            lately = refusals + self._usage if watcher.is_new else news
            watcher.give((hour if watcher.lacks_hour else b"") + lately + now)
            watcher.is_new = False
            # After an outage of the store each gets the samples that it missed.
            watcher.lacks_hour = overview is None or (watcher.lacks_hour and not asks_hour)

    async def _visit(
        self, *, sample: tuple[Balance, int] | None = None, samples: bool = False
    ) -> Told:
        """Add to the chronicle what was refused here; return what it holds of all gateways."""
        self._take_refusals()
        bringing = list(self._pending)
        now = time.monotonic()
        refusals = [(int((now - at) * 1000), text) for at, text in bringing]
        told = await self._chronicle.visit(refusals=refusals, sample=sample, samples=samples)
        self._told = told
        for refusal in bringing:
            if refusal in self._pending:
                self._pending.remove(refusal)
        return told

    def _take_refusals(self) -> None:
        for refused in self._reports.take_latest():
            told = describe_refusal(refused, next(self._numbers))
            self._pending.append((refused.at, orjson.dumps(told).decode()))

    def _latest_refusals(self) -> list[dict[str, object]]:
        """Return the latest refusals, newest first: the chronicle's, and those not yet in it."""
        now = time.monotonic()
        now_ms = int(time.time() * 1000)
        known = {text for _, text in self._told.refusals}
        waiting = [
            (now_ms - int((now - at) * 1000), text)
            for at, text in self._pending
            if text not in known
        ]
        # Of those in the same millisecond, too, the order stays.
        latest = sorted(waiting[::-1] + self._told.refusals, key=lambda refusal: -refusal[0])
        return [{"at": at, **orjson.loads(text)} for at, text in latest[:_REFUSALS_SHOWN]]

    async def _refresh_usage(self) -> None:
        now = time.monotonic()
        if now >= self._usage_due:
            self._usage = _event("usage", await describe_usage(self._history))
            self._usage_due = now + _SAMPLE_SECONDS


def _event(name: str, data: object) -> bytes:
    """Return a server-sent event; JSON has no line breaks of its own."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))
