"""The stock Python client, sync and async behind one face, as programs make and use it."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

import keepa

SERVICE_KEY = "k" * 64
ASINS = ["B000000001", "B000000002"]


class Sync:
    """keepa.Keepa, in a thread of its own."""

    def __init__(self, key: str = SERVICE_KEY) -> None:
        self.client = keepa.Keepa(key)

    async def query(self, *items: Any, **options: Any) -> Any:
        return await asyncio.to_thread(self.client.query, *items, progress_bar=False, **options)

    async def categories(self) -> Any:
        return await asyncio.to_thread(self.client.search_for_categories, "chairs")

    async def picture(self, path: Any) -> None:
        await asyncio.to_thread(self.client.download_graph_image, ASINS[0], path)

    async def update_status(self) -> None:
        await asyncio.to_thread(self.client.update_status)


class Async:
    """keepa.AsyncKeepa, in this event loop."""

    client: Any = None

    def __init__(self, key: str = SERVICE_KEY) -> None:
        self._key = key

    async def _made(self) -> Any:
        self.client = self.client or await keepa.AsyncKeepa.create(self._key)
        return self.client

    async def query(self, *items: Any, **options: Any) -> Any:
        return await (await self._made()).query(*items, progress_bar=False, **options)

    async def categories(self) -> Any:
        return await (await self._made()).search_for_categories("chairs")

    async def picture(self, path: Any) -> None:
        await (await self._made()).download_graph_image(ASINS[0], path)

    async def update_status(self) -> None:
        await (await self._made()).update_status()


async def watch_the_loop(doing: Awaitable[Any]) -> tuple[Any, float]:
    """Return what it comes to, and how many seconds at most another task could not run."""
    task = asyncio.ensure_future(doing)
    last = time.monotonic()
    longest = 0.0
    while not task.done():
        await asyncio.sleep(0.01)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return await task, longest
