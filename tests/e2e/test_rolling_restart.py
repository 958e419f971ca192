"""A rolling restart behind a balancer that keeps connections: who has a pool loses no call."""

import asyncio
import http.client
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import aiohttp
import pytest
import requests
from support.waiting import until

from e2e.balancer import Balancer

pytestmark = pytest.mark.e2e

TARGET = "/product?key=x&domain=1&asin=B0MIN00001"
CALLERS = 6
PAUSE_SECONDS = 0.1
WAYS = ("http.client", "requests", "aiohttp")
STEERED = {"X-Sim-Latency-Ms": "30"}


class Callers:
    """Calls on kept connections, one after the other, by three clients; counts those lost."""

    def __init__(self, url):
        self._url = url
        self._over = threading.Event()
        self.answered = Counter()
        self.lost = []

    async def __aenter__(self):
        ways = {"http.client": self._by_http_client, "requests": self._by_requests}
        # One thread each: asyncio's own are as many as there are processors.
        self._threads = ThreadPoolExecutor(len(ways) * CALLERS)
        loop = asyncio.get_running_loop()
        self._work = [
            loop.run_in_executor(self._threads, self._repeat, way, *make())
            for way, make in ways.items()
            for _ in range(CALLERS)
        ]
        self._work += [asyncio.create_task(self._by_aiohttp()) for _ in range(CALLERS)]
        return self

    async def __aexit__(self, *_):
        self._over.set()
        await asyncio.gather(*self._work)
        self._threads.shutdown()

    async def have_called(self):
        """Wait until each client has had some more answers."""
        before = self.answered.copy()

        def all_have():
            more = self.answered - before
            return all(more[way] > 2 * CALLERS for way in WAYS)

        await until(all_have, 30)

    def _repeat(self, way, call, close):
        while not self._over.is_set():
            try:
                self._note(way, call())
            except (OSError, http.client.HTTPException, requests.RequestException) as error:
                self.lost.append((way, repr(error)))
                close()
            time.sleep(PAUSE_SECONDS)
        close()

    def _by_http_client(self):
        kept = http.client.HTTPConnection(urlsplit(self._url).netloc, timeout=30)

        def call():
            kept.request("GET", TARGET, headers=STEERED)
            answer = kept.getresponse()
            answer.read()
            return answer.status

        return call, kept.close

    def _by_requests(self):
        session = requests.Session()
        # Neither proxies nor credentials of the machine that this runs on.
        session.trust_env = False
        url = self._url + TARGET
        return lambda: session.get(url, headers=STEERED, timeout=30).status_code, session.close

    async def _by_aiohttp(self):
        async with aiohttp.ClientSession() as session:
            while not self._over.is_set():
                try:
                    async with session.post(self._url + TARGET, headers=STEERED) as answer:
                        await answer.read()
                        self._note("aiohttp", answer.status)
                except (OSError, aiohttp.ClientError) as error:
                    self.lost.append(("aiohttp", repr(error)))
                await asyncio.sleep(PAUSE_SECONDS)

    def _note(self, way, status):
        self.answered[way] += 1
        if status != 200:
            self.lost.append((way, status))


async def test_callers_with_a_pool_lose_no_call(machines, redis, figures):
    """Two gateways are replaced under load, without a front: each call sent is answered."""
    simulator = await machines.simulate(tokens=60_000, rate=1000).started()
    settings = {
        "keepa_base_url": simulator.url, "redis_url": redis.url, "rate_limit_per_minute": 0,
        "drain_seconds": 2,
    }  # fmt: skip
    gateways = []
    for _ in range(4):
        gateways.append(await machines.serve(**settings).started())
        await gateways[-1].ready()
    old, new = gateways[:2], gateways[2:]
    async with (
        Balancer(gateway.url for gateway in old) as balancer,
        Callers(balancer.url) as callers,
    ):
        await callers.have_called()
        for gateway, successor in zip(old, new, strict=True):
            balancer.backends.append(successor.url)
            gateway.terminate()
            assert await gateway.ended(20) == 0
            balancer.backends.remove(gateway.url)
        await callers.have_called()
    figures(answered=dict(callers.answered), lost=Counter(way for way, _ in callers.lost))
    assert callers.lost == []
    assert all(
        callers.answered[way] > 2 * CALLERS for way in ("http.client", "requests", "aiohttp")
    )
    for gateway in old:
        assert gateway.logged("call")
        assert gateway.errors == ""
