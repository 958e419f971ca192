"""A gateway that serves in this process, as a caller sees it."""

import asyncio
from collections.abc import Callable

from support.callers.wire import Answer, ask
from support.waiting import within

REAL_KEY = "realkey0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijk"


class Gateway:
    """A gateway that serves."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def ask(self, target: str | bytes, *headers: str | bytes, **how) -> Answer:
        return await ask(self.url, target, headers, **how)

    async def tokens(self) -> dict[str, object]:
        """What `/status` says of the tokens."""
        return (await self.ask("/status")).json()["tokens"]

    async def at_rest(self) -> dict[str, object]:
        """Wait until nothing is reserved any more; return what `/status` says of the tokens."""
        return await self.until(lambda tokens: tokens["reserved"] == 0)

    async def at_rest_but(self, tokens_in_doubt: int) -> dict[str, object]:
        """Wait until nothing is reserved any more but what calls in doubt hold."""
        return await self.until(lambda tokens: tokens["reserved"] == tokens_in_doubt)

    async def until_ready(self) -> Answer:
        """Wait until `/readyz` says so."""
        async with within(10):
            while (got := await self.ask("/readyz")).status != 200:
                await asyncio.sleep(0.01)
        return got

    async def until(self, happened: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        """Wait until what `/status` says of the tokens is as it should be."""
        async with within(10):
            while not happened(tokens := await self.tokens()):
                await asyncio.sleep(0.01)
        return tokens
