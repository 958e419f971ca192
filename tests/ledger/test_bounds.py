"""No script reads more than its bound, whatever callers, or a dead fleet, have left in the keys."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis.asyncio
from support.ledger.calls import ask, know, observed, reserve, run, settle
from support.redis.server import RedisServer

from gateway.ledger import Ask, Code, Ledger, RedisStore, Rules, Terms, scripts

RULES = Rules(600, 0, 1, fresh_seconds=60, stale_seconds=10**9)
MANY = 3_000
# REAP_AT_MOST, CLEAR_AT_MOST and COUNT_AT_MOST times the commands for each, rounded up.
COMMANDS_AT_MOST = 2_500
# What a call costs that is answered on nothing but its own hold, twice.
FEW = 60
_FILL = "for i = 1, ARGV[1] do %s end"
_HOLD = """
  redis.call('HSET', KEYS[2], 'h' .. i, '1|' .. ARGV[2] .. '|' .. ARGV[3] .. '|1|shop|product')
  redis.call('ZADD', KEYS[3], ARGV[3], 'h' .. i)
  redis.call('ZADD', KEYS[4], ARGV[2], 'h' .. i)
"""
_MARKER = "redis.call('ZADD', KEYS[8], ARGV[3], 'm' .. i)"
_OLD_MARKER = """
  redis.call('HSET', KEYS[2], 'o' .. i, 'resolved')
  redis.call('ZADD', KEYS[3], ARGV[3], 'o' .. i)
