"""The composition root: the only place that builds concrete objects and knows them all."""

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway import __version__, tasks
from gateway.allowances import Allowances
from gateway.bodies import Bodies
from gateway.breaker import Breaker
from gateway.costs import CostTable
from gateway.credentials import RealKey
from gateway.dispatch import Dispatcher, Limits
from gateway.doors import guard, open_doors, request_maker
from gateway.errors import BadSetting
from gateway.gate import Gate, Patience
from gateway.intake import Intake
from gateway.ledger import EmbeddedStore, Ledger, Line, RedisStore, Rules, Store
from gateway.metrics import Metrics
from gateway.observer import Observer
from gateway.proxy import Proxy
from gateway.quotes import Quotes
from gateway.reports import Reports
from gateway.services import Services
from gateway.settings import Settings
from gateway.simulator import SimulatorConfig, start_simulator
from gateway.status import Thresholds
from gateway.turnstile import calm_accepting, listen, make_turnstile, raise_descriptor_limit
from gateway.upstream import Slots, Upstream
from gateway.web import Site, Standing

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
        rate_per_minute=settings.rate_limit_per_minute,
        rate_burst=settings.rate_limit_burst,
        fresh_seconds=settings.balance_max_age_seconds,
        stale_seconds=settings.balance_max_age_seconds * _STALE_FACTOR,
    )


def make_allowances(settings: Settings, costs: CostTable) -> Allowances:
    """Return what each service may do.

    Raises:
        BadSetting: A policy names an endpoint that there is not.
    """
    for service, endpoint in settings.policies.endpoints_named():
        if not costs.knows(endpoint):
            raise BadSetting(
                f'SERVICE_POLICIES: service "{service}": endpoints: there is no "{endpoint}"; '
                "allowed are Keepa's, those in ENDPOINT_COSTS, and `unknown` for all others"
            )
    return Allowances(settings.policies, settings.min_balance_threshold, settings.overdraft)


@asynccontextmanager
async def running(settings: Settings, base_url: str, bodies: Bodies) -> AsyncIterator[Site]:
    """Build everything; at the end wait for what is under way.

    Args:
        settings: Checked.
        base_url: The upstream's, the simulator's where it stands in for Keepa.
        bodies: Where request bodies are counted; who has the site's answer releases them.
    """
    # The built-in simulator takes any key; this one is no secret.
    key = RealKey(settings.keepa_api_key.get_secret_value() or "none")
    rules = make_rules(settings)
    metrics = Metrics(
        CollectorRegistry(),
        floor=settings.min_balance_threshold,
        safety_buffer=settings.safety_buffer,
    )
    store = open_store(settings)
    ledger = Ledger(store, settings.account_name, rules, metrics)
    upstream = Upstream(base_url, key.encoded)
    observer = Observer(
        ledger, upstream, fresh_seconds=rules.fresh_seconds, stale_seconds=rules.stale_seconds
    )
    executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="envelope")
    costs = CostTable(settings.endpoint_costs)
    allowances = make_allowances(settings, costs)
    limits = Limits(
        settings.min_balance_threshold,
        settings.upstream_timeout_seconds,
        settings.hold_seconds,
        settings.upstream_retries,
    )
    breaker = Breaker(
        settings.breaker_failures, settings.breaker_cooldown_seconds, upstream.fetch_token
    )
    metrics.watch_breaker(lambda: not breaker.is_closed)
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
    line = Line(ledger, settings.max_queue)
    gate = Gate(
        ledger=ledger,
        line=line,
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
        breaker=breaker,
        dispatcher=Dispatcher(upstream, executor, key, limits),
        slots=slots,
        reports=reports,
        limits=limits,
    )
    standing = Standing(
        Thresholds(settings.min_balance_threshold, settings.safety_buffer),
        services=tuple(settings.policies.named()),
        enforces=settings.enforce,
        admin_token=settings.admin_token.get_secret_value(),
    )
    await store.open()
    try:
        async with _in_background(
            observer.run(),
            line.run(),
            tasks.tend_ledger(ledger, reports, settings.safety_buffer),
        ):
            yield Site(
                proxy=proxy,
                quotes=Quotes(intake, gate, settings.min_balance_threshold),
                ledger=ledger,
                line=line,
                allowances=allowances,
                observer=observer,
                breaker=breaker,
                metrics=metrics,
                standing=standing,
            )
            await proxy.finish()
            if not await ledger.delivered(_LAST_WORDS_SECONDS):
                _log.error("unconfirmed", resolutions=ledger.unconfirmed, hint="their holds expire")
    finally:
        await upstream.close()
        await store.close()
        executor.shutdown()


@asynccontextmanager
async def _in_background(*jobs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    running = [asyncio.create_task(job) for job in jobs]
    for task in running:
        task.add_done_callback(_tell_failure)
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _tell_failure(task: asyncio.Task[None]) -> None:
    """Tell of a job that ended by itself, which none may."""
    if not task.cancelled() and task.exception():
        _log.critical("background_job_failed", exc_info=task.exception())


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """Listen; yield the gateway's own URL; at the end drain, then let calls in flight finish."""
    turnstile = make_turnstile(raise_descriptor_limit(), settings.max_concurrency)
    bodies = Bodies(_BODIES_BYTES)
    async with (
        upstream_of(settings) as base_url,
        running(settings, base_url, bodies) as site,
    ):
        server = web.Server(guard(site.answer, bodies), request_factory=request_maker())
        # Time for the slowest call: its own deadline ends it, not ours.
        runner = web.ServerRunner(server, shutdown_timeout=settings.upstream_timeout_seconds + 5)
        await runner.setup()
        listener = await listen(
            open_doors(server, turnstile, settings.upstream_timeout_seconds),
            settings.host,
            settings.port,
        )
        host, port = listener.sockets[0].getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        _log.info("listening", url=url, version=__version__, connections=turnstile.at_most)
        try:
            with calm_accepting():
                yield url
            # Whoever routes calls here has to see /readyz before the listener goes.
            site.standing.draining = True
            await asyncio.sleep(settings.drain_seconds)
        finally:
            listener.close()
            site.line.close()
            # A caller let in just now has yet to say what for; aiohttp neither hears nor closes a
            # connection that is only being made, and would wait for it until its own time-out.
            await asyncio.sleep(_LAST_CALLERS_SECONDS)
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
