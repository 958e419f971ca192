"""Calls of several services, as tests of policies, waiting and quotes make them over and over."""

import asyncio
from typing import Any

from support.waiting import until

BATCH = "X-Service-Name: batch"
SHOP = "X-Service-Name: shop"
# Reserved 24; such a product has no offers.
MANY_OFFERS = "/product?domain=1&offers=40&asin=B0MIN00001"
MANY_OFFERS_CHARGED = 5


def products(count: int) -> str:
    """Return a call that costs so many tokens; at most 100."""
    return f"/product?domain=1&asin={','.join(f'B{n:09}' for n in range(count))}"


def call(gateway: Any, *arguments: Any) -> asyncio.Task[Any]:
    """Begin a call."""
    return asyncio.create_task(gateway.ask(*arguments))


async def waiting(gateway: Any) -> dict[str, int]:
    """Return how many calls wait, by service."""
    services = (await gateway.ask("/status")).json()["services"]
    return {name: row["waiting"] for name, row in services.items() if row["waiting"]}


async def until_waiting(gateway: Any, **wanted: int) -> None:
    """Wait until just so many calls of each service wait."""

    async def so_many_wait() -> bool:
        return await waiting(gateway) == wanted

    await until(so_many_wait)
