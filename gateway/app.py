"""The composition root: the only place that builds concrete objects and knows them all."""

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway import __version__, tasks
from gateway.bodies import Bodies
from gateway.breaker import Breaker
from gateway.costs import CostTable
from gateway.credentials import RealKey
from gateway.dispatch import Dispatcher, Limits
from gateway.doors import guard, open_doors, request_maker
from gateway.envelope import read_envelope
from gateway.errors import Refusal
from gateway.intake import Intake
from gateway.ledger import EmbeddedStore, Ledger, RedisStore, Rules, Store
from gateway.metrics import Metrics
from gateway.observer import Observer
from gateway.proxy import Proxy
from gateway.reports import Reports
from gateway.services import Services
from gateway.settings import Settings
from gateway.simulator import SimulatorConfig, start_simulator
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
    secrets = {name: secret.get_secret_value() for name, secret in settings.service_keys.items()}
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
    proxy = Proxy(
        intake=Intake(Services(secrets), CostTable(settings.endpoint_costs), key.encoded, bodies),
        ledger=ledger,
        observer=observer,
        breaker=breaker,
        dispatcher=Dispatcher(upstream, executor, key, limits),
        slots=Slots(settings.max_concurrency, settings.max_queue),
        reports=Reports(metrics),
        limits=limits,
    )
    standing = Standing(
        settings.min_balance_threshold,
        settings.safety_buffer,
        settings.admin_token.get_secret_value(),
    )
    await store.open()
    try:
        async with _in_background(
            observer.run(), tasks.tend_ledger(ledger, settings.safety_buffer)
        ):
            yield Site(
                proxy=proxy,
                ledger=ledger,
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
    try:
        yield
    finally:
        for job in running:
            job.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """Listen; yield the gateway's own URL; at the end drain, then let calls in flight finish."""
    turnstile = make_turnstile(raise_descriptor_limit(), settings.max_concurrency)
    bodies = Bodies(_BODIES_BYTES)
    async with (
        _upstream_of(settings) as base_url,
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
async def _upstream_of(settings: Settings) -> AsyncIterator[str]:
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


@dataclass(slots=True)
class Report:
    """What `check_setup` found."""

    good: bool
    lines: list[str]


async def check_setup(settings: Settings) -> Report:
    """Reach the store and Keepa's free `/token`; nothing is reserved or changed."""
    report = Report(good=True, lines=[f"settings: good, account {settings.account_name}"])
    store = open_store(settings)
    await store.open()
    if store.up:
        report.lines.append(f"store: {store.kind} answers")
    else:
        report.good = False
        report.lines.append(f"store: {store.kind} does not answer; check REDIS_URL")
    await store.close()
    async with _upstream_of(settings) as base_url:
        upstream = Upstream(base_url, RealKey(settings.keepa_api_key.get_secret_value()).encoded)
        try:
            body, encoding, _ = await upstream.fetch_token()
            envelope = read_envelope(body, encoding)
            if envelope.has_observation:
                report.lines.append(
                    f"keepa: {envelope.tokens_left} tokens, {envelope.refill_rate} more each minute"
                )
            else:
                report.good = False
                report.lines.append("keepa: answers without a balance; check KEEPA_API_KEY")
        except Refusal as refusal:
            report.good = False
            report.lines.append(f"keepa: {str(refusal).lower()}; check KEEPA_BASE_URL and network")
        finally:
            await upstream.close()
    return report
