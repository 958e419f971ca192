"""What the budget costs: the gateway against a bare proxy, in one run, as ratios.

Upstream alone, bare proxy and gateway take turns on loopback with a real Redis, in many short
rounds. A ratio is the median of the ratios within each round: a machine that is slow for a while
slows both.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from support.measure.loop_watch import Findings
from support.redis.server import MISSING, REDIS_SERVER, RedisServer

from bench.load import Run, call
from bench.upstream import RATE

HERE = Path(__file__).parent
SMALL = "/product?key=k&domain=1&asin=B000000001"
CONNECTIONS = 32
# A policy that has to look at everything, and refuses nothing.
POLICIES = json.dumps(
    {
        "default": {
            "floor": 100, "tokens_per_hour": 10**9, "tokens_per_day": 10**9, "max_cost": 1000,
            "max_concurrency": 1000, "endpoints": ["product"], "code_limit": 10, "max_offers": 100,
            "overdraft": "when_full",
        }
    }
)  # fmt: skip


@contextmanager
def process(*command: str, environment: dict[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """Run a server that prints its URL first; yield URL and process id."""
    server = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HERE.parent), **(environment or {})},
        cwd=HERE,
    )
    try:
        assert server.stdout
        yield server.stdout.readline().decode().strip(), server.pid
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@contextmanager
def gateway(
    upstream: str, redis_url: str, *arguments: str, **settings: str
) -> Iterator[tuple[str, int]]:
    environment = {
        # As long as Keepa's are: a shorter one is not looked for in answers.
        "KEEPA_API_KEY": "bench" * 13,
        "KEEPA_BASE_URL": upstream,
        "REDIS_URL": redis_url,
        "RATE_LIMIT_PER_MINUTE": "0",
        **settings,
    }
    with process("serve_gateway.py", *arguments, environment=environment) as running:
        yield running


@asynccontextmanager
async def watched(url: str) -> AsyncIterator[None]:
    """Keep a dashboard open, and scrape every second."""

    async def look_on(session: aiohttp.ClientSession) -> None:
        async with session.get(f"{url}/dashboard/events") as stream:
            assert stream.status == 200
            async for _ in stream.content:
                pass

    async def scrape(session: aiohttp.ClientSession) -> None:
        while True:
            async with session.get(f"{url}/metrics") as page:
                await page.read()
            await asyncio.sleep(1)

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout()) as session:
        watchers = [asyncio.create_task(look_on(session)), asyncio.create_task(scrape(session))]
        try:
            yield
        finally:
            assert not any(watcher.done() for watcher in watchers), "a watcher gave up"
            for watcher in watchers:
                watcher.cancel()
                with suppress(asyncio.CancelledError):
                    await watcher


def memory_mib(pid: int, what: str) -> float:
    """Return VmRSS (now) or VmHWM (the most ever) of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise LookupError(what)


def median_of(rounds: list[dict[str, float]], ratio: Callable[[dict[str, float]], float]) -> str:
    values = [ratio(figures) for figures in rounds]
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f}  (half of the rounds within {low:.2f} to {high:.2f})"


async def measure_small(urls: dict[str, str], rounds: int, seconds: float) -> None:
    results: list[dict[str, float]] = []
    for _ in range(rounds):
        figures = {}
        for name, url in urls.items():
            run = await call(url, SMALL, connections=CONNECTIONS, seconds=seconds)
            assert run.statuses == ({429} if name == "refusals" else {200}), (name, run.statuses)
            figures[name] = run.per_second
        results.append(figures)
    print(f"small answers, {CONNECTIONS} connections, requests per second (median of rounds):")
    for name in urls:
        print(f"  {name:12} {statistics.median(f[name] for f in results):8.0f}")
    print(f"  gateway / bare   {median_of(results, lambda f: f['gateway'] / f['bare'])}")
    print(f"  refusals / bare  {median_of(results, lambda f: f['refusals'] / f['bare'])}")
    for name, what in (
        ("policies", "with policies"),
        ("watched", "with dashboard, scraping and alerts"),
    ):
        slower = median_of(results, lambda f, name=name: f["gateway"] / f[name])
        print(f"  {what} a call takes  {slower} times as long as without")


