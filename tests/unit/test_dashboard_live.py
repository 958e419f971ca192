"""What open dashboards are sent, on the embedded store."""

import asyncio
import time
from contextlib import asynccontextmanager

import orjson
import pytest
from prometheus_client import CollectorRegistry
from support.callers.records import make_record
from support.ledger.calls import know
from support.waiting import until

from gateway.call.allowances import Allowances
from gateway.call.reports import Reports
from gateway.errors import InsufficientTokensError, MaxCost, Overloaded
from gateway.keepa.breaker import Breaker
from gateway.keepa.stalls import Stalls
from gateway.ledger import Chronicle, EmbeddedStore, Ledger, Rules, UsageHistory
from gateway.metrics import Metrics
from gateway.settings.policies import read_policies
from gateway.views.dashboard import LiveView
from gateway.views.status import Status


class Scripts:
    """Counts the transitions that ran."""

    def __init__(self):
        self.looks = 0

    def replied(self, script, seconds, events):
        self.looks += script == "overview"


class Page:
    """An open dashboard that reads all it is sent."""

    def __init__(self, live):
        self.chunks = []
        self.is_cut = False
        self.watcher = live.open(self.cut)
        self.reading = asyncio.create_task(self.watcher.receive(self.send))

    def cut(self):
        self.is_cut = True

    async def send(self, chunk):
        self.chunks.append(chunk)

    def told(self, name):
        """Return the data of all events of that name."""
        found = []
        for block in b"".join(self.chunks).split(b"\n\n")[:-1]:
            first, data = block.split(b"\n")
            if first == b"event: " + name.encode():
                found.append(orjson.loads(data.removeprefix(b"data: ")))
        return found


@asynccontextmanager
async def showing():
    """Yield a running live view, its reports, its ledger, and the count of looks."""
    store, scripts = EmbeddedStore(), Scripts()
    await store.open()
    ledger = Ledger(store, "unit", Rules(60, 0, 1, 60, 300), scripts)
    reports = Reports(Metrics(CollectorRegistry(), floor=10, safety_buffer=20))
    policies = read_policies("{}", 10, ())
    status = Status(
        floor=10,
        safety_buffer=20,
        allowances=Allowances(policies, 10, "never"),
        services=(),
        breaker=Breaker(5, 30, Stalls()),
        store="embedded",
        enforces=True,
        is_simulated=lambda: False,
        max_age_seconds=60,
        repeated_tokens=lambda: reports.repeated_tokens,
    )
    history = UsageHistory(store, "unit")
    live = LiveView(ledger, Chronicle(store, "unit"), history, reports, status)
    running = asyncio.create_task(live.run())
    try:
        yield live, reports, ledger, scripts
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()


def refuse(reports, service="shop", required=50):
    record = make_record(endpoint="product", service=service, required_tokens=required, floor=10)
    reports.refused(record, InsufficientTokensError(retry_after_ms=None))


async def test_ten_dashboards_share_one_look_a_second():
    """However many dashboards are open, the ledger is looked at once a second for all."""
    async with showing() as (live, _, _, scripts):
        pages = [Page(live) for _ in range(10)]
        began_at = time.monotonic()
        await until(lambda: all(len(page.told("now")) >= 3 for page in pages))
        seconds = time.monotonic() - began_at
        # One at once, one for the sample, and one each second.
        assert scripts.looks <= seconds + 3
        assert {chunk for page in pages[1:] for chunk in page.chunks} <= set(pages[0].chunks)


async def test_nobody_looks_when_nothing_is_open():
    """Once the last dashboard is closed the ledger is left alone."""
    async with showing() as (live, _, _, scripts):
        page = Page(live)
        await until(lambda: page.told("now"))
        live.close(page.watcher)
        await until(lambda: scripts.looks >= 2)
        before = scripts.looks
        await asyncio.sleep(1.3)  # a second is what looking would show in
        assert scripts.looks <= before + 1
        assert live.watchers == 0


