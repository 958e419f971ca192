"""Two gateways, a Redis and a simulated Keepa, with a fault proxy on each of the four wires."""

import asyncio
import shutil
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson
from redis.asyncio import Redis
from support.callers.wire import Answer, ask
from support.gateways.processes import Gateway, Machines
from support.measure.vitals import open_descriptors, resident_bytes
from support.network.fault_proxy import FaultProxy
from support.redis.server import RedisServer
from support.waiting import until

from gateway.ledger.scripts import name_keys

FLOOR = 10
REPLICAS = 2
UPSTREAM_SECONDS = 2
HOLD_SECONDS = 3
FREE = "/tracking?key=x&type=list"
"""Costs nothing, goes to Keepa all the same, and brings an observation."""
SETTINGS = {
    "account": "chaos",
    "min_balance_threshold": FLOOR,
    "balance_max_age_seconds": 1,
    "upstream_timeout_seconds": UPSTREAM_SECONDS,
    "reservation_ttl_seconds": HOLD_SECONDS,
    "breaker_cooldown_seconds": 0.5,
    "drain_seconds": 0.5,
}
KEYS = name_keys("chaos")
_, HOLDS, EXPIRIES, STARTS = KEYS[:4]
_WARM_TOKENS = 1000
_WARM_MEGABYTES = 8


def products(count: int) -> str:
    """Return a call that costs so many tokens, for sure; at most 100."""
    asins = ",".join(f"B0MIN{n:05}" for n in range(count))
    return f"/product?key=x&domain=1&asin={asins}"


class Books(NamedTuple):
    """What stands in Redis."""

    keys: set[str]
    live_holds: int
    starts: int
    entries: int
    """Holds, and markers of calls that have ended."""
    indexed: bool
    """Whether every hold or marker has its end, and every end its hold or marker."""


class Vitals(NamedTuple):
    """What one gateway holds of the machine."""

    resident: int
    descriptors: int
    """Without those of its wires, whose number is no leak: the proxies see both their ends."""


