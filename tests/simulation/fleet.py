"""The fleet of a story: gateways, the simulated Keepa with books of its own, Redis, the network."""

import asyncio
import json
import logging
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import structlog

from gateway.app import serving
from gateway.machine import Machine
from gateway.settings import Settings
from gateway.simulator import SimulatorConfig, start_simulator
from simulation.judges import Judges
from simulation.loop import NODE, VirtualLoop
from simulation.network import Network
from simulation.process import Clocks
from simulation.redis import RedisServer
from simulation.story import (
    COOLDOWN_SECONDS,
    FLOOR,
    HOLD_SECONDS,
    MAX_WAIT_SECONDS,
    UPSTREAM_SECONDS,
    Story,
)
from simulation.trace import Trace

if TYPE_CHECKING:
    from gateway.simulator.steering import Fault

KEEPA, REDIS = "keepa", "redis"


class Gateway:
    """One gateway: a process that starts, stops, dies."""

    def __init__(self, fleet: "Fleet", node: str) -> None:
        self._fleet, self.node = fleet, node
        self.lock = asyncio.Lock()
        self.is_up = False
        self.changes: dict[str, Any] = {}
        """Settings that are its own."""
        self._stop = asyncio.Event()
        self._life: Any = None

    def _settings(self) -> Settings:
        story = self._fleet.story
        chosen = {**story.settings, **self.changes}
        return Settings(
            _env_file=None, host=self.node, port=8080, allow_anonymous=True,
            keepa_api_key="k" * 64, keepa_base_url="http://keepa:80",
            redis_url="redis://redis:6379/0", min_balance_threshold=FLOOR,
            upstream_timeout_seconds=UPSTREAM_SECONDS, reservation_ttl_seconds=HOLD_SECONDS,
            max_wait_seconds=MAX_WAIT_SECONDS, breaker_cooldown_seconds=COOLDOWN_SECONDS,
            drain_seconds=1, service_policies=json.dumps(story.policies), **chosen,
        )  # fmt: skip

    def start(self) -> None:
        self._stop = asyncio.Event()
        self._life = self._fleet.loop.on_node(self.node, self._live())

    async def _live(self) -> None:
        fleet = self._fleet
        machine = Machine(
            listen=_listen, descriptors=lambda: 4096, clock=fleet.clocks.of_node,
            name_process=lambda: f"{fleet.name_chance.getrandbits(64):016x}",
            make_executor=lambda: ThreadPoolExecutor(1),
        )  # fmt: skip
        async with serving(self._settings(), machine=machine):
            self.is_up = True
            await self._stop.wait()
            self.is_up = False

    async def begin(self) -> None:
        """Start it, and return when it serves."""
        self.start()
        while not self.is_up:
            if self._life.done():
                self._life.result()
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        self._stop.set()
        await self._life

    def kill(self) -> None:
        """SIGKILL."""
        self.is_up = False
        self._fleet.network.kill(self.node)
        self._fleet.loop.kill(self.node)


async def _listen(make_door: Any, host: str, port: int) -> Any:
    return await asyncio.get_running_loop().create_server(make_door, host, port)


