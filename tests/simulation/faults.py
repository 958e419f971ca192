"""What fails: one function for each kind. It makes the fault, and returns when it has lifted it.

A kind says which assumption of docs/reliability.md it breaks by itself, if any; what breaks one in
company only (a gateway that dies while the store is emptied) is told by `assumptions.py`.
"""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.simulator.steering import Fault

if TYPE_CHECKING:
    from simulation.fleet import Fleet, Gateway
    from simulation.transport import End

KEEPA, REDIS, CALLERS = "keepa", "redis", "story"
Work = Callable[["Fleet", random.Random], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        of: What it befalls: network, redis, gateway, keepa, compound.
        work: Makes and lifts it.
        breaks: The assumption that does not hold with it; empty: all do.
        leaves_doubt: Whether afterwards nobody can say what a call was charged.
        loses: Whether the store comes back without some of what it held.
    """

    of: str
    work: Work
    breaks: str
    leaves_doubt: bool
    loses: bool


KINDS: dict[str, Kind] = {}


def _kind(
    of: str, *, breaks: str = "", leaves_doubt: bool = False, loses: bool = False
) -> Callable[[Work], Work]:
    def register(work: Work) -> Work:
        name = f"{of}.{work.__name__}"  # type: ignore[attr-defined]
        KINDS[name] = Kind(of, work, breaks, leaves_doubt, loses)
        return work

    return register


PROFILES: dict[str, Callable[[Kind], bool]] = {
    "mixed": lambda kind: not kind.breaks,
    "all": lambda _: True,
    "calm": lambda _: False,
    "pressure": lambda kind: kind.of == "compound" and not kind.breaks,
    "exact": lambda kind: not (kind.breaks or kind.leaves_doubt or kind.loses),
    "network": lambda kind: kind.of == "network",
    "redis": lambda kind: kind.of in {"redis", "compound"} and not kind.breaks,
    "gateway": lambda kind: kind.of in {"gateway", "compound"} and not kind.breaks,
    "keepa": lambda kind: kind.of == "keepa" and not kind.breaks,
}
"""Which kinds a story of each profile may have; under `pressure` all tokens are asked for."""


def _one(fleet: "Fleet", chance: random.Random) -> "Gateway":
    return chance.choice(fleet.gateways)


async def _pause(chance: random.Random, least: float, most: float) -> None:
    await asyncio.sleep(chance.uniform(least, most))


# --- the network ---
async def _slow_way(fleet: "Fleet", way: tuple[str, str], seconds: float, lasts: float) -> None:
    slow = fleet.network.slow
    slow[way] = slow.get(way, 0.0) + seconds
    await asyncio.sleep(lasts)
    slow[way] -= seconds
    if slow[way] < 1e-9:
        del slow[way]


@_kind("network")
async def slow_to_redis(fleet: "Fleet", chance: random.Random) -> None:
    """One gateway is far from Redis."""
    node = _one(fleet, chance).node
    await _slow_way(fleet, (node, REDIS), chance.uniform(0.01, 0.3), chance.uniform(2, 10))


@_kind("network")
async def slow_from_redis(fleet: "Fleet", chance: random.Random) -> None:
    """Replies of Redis are slow, on their way to all."""
    await _slow_way(fleet, (REDIS, ""), chance.uniform(0.01, 0.3), chance.uniform(2, 10))


@_kind("network", leaves_doubt=True)
async def slow_to_keepa(fleet: "Fleet", chance: random.Random) -> None:
    """Calls are long on their way before Keepa charges them."""
    await _slow_way(fleet, ("", KEEPA), chance.uniform(0.2, 3), chance.uniform(3, 10))


@_kind("network")
async def slow_from_keepa(fleet: "Fleet", chance: random.Random) -> None:
    """Answers are old when they come."""
    await _slow_way(fleet, (KEEPA, _one(fleet, chance).node), chance.uniform(0.2, 3), 8)


@_kind("network", leaves_doubt=True)
async def loses_segments(fleet: "Fleet", chance: random.Random) -> None:
    """A share of all segments is lost and sent again."""
    fleet.network.lossy = chance.choice((0.01, 0.05, 0.2))
    began_at = fleet.loop.now
    await _pause(chance, 2, 10)
    fleet.network.lossy = 0.0
    for gateway in fleet.gateways:
        fleet.judges.assumptions.note_apart(gateway.node, began_at, fleet.loop.now + 3)


def _cut_later(fleet: "Fleet", chance: random.Random, ends: "list[End]") -> None:
    if ends:
        end = chance.choice(ends)
        end.cut_after = end.received + chance.randrange(1, 3000)


@_kind("network")
async def cuts_redis_at_a_byte(fleet: "Fleet", chance: random.Random) -> None:
    """A connection to Redis is cut at any byte, of commands or of replies."""
    ends = [e for e in fleet.network.ends if REDIS in {e.node, e.peer.node}]
    _cut_later(fleet, chance, ends)


@_kind("network", leaves_doubt=True)
async def cuts_keepa_at_a_byte(fleet: "Fleet", chance: random.Random) -> None:
    """Connections to Keepa are cut at any byte, of calls or of answers."""
    ends = [e for e in fleet.network.ends if KEEPA in {e.node, e.peer.node}]
    for _ in range(chance.randint(1, 4)):
        _cut_later(fleet, chance, ends)


@_kind("network")
async def cuts_a_caller_at_a_byte(fleet: "Fleet", chance: random.Random) -> None:
    """A caller's connection is cut at any byte."""
    _cut_later(fleet, chance, [e for e in fleet.network.ends if CALLERS in {e.node, e.peer.node}])


@_kind("network")
async def half_open_to_redis(fleet: "Fleet", chance: random.Random) -> None:
    """The network forgets a connection to Redis; both ends think that it stands."""
    if ends := fleet.network.between(_one(fleet, chance).node, REDIS):
        fleet.network.swallow(chance.choice(ends))


@_kind("network", leaves_doubt=True)
async def half_open_to_keepa(fleet: "Fleet", chance: random.Random) -> None:
    """The same with connections to Keepa."""
    for end in fleet.network.between(_one(fleet, chance).node, KEEPA):
        if chance.random() < 0.5:
            fleet.network.swallow(end)


@_kind("network")
async def half_open_to_a_caller(fleet: "Fleet", chance: random.Random) -> None:
    """The same with a caller's connection, who gets no answer any more."""
    gateway = _one(fleet, chance)
    if ends := fleet.network.between(gateway.node, CALLERS):
        fleet.judges.excuse(gateway.node, fleet.loop.now - 60, fleet.loop.now + 150)
        fleet.network.swallow(chance.choice(ends))


@_kind("network", leaves_doubt=True)
async def reorders_calls(fleet: "Fleet", chance: random.Random) -> None:
    """Calls on some connections are overtaken by all others before Keepa charges them."""
    for end in list(fleet.network.ends):
        if end.peer.node == KEEPA and chance.random() < 0.5:
            end.lag = chance.uniform(0.5, 5)
    await _pause(chance, 3, 10)
    for end in fleet.network.ends:
        end.lag = 0.0


async def _part(fleet: "Fleet", a: str, b: str, seconds: float, *, both: bool = True) -> None:
    began_at = fleet.loop.now
    fleet.network.part(a, b, both=both)
    await asyncio.sleep(seconds)
    fleet.network.rejoin(a, b, both=both)
    if REDIS in {a, b}:
        # The kernel's own retries come on top.
        fleet.judges.assumptions.note_apart(a if b == REDIS else b, began_at, fleet.loop.now)


@_kind("network")
async def parts_from_redis(fleet: "Fleet", chance: random.Random) -> None:
    """One gateway and Redis do not hear of each other."""
    await _part(fleet, _one(fleet, chance).node, REDIS, chance.choice((0.3, 1, 2, 6)))


@_kind("network")
async def parts_commands_from_redis(fleet: "Fleet", chance: random.Random) -> None:
    """Only what the gateway says to Redis is lost."""
    await _part(fleet, _one(fleet, chance).node, REDIS, chance.choice((0.3, 1, 2, 6)), both=False)


@_kind("network")
async def parts_replies_of_redis(fleet: "Fleet", chance: random.Random) -> None:
    """Only what Redis says to the gateway is lost."""
    node = _one(fleet, chance).node
    began_at, seconds = fleet.loop.now, chance.choice((0.3, 1, 2, 6))
    await _part(fleet, REDIS, node, seconds, both=False)
    fleet.judges.assumptions.note_apart(node, began_at, fleet.loop.now)


@_kind("network", leaves_doubt=True)
async def parts_from_keepa(fleet: "Fleet", chance: random.Random) -> None:
    """One gateway and Keepa do not hear of each other."""
    await _part(fleet, _one(fleet, chance).node, KEEPA, chance.uniform(0.3, 5))


@_kind("network")
async def parts_from_callers(fleet: "Fleet", chance: random.Random) -> None:
    """The callers and one gateway do not hear of each other."""
    gateway, began_at = _one(fleet, chance), fleet.loop.now
    seconds = chance.uniform(0.3, 5)
    fleet.judges.excuse(gateway.node, began_at - 60, began_at + seconds + 60)
    await _part(fleet, CALLERS, gateway.node, seconds)


@_kind("network", leaves_doubt=True)
async def trickles_from_keepa(fleet: "Fleet", chance: random.Random) -> None:
    """Answers come a few thousand bytes a second."""
    way = (KEEPA, _one(fleet, chance).node)
    fleet.network.bytes_a_second[way] = chance.choice((2_000, 20_000))
    await _pause(chance, 2, 8)
    fleet.network.bytes_a_second.pop(way, None)


@_kind("network")
async def trickles_from_redis(fleet: "Fleet", chance: random.Random) -> None:
    """Replies of Redis come a few thousand bytes a second."""
    way, began_at = (REDIS, _one(fleet, chance).node), fleet.loop.now
    fleet.network.bytes_a_second[way] = chance.choice((500, 12_000))
    await _pause(chance, 1, 5)
    fleet.network.bytes_a_second.pop(way, None)
    fleet.judges.assumptions.note_apart(way[1], began_at, fleet.loop.now + 3)


@_kind("network")
async def splits_segments(fleet: "Fleet", chance: random.Random) -> None:
    """Nearly everything arrives in pieces."""
    fleet.network.split_share = 0.9
    await _pause(chance, 2, 8)
    fleet.network.split_share = 0.05


# --- Redis ---
async def _restart_redis(fleet: "Fleet", data: Any, down_seconds: float) -> None:
    fleet.redis.stop()
    await asyncio.sleep(down_seconds)
    if data is not None:
        fleet.judges.assumptions.note_loss(fleet.loop.now)
    await fleet.loop.on_node(REDIS, fleet.redis.start(data))


@_kind("redis")
async def killed(fleet: "Fleet", chance: random.Random) -> None:
    """Redis is killed, and comes back with all that it had."""
    async with fleet.redis_lock:
        await _restart_redis(fleet, None, chance.uniform(0.05, 3))


@_kind("redis")
async def away_for_long(fleet: "Fleet", chance: random.Random) -> None:
    """Redis refuses connections for longer than calls wait."""
    async with fleet.redis_lock:
        await _restart_redis(fleet, None, chance.uniform(5, 12))


@_kind("redis", loses=True)
async def emptied(fleet: "Fleet", chance: random.Random) -> None:
    """Redis is killed, and comes back with nothing."""
    async with fleet.redis_lock:
        await _restart_redis(fleet, fleet.redis.empty(), chance.uniform(0.05, 2))


@_kind("redis", loses=True)
async def flushed(fleet: "Fleet", chance: random.Random) -> None:
    """FLUSHALL: the same server, without a key."""
    async with fleet.redis_lock:
        fleet.judges.assumptions.note_loss(fleet.loop.now)
        fleet.redis.engine.data = fleet.redis.empty()
        await asyncio.sleep(1)


@_kind("redis", loses=True)
async def set_back(fleet: "Fleet", chance: random.Random) -> None:
    """Redis is killed, and comes back as it was some seconds ago."""
    async with fleet.redis_lock:
        snapshot = chance.choice(fleet.snapshots)[1].copy()
        await _restart_redis(fleet, snapshot, chance.uniform(0.05, 2))


@_kind("redis", loses=True)
async def failed_over(fleet: "Fleet", chance: random.Random) -> None:
    """A replica takes over, which lacks the last writes."""
    async with fleet.redis_lock:
        snapshot = fleet.redis.engine.data.copy()
        await _pause(chance, 0.05, 1)
        await _restart_redis(fleet, snapshot, 0.01)


@_kind("redis")
async def paused(fleet: "Fleet", chance: random.Random) -> None:
    """Redis is stopped as by SIGSTOP, and continued."""
    async with fleet.redis_lock:
        fleet.loop.stop_node(REDIS)
        await asyncio.sleep(chance.choice((0.1, 0.5, 1, 4)))
        fleet.loop.continue_node(REDIS)


@_kind("redis")
async def busy(fleet: "Fleet", chance: random.Random) -> None:
    """Redis takes its time for each command."""
    fleet.redis.busy_seconds = chance.choice((0.01, 0.1, 0.5))
    await _pause(chance, 2, 6)
    fleet.redis.busy_seconds = 0.0


async def _refuse(fleet: "Fleet", refusal: str, seconds: float, *, when_full: bool = False) -> None:
    async with fleet.redis_lock:
        fleet.redis.refuse_writes(refusal, when_full=when_full)
        await asyncio.sleep(seconds)
        fleet.redis.refuse_writes("")


@_kind("redis")
async def full(fleet: "Fleet", chance: random.Random) -> None:
    """Redis has no memory left, and evicts nothing."""
    text = "OOM command not allowed when used memory > 'maxmemory'."
    await _refuse(fleet, text, chance.uniform(0.5, 5), when_full=True)


@_kind("redis")
async def cannot_save(fleet: "Fleet", chance: random.Random) -> None:
    """Redis refuses all writes, for it cannot save, or lacks replicas."""
    text = chance.choice(("MISCONF Redis cannot save", "NOREPLICAS Not enough good replicas"))
    await _refuse(fleet, text, chance.uniform(0.5, 5))


@_kind("redis")
async def a_replica(fleet: "Fleet", chance: random.Random) -> None:
    """The server has become a replica for a while."""
    async with fleet.redis_lock:
        fleet.redis.role = "slave"
        fleet.redis.refuse_writes("READONLY You can't write against a read only replica.")
        await _pause(chance, 0.5, 4)
        fleet.redis.role = "master"
        fleet.redis.refuse_writes("")


@_kind("redis")
async def loading(fleet: "Fleet", chance: random.Random) -> None:
    """Redis is killed, comes back, and loads for a while."""
    async with fleet.redis_lock:
        fleet.redis.is_loading = True
        await _restart_redis(fleet, None, 0.1)
        await _pause(chance, 0.5, 3)
        fleet.redis.is_loading = False


@_kind("redis")
async def clock_set_back(fleet: "Fleet", chance: random.Random) -> None:
    """Redis' clock falls: by what NTP steps, or by much more."""
    fleet.redis.clock_wrong_by -= chance.choice((0.3, 0.9, 5, 70, 3600))
    await asyncio.sleep(3)


@_kind("redis", breaks="Redis' clock is not set forward")
async def clock_set_forward(fleet: "Fleet", chance: random.Random) -> None:
    """Redis' clock is set forward."""
    fleet.redis.clock_wrong_by += chance.choice((2, 70, 4000))


@_kind("redis")
async def scripts_flushed(fleet: "Fleet", chance: random.Random) -> None:
    """SCRIPT FLUSH."""
    fleet.redis.engine.flush()


@_kind("redis", loses=True)
async def key_lost(fleet: "Fleet", chance: random.Random) -> None:
    """One key of the ledger is deleted, or evicted."""
    async with fleet.redis_lock:
        if keys := sorted(fleet.redis.engine.data.keys):
            key = chance.choice(keys)
            fleet.trace.note(REDIS, f"loses {key.decode()}")
            fleet.judges.assumptions.note_loss(fleet.loop.now)
            fleet.redis.engine.data.drop(key)
        await asyncio.sleep(1)


@_kind("redis")
async def loses_replies(fleet: "Fleet", chance: random.Random) -> None:
    """Scripts run, and the connection ends before their reply."""
    fleet.redis.loses_replies = chance.choice((0.02, 0.2))
    await _pause(chance, 0.5, 3)
    fleet.redis.loses_replies = 0.0


@_kind("redis")
async def drops_connections(fleet: "Fleet", chance: random.Random) -> None:
    """All connections to Redis are reset, again and again."""
    for _ in range(chance.randint(1, 6)):
        fleet.redis.drop_connections()
        await _pause(chance, 0.05, 0.8)


# --- gateways ---
async def _kill(fleet: "Fleet", gateway: "Gateway", chance: random.Random) -> None:
    async with gateway.lock:
        fleet.judges.note_death(gateway.node)
        gateway.kill()
        await _pause(chance, 0.1, 4)
        await gateway.begin()


@_kind("gateway", leaves_doubt=True)
async def killed_one(fleet: "Fleet", chance: random.Random) -> None:
    """One gateway is killed in the middle of whatever it does."""
    await _kill(fleet, _one(fleet, chance), chance)


@_kind("gateway", leaves_doubt=True)
async def killed_in_the_act(fleet: "Fleet", chance: random.Random) -> None:
    """One is killed just when a certain piece of data has reached it."""
    gateway = _one(fleet, chance)
    ends = [e for e in fleet.network.ends if e.node == gateway.node and e.peer.node != CALLERS]
    if ends:
        end = chance.choice(ends)
        before, until = end.received, fleet.loop.now + 5
        while end.received == before and not end.is_gone and fleet.loop.now < until:
            await asyncio.sleep(0.0005)
    await _kill(fleet, gateway, chance)


@_kind("gateway", leaves_doubt=True)
async def killed_all(fleet: "Fleet", chance: random.Random) -> None:
    """All are killed at once."""
    await asyncio.gather(*(_kill(fleet, gateway, chance) for gateway in fleet.gateways))


@_kind("gateway")
async def terminated(fleet: "Fleet", chance: random.Random) -> None:
    """SIGTERM, and a new one in its place."""
    gateway = _one(fleet, chance)
    async with gateway.lock:
        fleet.judges.note_stop(gateway.node)
        await gateway.stop()
        fleet.judges.note_end(gateway.node)
        await gateway.begin()


@_kind("gateway", leaves_doubt=True)
async def stopped_and_continued(fleet: "Fleet", chance: random.Random) -> None:
    """SIGSTOP, and SIGCONT some seconds later."""
    gateway = _one(fleet, chance)
    async with gateway.lock:
        began_at = fleet.loop.now
        seconds = chance.choice((0.3, 2, 6))
        fleet.judges.excuse(gateway.node, began_at - 60, began_at + seconds + 60)
        fleet.loop.stop_node(gateway.node)
        await asyncio.sleep(seconds)
        fleet.loop.continue_node(gateway.node)
        fleet.judges.assumptions.note_apart(gateway.node, began_at, fleet.loop.now)


@_kind("gateway")
async def restarted_with_other_settings(fleet: "Fleet", chance: random.Random) -> None:
    """A roll-out that changes limits: for a while, gateways differ."""
    gateway = _one(fleet, chance)
    async with gateway.lock:
        gateway.changes = {
            "rate_limit_per_minute": chance.choice((0, "auto", 20, 300, 3000)),
            "rate_limit_burst": chance.choice(("auto", 5, 1000)),
            "max_concurrency": chance.choice((2, 100)),
            "upstream_retries": chance.choice((0, 3)),
        }
        fleet.judges.note_stop(gateway.node)
        await gateway.stop()
        fleet.judges.note_end(gateway.node)
        await gateway.begin()


@_kind("gateway", breaks="nothing is enforced in shadow mode")
async def restarted_in_shadow_mode(fleet: "Fleet", chance: random.Random) -> None:
    """One gateway enforces nothing for a while, and then does again."""
    gateway = _one(fleet, chance)
    async with gateway.lock:
        for enforces in (False, True):
            gateway.changes = {**gateway.changes, "enforce": enforces}
            fleet.judges.note_stop(gateway.node)
            await gateway.stop()
            fleet.judges.note_end(gateway.node)
            await gateway.begin()
            await _pause(chance, 3, 20)


@_kind("gateway")
async def clock_wrong(fleet: "Fleet", chance: random.Random) -> None:
    """A gateway's own wall clock is wrong."""
    node = _one(fleet, chance).node
    fleet.clocks.wrong_by[node] = chance.choice((-3700.0, -2.0, 1.0, 90.0, 3700.0))
    await _pause(chance, 5, 30)
    fleet.clocks.wrong_by.pop(node, None)


# --- Keepa ---
@_kind("keepa", leaves_doubt=True)
async def down(fleet: "Fleet", chance: random.Random) -> None:
    """Keepa is not there."""
    async with fleet.keepa_lock:
        fleet.keepa.go_down()
        await _pause(chance, 0.5, 10)
        fleet.keepa.come_up()


@_kind("keepa", leaves_doubt=True)
async def frozen(fleet: "Fleet", chance: random.Random) -> None:
    """Keepa takes calls, and does nothing for a while."""
    async with fleet.keepa_lock:
        fleet.loop.stop_node(KEEPA)
        await _pause(chance, 0.5, 5)
        fleet.loop.continue_node(KEEPA)


async def _suffer(fleet: "Fleet", chance: random.Random, fault: Fault) -> None:
    entry = (chance.choice((0.05, 0.3, 1.0)), fault)
    fleet.keepa.suffers.append(entry)
    await _pause(chance, 1, 6)
    fleet.keepa.suffers.remove(entry)


def _suffering(fault: Fault, *, leaves_doubt: bool = True) -> None:
    async def work(fleet: "Fleet", chance: random.Random) -> None:
        await _suffer(fleet, chance, fault)

    work.__name__ = f"answers_{fault.value}"
    _kind("keepa", leaves_doubt=leaves_doubt)(work)


for _fault in Fault:
    _suffering(_fault, leaves_doubt=_fault not in {Fault.SLOW_BODY, Fault.SLOW_HEAD})


async def _tamper(fleet: "Fleet", chance: random.Random, change: Callable[[bytes], bytes]) -> None:
    ways = [(KEEPA, gateway.node) for gateway in fleet.gateways]
    for way in ways:
        fleet.network.tamper[way] = lambda data: change(data) if chance.random() < 0.3 else data
    await _pause(chance, 1, 5)
    for way in ways:
        fleet.network.tamper.pop(way, None)


@_kind("keepa", leaves_doubt=True)
async def wrong_lengths(fleet: "Fleet", chance: random.Random) -> None:
    """Answers are shorter or longer than they say."""
    more = chance.choice((b"1", b""))

    def change(data: bytes) -> bytes:
        head, name, rest = data.partition(b"Content-Length: ")
        digits = rest.split(b"\r\n", 1)[0]
        if not name or len(digits) < 2:
            return data
        return head + name + (digits[:-1] if not more else more + digits) + rest[len(digits) :]

    await _tamper(fleet, chance, change)


@_kind("keepa", leaves_doubt=True)
async def garbage(fleet: "Fleet", chance: random.Random) -> None:
    """What comes is no HTTP."""
    noise = b"\x16\x03\x01\x00\x05 no HTTP at all \xff\xfe\r\n\r\n\x00"
    await _tamper(fleet, chance, lambda _: noise)


async def _lie(fleet: "Fleet", chance: random.Random, **fields: float) -> None:
    fleet.keepa.lies.append(fields)
    await _pause(chance, 1, 6)
    fleet.keepa.lies.remove(fields)


@_kind("keepa")
async def absurd_balances(fleet: "Fleet", chance: random.Random) -> None:
    """Answers tell of a balance that cannot be."""
    await _lie(fleet, chance, tokens_left=chance.choice((10**18, -(10**18))))


@_kind("keepa")
async def absurd_waits(fleet: "Fleet", chance: random.Random) -> None:
    """Answers tell of a next lump that cannot be."""
    await _lie(fleet, chance, refill_in=chance.choice((-5, 10**9)))


@_kind("keepa", breaks="Keepa's answers tell its balance")
async def false_balances(fleet: "Fleet", chance: random.Random) -> None:
    """Answers tell of a balance that is not so."""
    await _lie(fleet, chance, tokens_left=chance.randrange(0, 500))


@_kind("keepa")
async def plan_up(fleet: "Fleet", chance: random.Random) -> None:
    """A larger plan."""
    await _change_plan(fleet, refill_rate=fleet.keepa.account.config.refill_rate * 2)


@_kind("keepa", breaks="the plan does not shrink between two observations")
async def plan_down(fleet: "Fleet", chance: random.Random) -> None:
    """A smaller plan."""
    await _change_plan(fleet, refill_rate=max(5, fleet.keepa.account.config.refill_rate // 3))


@_kind("keepa", breaks="the plan does not shrink between two observations")
async def trackings(fleet: "Fleet", chance: random.Random) -> None:
    """Price trackings take a part of each lump."""
    rate = fleet.keepa.account.config.refill_rate
    await _change_plan(fleet, flow_reduction=round(chance.uniform(0, 0.7) * rate, 2))


async def _change_plan(fleet: "Fleet", **changes: Any) -> None:
    account = fleet.keepa.account
    account.change(dataclasses.replace(account.config, **changes))


@_kind("keepa", breaks="the gateways are the only ones who spend the key")
async def other_spender(fleet: "Fleet", chance: random.Random) -> None:
    """Somebody else spends tokens of the key."""
    for _ in range(chance.randint(1, 4)):
        left = fleet.keepa.state()["tokens_left"]
        fleet.keepa.spend(max(0, chance.randint(0, max(1, left))))
        await _pause(chance, 0.5, 5)


# --- several at once, each written for one promise ---
@_kind("compound", leaves_doubt=True)
async def emptied_while_calls_lag(fleet: "Fleet", chance: random.Random) -> None:
    """The store is emptied while calls that hold tokens have yet to be charged."""
    lagging = asyncio.create_task(reorders_calls(fleet, chance))
    await _pause(chance, 0.3, 1.5)
    await emptied(fleet, chance)
    await lagging


async def _after_a_lump(fleet: "Fleet", chance: random.Random, seconds: float) -> None:
    """Return so long after a lump: then most calls are under way."""
    refill_in = fleet.keepa.state()["refill_in_ms"] / 1000
    await asyncio.sleep(refill_in + seconds)


@_kind("compound", leaves_doubt=True)
async def emptied_while_one_is_apart(fleet: "Fleet", chance: random.Random) -> None:
    """One gateway, whose calls are long on their way, brings its holds back late, but in time."""
    gateway = _one(fleet, chance)
    await _after_a_lump(fleet, chance, -0.3)
    way = (gateway.node, KEEPA)
    slowing = asyncio.create_task(_slow_way(fleet, way, chance.uniform(3, 5), 6))
    await _pause(chance, 0.5, 1.3)
    async with fleet.redis_lock:
        apart_seconds = chance.uniform(0.5, 1.4)
        parting = asyncio.create_task(_part(fleet, gateway.node, REDIS, apart_seconds))
        await asyncio.sleep(0)
        await _restart_redis(fleet, fleet.redis.empty(), 0.05)
        await parting
    await slowing


@_kind("compound", leaves_doubt=True)
async def emptied_after_a_lump(fleet: "Fleet", chance: random.Random) -> None:
    """The store is emptied when all have calls on their way."""
    await _after_a_lump(fleet, chance, -0.3)
    slowing = asyncio.create_task(_slow_way(fleet, ("", KEEPA), chance.uniform(2, 5), 6))
    await _pause(chance, 0.5, 1.3)
    await emptied(fleet, chance)
    await slowing


@_kind("compound", leaves_doubt=True)
async def replies_lost_after_a_lump(fleet: "Fleet", chance: random.Random) -> None:
    """Replies of Redis are lost when most is asked of it."""
    await _after_a_lump(fleet, chance, -0.2)
    fleet.redis.loses_replies = 0.3
    await _pause(chance, 0.5, 2)
    fleet.redis.loses_replies = 0.0


@_kind("compound", leaves_doubt=True)
async def set_back_while_calls_lag(fleet: "Fleet", chance: random.Random) -> None:
    """The store is set back while calls that hold tokens have yet to be charged."""
    lagging = asyncio.create_task(reorders_calls(fleet, chance))
    await _pause(chance, 0.3, 1.5)
    await set_back(fleet, chance)
    await lagging


@_kind("compound", leaves_doubt=True)
async def restarted_while_keepa_is_slow(fleet: "Fleet", chance: random.Random) -> None:
    """A gateway is replaced while its calls are long on their way."""
    slowing = asyncio.create_task(slow_to_keepa(fleet, chance))
    await _pause(chance, 0.5, 2)
    await terminated(fleet, chance)
    await slowing


@_kind("compound", leaves_doubt=True)
async def replies_lost_while_busy(fleet: "Fleet", chance: random.Random) -> None:
    """Scripts run late, and their replies are lost: everything is sent twice."""
    await asyncio.gather(busy(fleet, chance), loses_replies(fleet, chance))


@_kind("compound", leaves_doubt=True)
async def two_stores_in_a_row(fleet: "Fleet", chance: random.Random) -> None:
    """The store is emptied twice, the second time soon after the learning time."""
    await emptied(fleet, chance)
    await _pause(chance, 2.4, 6)
    await emptied(fleet, chance)


@_kind("compound", breaks="no gateway dies while the store is emptied", leaves_doubt=True)
async def killed_while_emptied(fleet: "Fleet", chance: random.Random) -> None:
    """A gateway dies together with the store: nobody knows of its calls any more."""
    await asyncio.gather(emptied(fleet, chance), killed_one(fleet, chance))
