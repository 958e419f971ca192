"""Callers in numbers, and what they were told."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from support.callers.wire import Answer
from support.gateways.processes import Gateway, Simulator
from support.waiting import until

# Three tokens for sure: reserved by the gateway, and charged by the simulator.
THREE_TOKENS = "/product?key=x&domain=1&asin=B0MAX00001&buybox=1"
ONE_TOKEN = "/product?key=x&domain=1&asin=B0MIN00001"
BROKEN = (OSError, EOFError, TimeoutError)


def verdict(answer: Answer) -> str:
    """`200`, or the status and, of the gateway's own refusals, the reason; `cut`: not all of it."""
    if not answer.whole:
        return "cut"
    if answer.status == 200:
        return "200"
    is_json = (answer.get("Content-Type") or "").startswith("application/json")
    return f"{answer.status} {answer.json().get('reason', 'keepa') if is_json else 'page'}"


async def burst(gateways: Sequence[Gateway], count: int, *headers: str) -> list[Answer]:
    """Make so many calls of one token each at once, to the gateways in turn."""
    turns = zip(itertools.cycle(gateways), range(count), strict=False)
    return await asyncio.gather(*(gateway.ask(ONE_TOKEN, *headers) for gateway, _ in turns))


async def agree(gateways: Sequence[Gateway], simulator: Simulator, seconds: float = 10) -> float:
    """Wait until nothing is reserved and every gateway's balance is Keepa's; return how long."""
    since = time.monotonic()

    async def is_so() -> bool:
        truth = await simulator.state()
        told = [await gateway.tokens() for gateway in gateways]
        return truth["in_flight"] == 0 and all(
            (tokens.get("reserved"), tokens.get("remaining")) == (0, truth["tokens_left"])
            for tokens in told
        )

    await until(is_so, seconds, every=0.05)
    return round(time.monotonic() - since, 2)


async def all_spent(simulator: Simulator, floor: int, seconds: float) -> None:
    """Wait until calls that keep coming have taken all that is above the floor."""

    async def is_so() -> bool:
        truth = await simulator.state()
        return truth["in_flight"] == 0 and truth["tokens_left"] <= floor

    await until(is_so, seconds, every=0.05)


class Slow:
    """Calls of three tokens each that take long, on their way at once."""

    def __init__(self, gateways: Sequence[Gateway], count: int, milliseconds: int) -> None:
        # Every other one has its head at once and its body over all that time.
        headers = itertools.cycle(
            [
                (f"X-Sim-Latency-Ms: {milliseconds}",),
                ("X-Sim-Fault: slow_body", f"X-Sim-Slow-Seconds: {milliseconds / 1000}"),
            ]
        )
        self.count = count
        self.tokens = 3 * count
        self.tasks = [
            asyncio.create_task(gateway.ask(THREE_TOKENS, *how))
            for gateway, how, _ in zip(
                itertools.cycle(gateways), headers, range(count), strict=False
            )
        ]

    async def verdicts(self) -> Counter[str]:
        """Wait for all; `gone`: no answer came, `cut`: not all of it did."""
        ends = await asyncio.gather(*self.tasks, return_exceptions=True)
        told: Counter[str] = Counter()
        for end in ends:
            if isinstance(end, BROKEN):
                told["gone"] += 1
            elif isinstance(end, BaseException):
                raise end
            else:
                told[verdict(end)] += 1
        return told


class Trickle:
    """Calls of one token each that keep coming, to each gateway in turn, until the end.

    Args:
        gateways: A list that may change meanwhile.
        pause: Seconds from one call to the next, whatever became of it.
        headers: Of each call.
    """

    def __init__(
        self, gateways: Sequence[Gateway], pause: float = 0.03, headers: Sequence[str] = ()
    ) -> None:
        self._gateways = gateways
        self._pause = pause
        self._headers = headers
        self._calls: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self.told: Counter[str] = Counter()
        self.first_at: dict[str, float] = {}
        """When each verdict was first heard, on the monotonic clock."""
        self.count = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, *self._calls, return_exceptions=True)
        if self._failures and not error:
            raise self._failures[0]

    def forget(self) -> None:
        """Count anew."""
        self.told.clear()
        self.first_at.clear()

    async def _run(self) -> None:
        for turn in itertools.count():
            call = asyncio.create_task(self._call(self._gateways[turn % len(self._gateways)]))
            self._calls.add(call)
            call.add_done_callback(self._ended)
            await asyncio.sleep(self._pause)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and call.exception():
            self._failures.append(call.exception())

    async def _call(self, gateway: Gateway) -> None:
        self.count += 1
        try:
            told = verdict(await gateway.ask(ONE_TOKEN, *self._headers))
        except BROKEN:
            told = "gone"
        self.told[told] += 1
        self.first_at.setdefault(told, time.monotonic())