async def measure_large(urls: dict[str, str], pid: int, rounds: int, seconds: float) -> None:
    for order in ("first", "last"):
        target = f"/product?key=k&domain=1&asin=B000000001&answer={order}"
        await call(urls["gateway"], target, connections=1, seconds=0.1)
        before = memory_mib(pid, "VmRSS")
        results: list[dict[str, float]] = []
        idle: list[float] = []
        busy: list[float] = []
        for _ in range(rounds):
            figures = {}
            for name in ("upstream", "bare", "gateway"):
                run = await call(urls[name], target, connections=1, seconds=seconds)
                figures[name] = run.received / run.seconds / 2**20
            results.append(figures)
            idle.append((await beside(urls["gateway"], None, seconds)).median_ms)
            busy.append((await beside(urls["gateway"], target, seconds)).median_ms)
        grown = memory_mib(pid, "VmHWM") - before
        print(f"20 MB gzip answers, token fields {order}, MiB per second (median of rounds):")
        for name in ("upstream", "bare", "gateway"):
            print(f"  {name:12} {statistics.median(f[name] for f in results):8.0f}")
        print(f"  gateway / bare   {median_of(results, lambda f: f['gateway'] / f['bare'])}")
        print(f"  gateway's memory at its highest: {grown:+.1f} MiB over {before:.0f} MiB")
        print(
            f"  another call's median: {statistics.median(idle):.1f} ms alone, "
            f"{statistics.median(busy):.1f} ms meanwhile"
        )


async def beside(url: str, target: str | None, seconds: float) -> Run:
    """Return a light caller's run, beside one that streams large answers or nobody."""
    light = asyncio.create_task(call(url, SMALL, connections=1, seconds=seconds, pause=0.01))
    if target:
        await call(url, target, connections=1, seconds=seconds)
    return await light


async def measure_callbacks(upstream: str, redis_url: str, folder: Path, seconds: float) -> None:
    """Tell the longest callback under small calls and under large answers, in a run of its own."""
    file = folder / "findings.json"
    with gateway(upstream, redis_url, str(file)) as (url, pid):
        findings = Findings(pid, file)
        await call(url, SMALL, connections=4, seconds=3.5)
        findings.ask()
        print("longest callback of the event loop, processor time:")
        await call(url, SMALL, connections=CONNECTIONS, seconds=seconds)
        print(f"  small answers, {CONNECTIONS} connections  {describe(findings.ask())}")
        for order in ("first", "last"):
            await call(url, f"{SMALL}&answer={order}", connections=4, seconds=seconds)
            print(f"  20 MB gzip, fields {order:5}     {describe(findings.ask())}")


def describe(found: dict[str, Any]) -> str:
    longest = found["longest"][0]
    return (
        f"{longest['ms']:.1f} ms ({longest['gc_ms']:.1f} of it GC) of {found['callbacks']}: "
        f"{longest['what']}"
    )


async def main(rounds: int, seconds: float) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = RedisServer(folder)
        stack.callback(redis.kill)
        upstream, _ = stack.enter_context(process("upstream.py"))
        bare, _ = stack.enter_context(process("bare_proxy.py", upstream))
        serving, pid = stack.enter_context(gateway(upstream, redis.url))
        refusing, _ = stack.enter_context(
            gateway(upstream, redis.url, ACCOUNT="poor", MIN_BALANCE_THRESHOLD=str(40 * RATE))
        )
        ruled, _ = stack.enter_context(gateway(upstream, redis.url, SERVICE_POLICIES=POLICIES))
        # There is nothing to alert of: what costs is to look for it.
        seen, _ = stack.enter_context(gateway(upstream, redis.url, ALERT_WEBHOOK_URL=upstream))
        # What is compared takes its turns side by side: the machine's pace changes.
        urls = {
            "upstream": upstream,
            "refusals": refusing,
            "bare": bare,
            "gateway": serving,
            "policies": ruled,
            "watched": seen,
        }
        for url in urls.values():
            await call(url, SMALL, connections=4, seconds=3.5)
        async with watched(seen):
            await measure_small(urls, rounds, seconds)
        await measure_large(urls, pid, rounds, seconds)
        await measure_callbacks(upstream, redis.url, folder, 4 * seconds)


if __name__ == "__main__":
    if not REDIS_SERVER:
        sys.exit(MISSING)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=0.5)
    options = parser.parse_args()
    asyncio.run(main(options.rounds, options.seconds))
