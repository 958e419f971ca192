"""What open dashboards are sent: one look a second, whatever their number."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count

import orjson

from gateway.balance import Balance
from gateway.call.reports import Reports
from gateway.errors import LedgerUnavailable, Overloaded
from gateway.ledger import Chronicle, Ledger, Overview, Told, UsageHistory
from gateway.views.picture import Setting, describe_moment, describe_refusal, describe_usage

# A refusal shows within two seconds, at every gateway: half of one until it is in the store, one
# until it is read there, and the rest for the ways.
_NOTE_SECONDS = 0.5
_LOOK_SECONDS = 1.0
# Dashboards that come all at once share a look.
_LOOKS_APART_SECONDS = 0.1
_SAMPLE_SECONDS = 10.0
_REFUSALS_SHOWN = 50
# Who is so many seconds behind does not read: its connection is cut, and it may come again.
_BEHIND_AT_MOST = 10
_WATCHERS_AT_MOST = 100


class Watcher:
    """One open dashboard.

    Args:
        cut: Ends its connection at once, whatever is still to be sent on it.
    """

    def __init__(self, cut: Callable[[], None]) -> None:
        self.is_new = True
        self.lacks_hour = True
        """Whether it has yet to be sent the last hour."""
        self._cut = cut
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_BEHIND_AT_MOST)
        self._is_sending = False

    def give(self, chunk: bytes) -> None:
        """Have it sent; one who is too far behind is cut off."""
        try:
            self._chunks.put_nowait(chunk)
        except asyncio.QueueFull:
            self._cut()

    def end(self) -> None:
        """Let its stream end; at once, where it does not read."""
        if self._is_sending:
            self._cut()
        else:
            self.give(b"")

    async def receive(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what it is given, until the stream ends."""
        while chunk := await self._chunks.get():
            self._is_sending = True
            await send(chunk)
            self._is_sending = False


class Feed:
    """Looks at the account for all dashboards open at this gateway, while there are any.

    Beside that it keeps up the chronicle, whoever watches: a sample each ten seconds, and what was
    refused here.
    """

    def __init__(
        self,
        ledger: Ledger,
        chronicle: Chronicle,
        history: UsageHistory,
        reports: Reports,
        setting: Setting,
    ) -> None:
        self._ledger = ledger
        self._chronicle = chronicle
        self._history = history
        self._reports = reports
        self._setting = setting
        self._watchers: set[Watcher] = set()
        self._has_come = asyncio.Event()
        self._is_closed = False
        # Texts like no other gateway's.
        self._numbers = (f"{secrets.token_hex(4)}-{number}" for number in count())
        # Refused here, and not in the chronicle yet.
        self._pending: deque[tuple[float, str]] = deque(maxlen=_REFUSALS_SHOWN)
        self._told = Told(1, [], [])
        self._shown = b""
        self._usage = b""
        self._usage_due = 0.0

    @property
    def watchers(self) -> int:
        """How many dashboards are open."""
        return len(self._watchers)

    def open(self, cut: Callable[[], None]) -> Watcher:
        """Count a dashboard in; whoever opened it closes it.

        Raises:
            Overloaded: There are too many, or the gateway is about to end.
        """
        if self._is_closed or len(self._watchers) >= _WATCHERS_AT_MOST:
            raise Overloaded("Too many dashboards are open, or the gateway is about to stop")
        watcher = Watcher(cut)
        self._watchers.add(watcher)
        self._has_come.set()
        return watcher

    def close(self, watcher: Watcher) -> None:
        """Count a dashboard out; after the last one nobody looks any more."""
        self._watchers.discard(watcher)

    def end(self) -> None:
        """End all streams and open no more: the gateway stops."""
        self._is_closed = True
        for watcher in self._watchers:
            watcher.end()

    async def run(self) -> None:
        """Keep up the chronicle, and have the dashboards shown the account."""
        async with asyncio.TaskGroup() as jobs:
            jobs.create_task(self._keep_chronicle())
            jobs.create_task(self._show_on())

    async def _keep_chronicle(self) -> None:
        sample_due = 0.0
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            self._take_refusals()
            now = time.monotonic()
            try:
                if now >= sample_due:
                    look = await self._ledger.overview()
                    await self._visit(sample=(look.balance, look.used))
                    sample_due = now + _SAMPLE_SECONDS
                elif self._pending:
                    await self._visit()
            except LedgerUnavailable:
                continue

    async def _show_on(self) -> None:
        while True:
            if not self._watchers:
                await self._has_come.wait()
            began_at = time.monotonic()
            self._has_come.clear()
            await self._show()
            await asyncio.sleep(_LOOKS_APART_SECONDS)
            left = began_at + _LOOK_SECONDS - time.monotonic()
            try:
                await asyncio.wait_for(self._has_come.wait(), max(0.0, left))
            except TimeoutError:
                continue

    async def _show(self) -> None:
        """Look once, and give what was seen to all."""
        asks_hour = any(watcher.lacks_hour for watcher in self._watchers)
        look: Overview | None = None
        hour, usage = b"", self._usage
        try:
            seen = await self._ledger.overview()
            told = await self._visit(samples=asks_hour)
            hour = _event("hour", [list(sample) for sample in reversed(told.samples)])
            await self._refresh_usage()
            look = seen
        except LedgerUnavailable:
            self._take_refusals()
        now = _event("now", describe_moment(self._setting, look, self._told.gateways))
        refusals = _event("refusals", self._latest_refusals())
        news = b"" if refusals == self._shown else refusals
        news += b"" if self._usage == usage else self._usage
        self._shown = refusals
        for watcher in list(self._watchers):
            lately = refusals + self._usage if watcher.is_new else news
            watcher.give((hour if watcher.lacks_hour else b"") + lately + now)
            watcher.is_new = False
            # After an outage all are told what they missed.
            watcher.lacks_hour = look is None or (watcher.lacks_hour and not asks_hour)

    async def _visit(
        self, *, sample: tuple[Balance, int] | None = None, samples: bool = False
    ) -> Told:
        """Bring to the chronicle what was refused here, and hear what was refused anywhere."""
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
        """Return the latest refusals, newest first: of all gateways, and those still to be told."""
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
