"""Callers of one crossing: a wave of an operation's calls, and those that take what is left."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from support.callers.mixed_calls import Request

from chaos.calls import End, call
from chaos.fleet import REPLICAS, Fleet, products
from chaos.operations import Operation

ONE = Request(products(1))
_ALIVE = Request("/healthz")
_PAUSE_SECONDS = 0.03


class Callers:
    """Make calls, all at once or one after the other, and remember how they ended."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.ends: list[End] = []
        self.headers: Sequence[str] = ()
        """Of all calls made from now on."""

    async def wave(self, operation: Operation) -> list[End]:
        """Make the operation's calls at once."""
        turns = itertools.cycle(range(REPLICAS))
        ends = await asyncio.gather(
            *(
                call(
                    self._fleet.gateways[n].url,
                    _steered(request, self.headers),
                    leaves=operation.leaves,
                )
                for n, request in zip(turns, operation.requests, strict=False)
            )
        )
        self.ends += ends
        return ends

    async def _call(self, place: int, request: Request, *, leaves: bool = False) -> End:
        url = self._fleet.gateways[place].url
        return await call(url, _steered(request, self.headers), leaves=leaves)

    @asynccontextmanager
    async def trickle(self) -> AsyncIterator[None]:
        """Keep making calls of one token that take whatever there is above the floor."""
        under_way: set[asyncio.Task[None]] = set()

        async def one(n: int) -> None:
            self.ends.append(await self._call(n, ONE))

        async def keep_calling() -> None:
            for n in itertools.cycle(range(REPLICAS)):
                task = asyncio.create_task(one(n))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                await asyncio.sleep(_PAUSE_SECONDS)

        calling = asyncio.create_task(keep_calling())
        try:
            yield
        finally:
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
            # None is given up: each has to end by itself.
            await asyncio.gather(*under_way)

    @asynccontextmanager
    async def delays(self) -> AsyncIterator[list[float]]:
        """Keep asking what needs neither Redis nor Keepa; yield the seconds that answers took."""
        took: list[float] = []

        async def keep_asking(place: int) -> None:
            while True:
                end = await call(self._fleet.gateways[place].url, _ALIVE)
                if end.verdict == "200":
                    took.append(end.seconds)
                await asyncio.sleep(_PAUSE_SECONDS)

        asking = [asyncio.create_task(keep_asking(place)) for place in range(REPLICAS)]
        try:
            yield took
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)


def _steered(request: Request, headers: Sequence[str]) -> Request:
    """Replace the request's own steering by the fault's, where there is one."""
    if not headers:
        return request
    kept = [h for h in request.headers if not h.startswith(("X-Sim-Fault", "X-Sim-Slow"))]
    return request._replace(headers=(*kept, *headers))
