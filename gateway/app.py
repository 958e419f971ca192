"""The composition root: the only place that builds concrete objects and knows them all."""

import asyncio
import gc
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from typing import Any, Literal

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway import __version__, tasks
from gateway.alerts import Alerts
from gateway.alerts.conditions import Alarm, BalanceBelow, Drift, KeepaOutage, StoreOutage
from gateway.alerts.outages import Outages
from gateway.alerts.texts import About
from gateway.alerts.webhook import Webhook
from gateway.balance import Balance
from gateway.call.allowances import Allowances
from gateway.call.dispatch import Dispatcher, Limits
from gateway.call.gate import Gate, Patience
from gateway.call.intake import Intake
from gateway.call.observer import Observer
from gateway.call.proxy import Proxy
from gateway.call.quotes import Quotes
from gateway.call.reports import Reports
from gateway.call.services import Services
from gateway.errors import LedgerUnavailable
from gateway.front.bodies import Bodies
from gateway.front.doors import guard, last_answers, open_doors, request_maker
from gateway.front.turnstile import Turnstile, make_turnstile
from gateway.jobs import Job, in_background
from gateway.keepa.breaker import Breaker
from gateway.keepa.costs import CostTable
from gateway.keepa.real_key import RealKey
from gateway.keepa.stalls import Stalls
from gateway.keepa.upstream import Slots, Upstream
from gateway.ledger import (
    AUTO,
    Alarms,
    Chronicle,
    EmbeddedStore,
    Ledger,
    Queue,
    RedisStore,
    Rules,
    Store,
    UsageHistory,
)
from gateway.machine import Machine
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.simulator import SimulatorConfig, start_simulator
from gateway.views.admin import Admin
from gateway.views.dashboard import Dashboard, Sessions
from gateway.views.feed import Feed
from gateway.views.picture import Setting
from gateway.views.review import check_endpoint_names, review_plan
from gateway.views.site import Site, Standing
from gateway.views.status import Thresholds
from gateway.views.usage import UsagePage

_log: Any = structlog.get_logger(__name__)

# An observation so many times older than it should be is no ground to spend on.
_STALE_FACTOR = 5
_YOUNG_OBJECTS = 20_000
# Of all request bodies under way, each of which may have 16 MiB.
_BODIES_BYTES = 256 * 1024 * 1024
_LAST_CALLERS_SECONDS = 0.1
# What the store gets to confirm the last resolutions before the process ends.
_LAST_WORDS_SECONDS = 3.0


def open_store(settings: Settings) -> Store:
    """Return the store that the settings ask for, not yet opened."""
    url = settings.redis_url.get_secret_value()
    if url:
        return RedisStore(url, settings.account_name)
    _log.warning("embedded_store", hint="one process only, nothing is kept; set REDIS_URL to share")
    return EmbeddedStore()


def make_rules(settings: Settings) -> Rules:
    """Return what the ledger needs of the settings."""
    return Rules(
        hold_seconds=settings.hold_seconds,
        rate_per_minute=_rate_of(settings.rate_limit_per_minute),
        rate_burst=_rate_of(settings.rate_limit_burst),
        fresh_seconds=settings.balance_max_age_seconds,
        stale_seconds=settings.balance_max_age_seconds * _STALE_FACTOR,
    )


def _rate_of(setting: int | Literal["auto"]) -> int:
    return AUTO if setting == "auto" else setting


def make_allowances(settings: Settings, costs: CostTable) -> Allowances:
    """Return what each service may do.

    Raises:
        BadSetting: A setting names an endpoint that there is not, or must name none.
    """
    check_endpoint_names(settings, costs)
    return Allowances(settings.policies, settings.min_balance_threshold, settings.overdraft)


def make_about(settings: Settings) -> About:
    """Return whom alerts are about."""
    gateway = f"{socket.gethostname()}:{os.getpid()}"
    return About(settings.account_name, gateway, settings.min_balance_threshold)