class Fleet:
    """Everything that one crossing of a fault and an operation needs; used again for the next."""

    def __init__(self, folder: Path, **settings: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.machines = Machines(folder)
        self.gateways: list[Gateway] = []
        self.to_redis: list[FaultProxy] = []
        self.to_keepa: list[FaultProxy] = []
        self._folder = folder
        self._settings = {**SETTINGS, **settings}
        self._read: dict[Path, int] = {}
        self.warm_vitals: dict[int, Vitals] = {}
        self.gone: list[Gateway] = []
        """Gateways that were killed or stopped: their logs are read as well."""

    async def open(self, tokens: int = _WARM_TOKENS, rate: int = 20) -> Self:
        """Start everything; return when the gateways are ready and warm."""
        folder = self._folder / "redis"
        folder.mkdir()
        self.redis = await asyncio.to_thread(RedisServer, folder, "--appendonly", "yes")
        self.simulator = await self.machines.simulate(tokens=tokens, rate=rate).started()
        keepa_port = int(self.simulator.url.rpartition(":")[2])
        for _ in range(REPLICAS):
            self.to_redis.append(await FaultProxy(self.redis.port).__aenter__())
            self.to_keepa.append(await FaultProxy(keepa_port).__aenter__())
        self.gateways = [self._serve(n) for n in range(REPLICAS)]
        await asyncio.gather(*(gateway.started() for gateway in self.gateways))
        await asyncio.gather(*(self.warm(n) for n in range(REPLICAS)))
        return self

    async def close(self) -> None:
        """End every process and every wire."""
        self.machines.end_all()
        for wire in (*self.to_redis, *self.to_keepa):
            await wire.close()
        self.redis.proceed()
        self.redis.kill()

    def _serve(self, place: int) -> Gateway:
        return self.machines.serve(
            keepa_base_url=f"http://127.0.0.1:{self.to_keepa[place].port}",
            redis_url=f"redis://127.0.0.1:{self.to_redis[place].port}/0",
            **self._settings,
        )

    async def replace(self, place: int) -> None:
        """Start another gateway on the same wires."""
        other = await self._serve(place).started()
        self.gone.append(self.gateways[place])
        self.gateways[place] = other

    async def warm(self, place: int) -> None:
        """Have a gateway do what makes it grow once: threads, buffers, code, many calls at once."""
        gateway = await self.gateways[place].ready()
        large = (f"X-Sim-Bytes: {_WARM_MEGABYTES * 1_000_000}", "X-Sim-Order: sorted")
        for headers in (large, (*large, "Accept-Encoding: gzip")):
            await asyncio.gather(*(gateway.ask(products(1), *headers) for _ in range(2)))
        slow = "X-Sim-Latency-Ms: 100"
        for _ in range(2):
            await asyncio.gather(*(gateway.ask(FREE, slow) for _ in range(60)))
        await until(lambda: self.to_redis[place].connections == 1)
        self.warm_vitals[place] = self.vitals(place)

    async def sim(self, path: str, **values: object) -> dict[str, Any]:
        """Steer the simulated Keepa, past all wires."""
        answer = await ask(self.simulator.url, path, method="POST", body=orjson.dumps(values))
        assert answer.status == 200, answer.body
        return dict(answer.json())

    async def set_balance(self, tokens: int) -> None:
        """Begin a new account of the same phase: the lumps go on falling when they would."""
        phase = (await self.simulator.state())["refill_in_ms"]
        await self.sim("/sim/reset", tokens=tokens, first_lump_in_ms=phase)

    async def close_circuits(self) -> None:
        """Have each gateway make a call of one token, which closes what an earlier fault opened.

        A circuit whose cooldown is over waits for a call to be its probe: a long one would have all
        others refused meanwhile.
        """

        async def is_answered(gateway: Gateway) -> bool:
            return (await gateway.ask(products(1))).status == 200

        for gateway in self.gateways:
            await until(partial(is_answered, gateway), 5, every=0.05)

    async def observe(self) -> list[Answer]:
        """Have each gateway bring one observation; it is free."""
        return await asyncio.gather(*(gateway.ask(FREE) for gateway in self.gateways))

    def vitals(self, place: int) -> Vitals:
        """Tell what a gateway holds of the machine now."""
        pid = self.gateways[place].process.pid
        wires = self.to_redis[place].connections + self.to_keepa[place].connections
        return Vitals(resident_bytes(pid), open_descriptors(pid) - wires)

    def new_output(self) -> str:
        """Return all that the gateways have printed since the last time, to either stream."""
        texts = []
        for gateway in (*self.gone, *self.gateways):
            for name in ("out", "err"):
                path = gateway.folder / name
                with path.open("rb") as file:
                    file.seek(self._read.get(path, 0))
                    texts.append(file.read())
                    self._read[path] = file.tell()
        self.gone.clear()
        return b"".join(texts).decode()

    async def empty_redis(self) -> None:
        """Kill Redis and take away what it kept on its disk; `redis.start` begins anew."""
        self.redis.kill()
        shutil.rmtree(self.redis.folder / "appendonlydir", ignore_errors=True)

    async def books(self) -> Books:
        """Read what stands in Redis, past all wires and every script."""
        async with Redis(port=self.redis.port, decode_responses=True) as client:
            keys = set(await client.keys("*"))
            holds = await client.hgetall(HOLDS)
            starts = await client.zcard(STARTS)
            ends = set(await client.zrange(EXPIRIES, 0, -1))
        live = sum(record != "resolved" for record in holds.values())
        return Books(keys, live, starts, len(holds), indexed=ends == holds.keys())

    async def at_peace(self, seconds: float) -> None:
        """Wait until nothing is under way and each gateway's balance is Keepa's."""

        async def is_so() -> bool:
            await self.observe()
            truth = await self.simulator.state()
            told = [await gateway.tokens() for gateway in self.gateways]
            return truth["in_flight"] == 0 and all(
                (tokens.get("reserved"), tokens.get("remaining")) == (0, truth["tokens_left"])
                for tokens in told
            )

        await until(is_so, seconds, every=0.05)