async def test_newcomer_gets_all_at_once():
    """A page that opens is told the last hour, the refusals and the present before anything."""
    async with showing() as (live, reports, ledger, _):
        await know(ledger, 500)
        refuse(reports)
        first = Page(live)
        await until(lambda: first.told("hour") and first.told("hour")[-1] is not None)
        page = Page(live)
        await until(lambda: page.chunks)
        assert [line for line in page.chunks[0].split(b"\n") if line.startswith(b"event")] == [
            b"event: hour", b"event: refusals", b"event: usage", b"event: now",
        ]  # fmt: skip
        assert page.told("now")[0]["tokens"]["remaining"] == 500
        assert page.told("now")[0]["repeated_tokens"]["24h"] == {"tokens": 0, "minutes": 0.0}
        assert page.told("refusals")[0][0]["service"] == "shop"


async def test_refusals_are_sent_when_there_are_new_ones():
    """A page is told the refusals again only when another one has come."""
    async with showing() as (live, reports, _, _):
        page = Page(live)
        await until(lambda: len(page.told("now")) >= 2)
        assert len(page.told("refusals")) == 1
        refuse(reports)
        await until(lambda: len(page.told("refusals")) == 2, 2)
        [shown] = page.told("refusals")[-1]
        assert shown.pop("number")
        assert abs(shown.pop("at") - time.time() * 1000) < 5000
        assert shown == {
            "service": "shop", "endpoint": "product", "reason": "floor", "required": 50,
            "deficit": 60, "enforced": True,
        }  # fmt: skip


async def test_a_flood_of_refusals_leaves_the_newest_fifty():
    """Of a thousand refusals the page is told the last fifty, newest first."""
    async with showing() as (live, reports, _, _):
        for number in range(1000):
            refuse(reports, required=number)
        page = Page(live)
        await until(lambda: page.told("refusals"))
        needed = [refusal["required"] for refusal in page.told("refusals")[-1]]
        assert needed == list(range(999, 949, -1))


async def test_what_shadow_mode_let_through_is_told_apart():
    """A call that would have been refused is listed as one that went through."""
    async with showing() as (live, reports, _, _):
        record = make_record(endpoint="product", service="shop", required_tokens=50)
        reports.let_through(record, MaxCost(asked=50, limit=10))
        page = Page(live)
        await until(lambda: page.told("refusals"))
        [shown] = page.told("refusals")[0]
        assert (shown["enforced"], shown["reason"]) == (False, "max_cost")


async def test_who_does_not_read_is_cut_off():
    """A page that takes nothing is cut off when it is ten seconds behind; others are not."""
    async with showing() as (live, _, _, _):
        page = Page(live)
        stuck = Page(live)
        stuck.reading.cancel()
        await asyncio.gather(stuck.reading, return_exceptions=True)
        for _ in range(10):
            stuck.watcher.give(b"event")
            assert not stuck.is_cut
        stuck.watcher.give(b"one more")
        assert stuck.is_cut
        await until(lambda: page.told("now"))
        assert not page.is_cut


async def test_end_ends_readers_and_cuts_the_stuck():
    """At the end of the gateway streams end; one in the middle of sending is cut."""
    async with showing() as (live, _, _, _):
        page, stuck = Page(live), Page(live)
        stuck.reading.cancel()
        never = asyncio.Event()

        async def send(_):
            await never.wait()

        reading = asyncio.create_task(stuck.watcher.receive(send))
        await until(lambda: page.told("now"))
        live.end()
        await asyncio.wait_for(page.reading, 1)
        assert not page.is_cut
        assert stuck.is_cut
        reading.cancel()
        with pytest.raises(Overloaded):
            live.open(stuck.cut)


async def test_open_dashboards_are_bounded():
    """Beyond a hundred open dashboards another one is refused."""
    async with showing() as (live, _, _, _):
        watchers = [live.open(lambda: None) for _ in range(100)]
        with pytest.raises(Overloaded):
            live.open(lambda: None)
        live.close(watchers[0])
        live.open(lambda: None)