def make_alerts(
    settings: Settings, ledger: Ledger, observer: Observer, breaker: Breaker, drift: Drift
) -> Alerts:
    """Return what posts alerts to the webhook."""

    def read_balance() -> Balance | None:
        return ledger.latest if observer.knows else None

    floor, account = settings.min_balance_threshold, settings.account_name
    about = make_about(settings)
    webhook = Webhook(settings.alert_webhook_url.get_secret_value())
    return Alerts(
        ledger=ledger,
        alarms=Alarms(ledger.store, account, about.gateway),
        conditions=(
            BalanceBelow(Alarm.BELOW_FLOOR, floor, read_balance),
            BalanceBelow(Alarm.BALANCE_LOW, settings.alert_balance, read_balance),
            drift,
            KeepaOutage(lambda: not breaker.is_closed),
        ),
        outages=Outages(
            ledger=ledger,
            # A post that fails and is tried again takes longer than the usual claim.
            alarms=Alarms(ledger.store, account, about.gateway, claim_seconds=60.0),
            outage=StoreOutage(lambda: ledger.store.up),
            webhook=webhook,
            about=about,
        ),
        webhook=webhook,
        about=about,
    )


@asynccontextmanager
async def running(
    settings: Settings,
    base_url: str,
    bodies: Bodies,
    turnstile: Turnstile,
    *,
    give_up: Callable[[], None],
    machine: Machine,
) -> AsyncIterator[Site]:
    """Build everything; at the end wait for what is under way.

    Args:
        settings: Checked.
        base_url: The upstream's, the simulator's where it stands in for Keepa.
        bodies: Where request bodies are counted; who has the site's answer releases them.
        turnstile: Where callers are counted.
        give_up: As of `serving`.
        machine: As of `serving`.
    """
    # The built-in simulator takes any key; this one is no secret.
    key = RealKey(settings.keepa_api_key.get_secret_value() or "none")
    costs = CostTable(settings.endpoint_costs)
    allowances = make_allowances(settings, costs)
    rules = make_rules(settings)
    metrics = Metrics(
        CollectorRegistry(),
        floor=settings.min_balance_threshold,
        safety_buffer=settings.safety_buffer,
        alert_balance=settings.alert_balance,
        balance_max_age_seconds=settings.balance_max_age_seconds,
    )
    store = open_store(settings)
    drift = Drift(metrics, time.monotonic)
    has_webhook = bool(settings.alert_webhook_url.get_secret_value())
    ledger = Ledger(store, settings.account_name, rules, drift if has_webhook else metrics)
    stalls = Stalls()
    breaker = Breaker(settings.breaker_failures, settings.breaker_cooldown_seconds, stalls)
    metrics.watch_breaker(lambda: not breaker.is_closed, breaker.endpoints)
    upstream = Upstream(base_url, key.encoded, breaker.note_answer)
    observer = Observer(
        ledger, upstream, fresh_seconds=rules.fresh_seconds, stale_seconds=rules.stale_seconds
    )
    executor = machine.make_executor()
    limits = Limits(
        settings.min_balance_threshold,
        settings.upstream_timeout_seconds,
        settings.hold_seconds,
        settings.upstream_retries,
    )
    intake = Intake(
        services=Services(settings.service_secrets, settings.policies.named()),
        allowances=allowances,
        costs=costs,
        real_key=key.encoded,
        bodies=bodies,
        fills_limits=settings.enforce,
    )
    slots = Slots(settings.max_concurrency, settings.max_queue)
    reports = Reports(metrics)
    queue = Queue(ledger, settings.max_queue)
    gate = Gate(
        ledger=ledger,
        queue=queue,
        observer=observer,
        breaker=breaker,
        slots=slots,
        reports=reports,
        patience=Patience(settings.default_wait_seconds, settings.max_wait_seconds),
        enforces=settings.enforce,
    )
    proxy = Proxy(
        intake=intake,
        gate=gate,
        ledger=ledger,
        observer=observer,
        # Keepa speaks https: what does not is a simulator, or something else of the house.
        dispatcher=Dispatcher(
            upstream, executor, key, limits, to_simulator=base_url.startswith("http://")
        ),
        slots=slots,
        reports=reports,
        limits=limits,
    )
    alerts = make_alerts(settings, ledger, observer, breaker, drift) if has_webhook else None
    standing = Standing(
        Thresholds(settings.min_balance_threshold, settings.safety_buffer),
        services=tuple(settings.policies.named()),
        enforces=settings.enforce,
    )
    admin_token = settings.admin_token.get_secret_value()
    admin = Admin(admin_token)
    history = UsageHistory(store, settings.account_name)
    feed = Feed(
        ledger,
        Chronicle(store, settings.account_name),
        history,
        reports,
        Setting(
            thresholds=standing.thresholds,
            allowances=allowances,
            services=standing.services,
            breaker=breaker,
            store=store.kind,
            enforces=settings.enforce,
            is_simulated=lambda: settings.simulated or upstream.is_simulated,
            max_age_seconds=settings.balance_max_age_seconds,
        ),
    )
    jobs: dict[str, Job] = {
        "feed": feed.run,
        "observer": observer.run,
        "breaker": partial(breaker.run, upstream.fetch_token),
        "stalls": stalls.watch,
        "queue": queue.run,
        "tend": partial(
            tasks.tend_ledger,
            ledger,
            reports,
            settings.safety_buffer,
            partial(review_plan, settings),
        ),
    }
    if alerts:
        jobs["alerts"] = alerts.run
    await store.open()
    try:
        async with in_background(jobs, metrics.job_restarted, give_up):
            yield Site(
                proxy=proxy,
                quotes=Quotes(intake, gate, settings.min_balance_threshold),
                usage=UsagePage(history, settings.account_name, machine.clock),
                ledger=ledger,
                queue=queue,
                allowances=allowances,
                observer=observer,
                breaker=breaker,
                metrics=metrics,
                dashboard=Dashboard(feed, admin, Sessions(admin_token)),
                standing=standing,
                admin=admin,
                turnstile=turnstile,
            )
            await proxy.finish()
            with suppress(LedgerUnavailable):
                await tasks.count_refusals(ledger, reports)
            if not await ledger.delivered(_LAST_WORDS_SECONDS):
                _log.error("unconfirmed", resolutions=ledger.unconfirmed, hint="their holds expire")
    finally:
        upstream.close()
        await store.close()
        executor.shutdown()