class Keepa:
    """The simulated Keepa, and what it charged whom: books that nobody else writes.

    Attributes:
        suffers: The share of its calls that suffer, and what.
        lies: What its answers say instead of the truth.
        lowest_at: Each new lowest balance that a call left, and when.
    """

    def __init__(self, running: Any, network: Network, chance: random.Random) -> None:
        self._running, self._network, self._chance = running, network, chance
        self.account = running._account
        self.suffers: list[tuple[float, Fault]] = []
        self.lies: list[dict[str, float]] = []
        self.lowest_at: list[tuple[float, int]] = []
        self.charged: dict[str, list[int]] = {}
        """By the call's target without its key: what each run of it was charged."""
        self.spent_by_others = 0
        self._listener = network.listeners[KEEPA, 80]
        account = self.account
        run, choose_fault = account.run, account.choose_fault

        def run_and_book(endpoint: str, query: str, *more: Any) -> Any:
            before = account.bucket.lowest_by_charge
            reply = run(endpoint, query, *more)
            if account.bucket.lowest_by_charge < before:
                self.lowest_at.append((network.loop.now, account.bucket.lowest_by_charge))
            if endpoint != "token":
                pairs = [pair for pair in query.split("&") if not pair.startswith("key=")]
                self.charged.setdefault(f"/{endpoint}?{'&'.join(pairs)}", []).append(reply.consumed)
            return reply

        def choose(asked: Any) -> Any:
            for share, fault in self.suffers:
                if self._chance.random() < share:
                    return fault
            return choose_fault(asked)

        read_fields = account.read_fields

        def read(reply: Any, received_ms: int) -> Any:
            fields = read_fields(reply, received_ms)
            for lie in self.lies:
                fields = fields._replace(**lie)
            return fields

        account.run, account.choose_fault, account.read_fields = run_and_book, choose, read

    def state(self) -> dict[str, Any]:
        return self.account.state()  # type: ignore[no-any-return]

    def go_down(self) -> None:
        """Refuse connections; those that are open are reset."""
        self._network.close_listeners(KEEPA)
        for end in [e for e in self._network.ends if e.node == KEEPA]:
            self._network.cut(end)

    def come_up(self) -> None:
        self._network.listeners[KEEPA, 80] = self._listener

    def spend(self, tokens: int) -> None:
        """Somebody else spends them."""
        self.spent_by_others += tokens
        self.account.bucket.spend(tokens, self.account.now_ms())

    async def close(self) -> None:
        await self._running.close()


class Fleet:
    """Everything of one story that runs."""

    def __init__(self, loop: VirtualLoop, story: Story, clocks: Clocks, trace: Trace) -> None:
        self.loop, self.story, self.clocks, self.trace = loop, story, clocks, trace
        chance = random.Random(f"{story.seed}-network")
        self.network = loop.network = Network(loop, chance, trace.note)
        self.name_chance = random.Random(f"{story.seed}-names")
        self.redis = RedisServer(
            loop, self.network, clocks.true, random.Random(f"{story.seed}-redis")
        )
        self.gateways = [Gateway(self, f"gw{number + 1}") for number in range(story.gateways)]
        self.default_wait_seconds = story.settings["default_wait_seconds"]
        self.judges = Judges(self)
        self.keepa: Keepa
        self.redis_lock = asyncio.Lock()
        self.keepa_lock = asyncio.Lock()
        self.snapshots: list[tuple[float, Any]] = []
        self.outcomes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    async def start(self) -> None:
        _route_logs(self)
        await self.loop.on_node(REDIS, self.redis.start())
        config = SimulatorConfig(
            tokens=self.story.tokens, refill_rate=self.story.refill_rate, lenient=True,
            first_lump_in_ms=self.story.first_lump_in_ms,
        )  # fmt: skip
        running = await self.loop.on_node(
            KEEPA, start_simulator(config, KEEPA, 80, clock=self.clocks.true)
        )
        self.keepa = Keepa(running, self.network, random.Random(f"{self.story.seed}-keepa"))
        for gateway in self.gateways:
            await gateway.begin()

    async def take_snapshots(self) -> None:
        """Keep what Redis held lately, for when it is set back."""
        while True:
            self.snapshots.append((self.loop.now, self.redis.engine.data.copy()))
            del self.snapshots[:-8]
            await asyncio.sleep(0.7)

    async def close(self) -> None:
        for gateway in self.gateways:
            await gateway.stop()
        await asyncio.sleep(1)
        self.judges.look_at_what_is_left()
        await self.keepa.close()
        self.redis.stop()


class _Libraries(logging.Handler):
    """Hears what libraries log: a fault that aiohttp saw, of a gateway or of the model of Keepa."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(logging.ERROR)
        self._fleet = fleet

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else ""
        self._fleet.judges.find("log", f"{NODE.get()}: {record.getMessage()} {error!r}"[:300])


def _route_logs(fleet: Fleet) -> None:
    """Hand what gateways and libraries log to the judges; nothing of it is written."""
    logging.getLogger().handlers[:] = [_Libraries(fleet)]

    def hear(_: Any, level: str, event: Any) -> Any:
        fleet.judges.hear_log(NODE.get(), level, event)
        raise structlog.DropEvent

    structlog.configure(
        processors=[hear],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
