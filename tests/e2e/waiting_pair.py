"""Two gateways without a token to spend, and those who wait there for the next."""

import asyncio
import json

from support.callers.visits import Visit
from support.callers.wire import ask
from support.gateways.processes import Gateway, Machines, Simulator
from support.redis.server import RedisServer
from support.waiting import until

from gateway.ledger.scripts import name_keys

FLOOR = 10
ACCOUNT = "waiting"
# Far enough away that only `set_balance` brings tokens, and near enough to be waited for.
LUMP_SECONDS = 50
PATIENCE_SECONDS = 60
_LINE = name_keys(ACCOUNT)[5]


class WaitingPair:
    """Two gateways on one Redis, and a Keepa whose balance is the floor."""

    def __init__(self, machines: Machines, redis: RedisServer) -> None:
        self._machines = machines
        self.redis = redis
        self.visits: list[Visit] = []
        self.tasks: list[asyncio.Task[Visit]] = []

    async def open(self, **settings: object) -> "WaitingPair":
        """Start everything; wait until the new ledger knows the balance."""
        self.simulator: Simulator = await self._machines.simulate(
            tokens=FLOOR, rate=600, lump_in_ms=LUMP_SECONDS * 1000
        ).started()
        chosen = {
            "keepa_base_url": self.simulator.url,
            "redis_url": self.redis.url,
            "account": ACCOUNT,
            "min_balance_threshold": FLOOR,
            "balance_max_age_seconds": 1,
            "drain_seconds": 0.2,
            **settings,
        }
        self.gateways: list[Gateway] = [self._machines.serve(**chosen) for _ in range(2)]
        for gateway in self.gateways:
            await gateway.started()
        await until(self.has_learned)
        return self

    async def has_learned(self) -> bool:
        """Say whether the ledger knows the balance; a new one does not for a moment."""
        quote = await self.gateways[0].ask("/quote?path=product&domain=1&asin=B0MIN00001")
        return bool(quote.json().get("reason") == "floor")

    async def wait(
        self, place: int, tokens: int, *headers: str, leaves_after: float | None = None
    ) -> Visit:
        """Make a call on a gateway; return when it stands in the line."""
        before = self.line_length()
        visit = Visit("", tokens, PATIENCE_SECONDS)
        task = asyncio.create_task(
            visit.make(self.gateways[place].url, headers, leaves_after=leaves_after)
        )
        self.visits.append(visit)
        self.tasks.append(task)
        await until(lambda: task.done() or self.line_length() > before, every=0.005)
        assert not task.done(), visit
        return visit

    def line_length(self) -> int:
        """Tell how many places stand in the line."""
        return int(self.redis.command("ZCARD", _LINE).strip(b":\r\n"))

    async def set_balance(self, tokens: int) -> None:
        """Have another balance at Keepa, which the gateways observe within a second or so."""
        phase = (await self.simulator.state())["refill_in_ms"]
        body = json.dumps({"tokens": tokens, "first_lump_in_ms": phase}).encode()
        answer = await ask(self.simulator.url, "/sim/reset", method="POST", body=body)
        assert answer.status == 200, answer.body

    async def served(self, count: int, seconds: float = 10) -> list[Visit]:
        """Wait until so many have been served; return all that have, in the order of coming."""

        async def are() -> list[Visit]:
            served = [visit for visit in self.visits if visit.is_served]
            return served if len(served) >= count else []

        served: list[Visit] = await until(are, seconds)
        return served

    async def told(self) -> list[str]:
        """Wait for all answers; return the verdicts in the order of coming."""
        return [visit.verdict for visit in await asyncio.gather(*self.tasks)]

    async def charged(self) -> int:
        """Tell what Keepa has charged since the balance was set."""
        return int((await self.simulator.state())["charged_total"])

    async def leave(self) -> None:
        """Have all callers who still wait hang up."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