@asynccontextmanager
async def serving(
    settings: Settings, give_up: Callable[[], None] = lambda: None, machine: Machine | None = None
) -> AsyncIterator[str]:
    """Listen; yield the gateway's own URL; at the end drain, then let calls in flight finish.

    Args:
        settings: Checked.
        give_up: Called where a background job keeps crashing: leave the block, and fail.
        machine: Where it runs; None: here.
    """
    machine = machine or Machine()
    new_id = map(f"{machine.name_process()}-{{:x}}".format, count(1)).__next__
    turnstile = make_turnstile(machine.descriptors(), settings.max_concurrency)
    bodies = Bodies(_BODIES_BYTES)
    async with (
        upstream_of(settings) as base_url,
        running(settings, base_url, bodies, turnstile, give_up=give_up, machine=machine) as site,
    ):
        server = web.Server(guard(site.answer, bodies), request_factory=request_maker())
        # Time for the slowest call: its own deadline ends it, not ours.
        longest_seconds = settings.upstream_timeout_seconds + 5
        runner = web.ServerRunner(server, shutdown_timeout=longest_seconds)
        await runner.setup()
        listener = await machine.listen(
            open_doors(
                server,
                turnstile,
                settings.upstream_timeout_seconds,
                settings.keepalive_seconds,
                new_id,
            ),
            settings.host,
            settings.port,
        )
        host, port = listener.sockets[0].getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        _log.info("listening", url=url, version=__version__, connections=turnstile.at_most)
        try:
            yield url
            # Whoever routes calls here has to see /readyz before the listener goes, and who keeps a
            # connection here has to be told to leave it.
            turnstile.is_draining = True
            await asyncio.sleep(settings.drain_seconds)
        finally:
            turnstile.is_draining = True
            listener.close()
            site.queue.close()
            site.dashboard.feed.end()
            # A caller let in just now has yet to say what for; aiohttp neither hears nor closes a
            # connection that is only being made, and would wait for it until its own time-out.
            await asyncio.sleep(_LAST_CALLERS_SECONDS)
            # Idle connections go last: a call may be on its way on any of them.
            await last_answers(server, longest_seconds)
            await runner.cleanup()
            _log.info("stopped")


def settle_memory() -> None:
    """Have the garbage collector look less often, and not at what lives as long as the process.

    Calls in flight are thousands of young objects, nearly all of which go without its help: looking
    through them each time another 700 came took an eighth of the processor time of small calls.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 10)


@asynccontextmanager
async def upstream_of(settings: Settings) -> AsyncIterator[str]:
    """Yield the upstream's URL: Keepa's, or that of a simulator started for the while."""
    if not settings.simulated:
        yield settings.keepa_base_url
        return
    simulator = await start_simulator(SimulatorConfig(), "127.0.0.1", 0)
    _log.warning(
        "SIMULATED", hint="no real Keepa: prices and products are made up", url=simulator.url
    )
    try:
        yield simulator.url
    finally:
        await simulator.close()
