"""Runs a gateway: its parts in their order, its listener, and a quiet end."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from typing import Any

import structlog

from gateway import __version__, tasks
from gateway.app.parts import Calls, list_jobs, make_account, make_calls, make_keepa, make_metrics
from gateway.app.site import make_site
from gateway.errors import LedgerUnavailable
from gateway.front.bodies import Bodies
from gateway.front.server import Server
from gateway.front.turnstile import Turnstile, make_turnstile
from gateway.jobs import in_background
from gateway.keepa.upstream import Upstream
from gateway.ledger import Ledger, Store
from gateway.machine import Machine
from gateway.settings import Settings
from gateway.simulator import SimulatorConfig, start_simulator
from gateway.views.site import Site

_log: Any = structlog.get_logger(__name__)

_YOUNG_OBJECTS = 20_000
# Of all request bodies under way, each of which may have 16 MiB.
_BODIES_BYTES = 256 * 1024 * 1024
_LAST_CALLERS_SECONDS = 0.1
# What the store gets to confirm the last resolutions before the process ends.
_LAST_WORDS_SECONDS = 3.0


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
    """Build everything and run it; at the end wait for what is under way.

    Args:
        settings: Checked.
        base_url: The upstream's, the simulator's where it stands in for Keepa.
        bodies: Where request bodies are counted; who has the site's answer releases them.
        turnstile: Where callers are counted.
        give_up: As of `serving`.
        machine: As of `serving`.
    """
    metrics = make_metrics(settings)
    account = make_account(settings, metrics)
    keepa = make_keepa(settings, base_url, account.ledger, metrics)
    with _threads(machine) as executor:
        calls = make_calls(
            settings,
            account,
            keepa,
            bodies,
            metrics=metrics,
            executor=executor,
            # Keepa speaks https: what does not is a simulator, or something else of the house.
            to_simulator=base_url.startswith("http://"),
        )
        site = make_site(
            settings,
            account,
            keepa,
            calls,
            metrics=metrics,
            turnstile=turnstile,
            machine=machine,
        )
        jobs = list_jobs(settings, account, keepa, calls.reports, site.dashboard.live.run)
        async with (
            _opened(account.ledger.store, keepa.upstream),
            in_background(jobs, metrics.job_restarted, give_up),
        ):
            yield site
            await _finish(calls, account.ledger)


@contextmanager
def _threads(machine: Machine) -> Iterator[Executor]:
    """Yield where large answers are read."""
    executor = machine.make_executor()
    try:
        yield executor
    finally:
        executor.shutdown()


@asynccontextmanager
async def _opened(store: Store, upstream: Upstream) -> AsyncIterator[None]:
    """Open the store; at the end close it and the connections to Keepa."""
    await store.open()
    try:
        yield
    finally:
        upstream.close()
        await store.close()


async def _finish(calls: Calls, ledger: Ledger) -> None:
    """Wait for calls whose callers have left, and have the store confirm all that they did."""
    await calls.proxy.finish()
    with suppress(LedgerUnavailable):
        await tasks.count_refusals(ledger, calls.reports)
    if not await ledger.delivered(_LAST_WORDS_SECONDS):
        _log.error(
            "resolutions_unconfirmed", resolutions=ledger.unconfirmed, hint="their holds expire"
        )


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
        server = Server(
            site.answer,
            bodies,
            turnstile,
            stall_seconds=settings.upstream_timeout_seconds,
            keepalive_seconds=settings.keepalive_seconds,
            new_id=new_id,
        )
        listener = await machine.listen(server.connect, settings.host, settings.port)
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
            site.dashboard.live.end()
            # A caller let in just now has yet to say what for.
            await asyncio.sleep(_LAST_CALLERS_SECONDS)
            # Idle connections go last: a call may be on its way on any of them. The slowest call is
            # ended by its own deadline, not here.
            await server.last_responses(settings.upstream_timeout_seconds + 5)
            await server.close()
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