"""


class Counted:
    """A server whose commands are counted, those inside scripts too."""

    def __init__(self, client: redis.asyncio.Redis, ledger: Ledger) -> None:
        self.client = client
        self._keys = ledger._keys
        self._calls = 0

    async def fill(self, what: str, *, started_ago: float = 0.0, ends_in: float = 500.0) -> None:
        now = time.time()
        start, end = int((now - started_ago) * 1e6), int((now + ends_in) * 1e6)
        await self.client.eval(_FILL % what, len(self._keys), *self._keys, MANY, start, end)
        await self.commands()

    async def commands(self) -> int:
        """Return how many commands ran since the last time."""
        stats = await self.client.info("commandstats")
        calls = sum(
            row["calls"] for name, row in stats.items() if name.removeprefix("cmdstat_") != "info"
        )
        before, self._calls = self._calls, calls
        return calls - before


@pytest.fixture
async def ledger(redis_server: RedisServer, account: str, ear) -> AsyncIterator[Ledger]:
    store = RedisStore(redis_server.url, learning_seconds=0)
    await store.open()
    yield Ledger(store, account, RULES, ear)
    await store.close()


@pytest.fixture
async def counted(redis_server: RedisServer, ledger: Ledger) -> AsyncIterator[Counted]:
    async with redis.asyncio.Redis.from_url(redis_server.url) as client:
        yield Counted(client, ledger)


Step = Callable[[Ledger], Awaitable[object]]


async def refuse_a_dear_call(ledger: Ledger) -> None:
    assert await ask(ledger, "dear", 1180) == Code.FLOOR


async def leave(ledger: Ledger) -> None:
    ledger.leave("left", "")
    assert await ledger.delivered(5)


@pytest.mark.parametrize("marker", [_MARKER, _OLD_MARKER], ids=["own key", "version before"])
@pytest.mark.parametrize("step", [refuse_a_dear_call, leave, Ledger.overview, Ledger.next_in_queue])
async def test_departed_callers_cost_the_others_nothing(
    ledger: Ledger, counted: Counted, marker: str, step: Step
) -> None:
    """What thousands of them left is not walked through."""
    await know(ledger, 1000)
    await reserve(ledger, "a", 30)
    await counted.fill(marker)
    await step(ledger)
    bound = FEW if marker is _MARKER else 2 * 200
    assert await counted.commands() <= bound


async def test_markers_of_a_crowd_go_little_by_little(ledger: Ledger, counted: Counted) -> None:
    """Each that is made and each look removes some whose time is over, until none is left."""
    await know(ledger, 1000)
    await counted.fill(_MARKER, ends_in=-1)
    for _ in range(MANY // 500):
        await ledger.overview()
        assert await counted.commands() <= FEW
    assert await counted.client.zcard(ledger._keys[7]) == 0


async def test_holds_of_a_dead_fleet_are_counted_little_by_little(
    ledger: Ledger, counted: Counted
) -> None:
    """Nothing is admitted before all are counted, and then each counts once."""
    await know(ledger, 1000, rate=200)
    await counted.fill(_HOLD)
    ledger.store._run_id += "'"
    scripts_run = 0
    while True:
        code = (await ledger.reserve(Ask(f"c{scripts_run}", 1, Terms(10), "shop", "product"))).code
        assert code == Code.UNKNOWN
        assert await counted.commands() <= COMMANDS_AT_MOST
        scripts_run += 1
        turn = await ledger.claim(at_once=True)
        if turn.outlook.admits_in_ms == 0:
            await ledger.observe(turn, observed(8000, rate=200))
            break
    assert scripts_run > MANY / 2000
    look = await ledger.overview()
    assert (look.balance.held, look.live_holds) == (MANY, MANY)
    assert await ask(ledger, "d", 8000 - MANY - 9) == Code.FLOOR
    assert await ask(ledger, "d", 8000 - MANY - 10) == Code.DONE


async def test_holds_that_end_while_they_are_counted_are_subtracted_once(
    ledger: Ledger, counted: Counted
) -> None:
    """Those counted already, and those that the count has not come to yet."""
    await know(ledger, 8000, rate=200)
    own = [await reserve(ledger, f"own{n}", 2) for n in range(40)]
    await counted.fill(_HOLD)
    ledger.store._run_id += "'"
    for n, hold in enumerate(own):
        await run(ledger, scripts.COUNT_REFUSALS)
        if n % 2:
            await settle(ledger, hold, 2)
    for _ in range(30):
        look = await ledger.overview()
    assert (look.balance.held, look.live_holds) == (MANY + 40, MANY + 20)


async def test_an_answer_is_weighed_against_a_bounded_number_of_holds(
    ledger: Ledger, counted: Counted, ear
) -> None:
    """Too few of them are the careful side: the lower bound becomes the balance."""
    await know(ledger, 8000, rate=200)
    hold = await reserve(ledger, "a", 1)
    await counted.fill(_HOLD)
    ledger.store._run_id += "'"
    while (await ledger.claim(at_once=True)).outlook.admits_in_ms:
        pass
    await counted.commands()
    await settle(ledger, hold, 1, observed(7000, age=30.0, rate=200))
    assert await counted.commands() <= 2 * 300 + FEW


async def test_holds_expire_little_by_little(ledger: Ledger, counted: Counted) -> None:
    """The rest is held meanwhile."""
    await know(ledger, 8000, rate=200)
    await counted.fill(_HOLD)
    ledger.store._run_id += "'"
    while (await ledger.claim(at_once=True)).outlook.admits_in_ms:
        pass
    index = ledger._keys[2]
    await counted.client.eval(
        "for i = 1, ARGV[1] do redis.call('ZADD', KEYS[1], 1, 'h' .. i) end", 1, index, MANY
    )
    await counted.commands()
    for n in range(1, MANY // 200 + 1):
        assert (await ledger.overview()).balance.held == MANY - 200 * n
        assert await counted.commands() <= COMMANDS_AT_MOST


async def test_many_lost_holds_begin_one_epoch(ledger: Ledger, counted: Counted, ear) -> None:
    """Their expiries, due ones too, go little by little, and are not told of again."""
    await know(ledger, 8000, rate=200)
    for prefix in "abc":
        await counted.fill(_HOLD.replace("'h'", f"'{prefix}'"), ends_in=-1)
    await counted.client.delete(ledger._keys[1])
    await counted.commands()
    epochs = set()
    for _ in range(3 * MANY // 1000 + 1):
        epochs.add((await run(ledger, scripts.OVERVIEW, 0, 0)).epoch)
        assert await counted.commands() <= COMMANDS_AT_MOST
    assert len(epochs) == 1
    assert await counted.client.zcard(ledger._keys[2]) == 0
    assert (await ledger.overview()).balance.held == 0


async def test_made_up_services_are_bounded(ledger: Ledger, counted: Counted) -> None:
    """Who comes after the bound counts as of the service `other`, caps and all."""
    await know(ledger, 8000, rate=200)
    await counted.client.eval(
        "for i = 1, 2300 do redis.call('HSET', KEYS[5], 's' .. i, '0|0|0|0|0|0|0') end",
        len(ledger._keys), *ledger._keys,
    )  # fmt: skip
    admission = await ledger.reserve(Ask("a", 20, Terms(10), "one more", "product"))
    assert admission.hold
    refused = await ledger.reserve(Ask("b", 9000, Terms(10), "two more", "product"))
    assert refused.code == Code.FLOOR
    services = (await ledger.overview()).services
    assert not {"one more", "two more"} & services.keys()
    other = services["other"]
    assert (other.reserved, other.holds, other.refusals) == (20, 1, {"floor": 1})
    await settle(ledger, admission.hold, 15)
    other = (await ledger.overview()).services["other"]
    assert (other.used, other.reserved, other.holds) == (15, 0, 0)
