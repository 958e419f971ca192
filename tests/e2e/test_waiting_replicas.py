"""Calls that wait on two replicas: their order, and what is left of those who go."""

import asyncio
import json
from types import SimpleNamespace

import keepa
import keepa.keepa_sync
import pytest
import requests
from support.callers.crowd import Trickle, agree
from support.callers.visits import Visit, of_cost
from support.measure.stopwatch import Stopwatch
from support.waiting import until

from e2e.waiting_pair import FLOOR, PATIENCE_SECONDS, WaitingPair

pytestmark = pytest.mark.e2e

# A gateway of which nothing was heard for three seconds is gone; a busy machine takes its time.
GONE_SECONDS = 4.5
# The stock client's own time-out.
CLIENT_SECONDS = 10
# A restart; longer than the time between two questions of a gateway about the line.
AWAY_SECONDS = 0.4
KEEPA = "https://api.keepa.com"
BATCH = "X-Service-Name: batch"


@pytest.fixture
async def pair(machines, redis):
    pair = WaitingPair(machines, redis)
    yield pair
    await pair.leave()


async def test_first_come_first_served_over_two_replicas(pair, figures):
    """Calls of one service run in the order of their coming, wherever they came."""
    await pair.open()
    for place in (0, 1, 1, 0, 1, 0, 0, 1, 0):
        await pair.wait(place, 5)
    for turn in (3, 6, 9):
        await pair.set_balance(FLOOR + 15)
        assert await pair.served(turn) == pair.visits[:turn]
        assert await pair.simulator.balance() == FLOOR
    figures(waited_seconds=[round(visit.seconds, 1) for visit in pair.visits])
    await agree(pair.gateways, pair.simulator)
    assert pair.line_length() == 0


async def test_the_lower_floor_is_served_first(pair):
    """Whoever has the lower floor runs first, also where another came first and could run."""
    await pair.open(service_policies=json.dumps({"batch": {"floor": 50}}))
    batch = await pair.wait(0, 50, BATCH)
    shop = await pair.wait(1, 50)
    # Enough for either of the two.
    await pair.set_balance(100)
    assert await pair.served(1) == [shop]
    assert await pair.simulator.balance() == 50
    assert not batch.ended_at
    await pair.set_balance(100)
    assert await pair.served(2) == [batch, shop]
    assert await pair.simulator.balance() == 50


async def test_newcomers_leave_the_tokens_to_those_who_wait(pair):
    """Who comes later takes nothing that one in the line could run on, however often it tries."""
    await pair.open()
    first = await pair.wait(0, 50)
    async with Trickle(pair.gateways, 0.01) as trickle:
        await until(lambda: trickle.told["429 floor"])
        await pair.set_balance(FLOOR + 50)
        assert await pair.served(1) == [first]
    assert trickle.told.keys() == {"429 floor"}
    assert await pair.charged() == 50


async def test_a_killed_replicas_waiters_leave_nothing(pair, figures):
    """kill -9 with 50 waiters: the tokens go to those behind them, at the other replica."""
    await pair.open()
    doomed, other = pair.gateways
    for _ in range(50):
        await pair.wait(0, 2)
    behind = [await pair.wait(1, 2) for _ in range(10)]
    assert pair.line_length() == 60
    doomed.kill()
    killed_at = Stopwatch()
    await pair.set_balance(FLOOR + 2 * len(behind))
    assert await pair.served(len(behind), GONE_SECONDS) == behind
    served_after = killed_at.seconds
    await until(lambda: pair.line_length() == 0, GONE_SECONDS)
    gone_after = killed_at.seconds
    figures(served_seconds=round(served_after, 2), line_empty_seconds=round(gone_after, 2))
    assert gone_after < GONE_SECONDS
    assert await pair.told() == ["gone"] * 50 + ["200"] * 10
    assert await pair.charged() == 2 * len(behind)
    await agree([other], pair.simulator)
    assert (await other.metrics())["reservations_expired_total"] == 0


async def test_sigterm_answers_those_who_wait(pair, figures):
    """SIGTERM: who waits is told at once, exit code 0; the other replica's go on waiting."""
    await pair.open()
    stopping, other = pair.gateways
    leaving = [await pair.wait(0, 2) for _ in range(20)]
    staying = [await pair.wait(1, 2) for _ in range(5)]
    watch = Stopwatch()
    stopped_at = stopping.terminate()
    assert await stopping.ended() == 0
    ended_after = watch.seconds
    answers = await asyncio.gather(*pair.tasks[: len(leaving)])
    told_after = max(visit.ended_at for visit in answers) - stopped_at - watch.delay_seconds
    figures(told_seconds=round(told_after, 2), ended_seconds=round(ended_after, 2))
    assert [visit.verdict for visit in leaving] == ["429 floor"] * len(leaving)
    assert {visit.answer.get("Preference-Applied") for visit in leaving} == {"wait=60"}
    assert told_after < 1.5
    assert ended_after < 2.5
    assert stopping.errors == ""
    assert pair.line_length() == len(staying)
    await pair.set_balance(FLOOR + 10)
    assert await pair.served(len(staying)) == staying
    await agree([other], pair.simulator)
    assert pair.line_length() == 0


async def _flush(redis):
    redis.command("FLUSHALL")


async def _restart(redis):
    redis.kill()
    await asyncio.sleep(AWAY_SECONDS)
    redis.start()


@pytest.mark.parametrize("empty", [_flush, _restart])
async def test_a_line_that_was_lost_is_made_again(pair, figures, empty):
    """The store emptied while calls wait on both replicas: they are served, in the old order."""
    await pair.open()
    for place in (1, 0, 0, 1, 0, 1):
        await pair.wait(place, 5)
    await empty(pair.redis)
    lost_at = Stopwatch()
    await until(pair.has_learned)
    await until(lambda: pair.line_length() == 6, 2)
    figures(line_back_seconds=round(lost_at.seconds, 2))
    for turn in (2, 4, 6):
        await pair.set_balance(FLOOR + 10)
        assert await pair.served(turn) == pair.visits[:turn]
    await agree(pair.gateways, pair.simulator)
    assert pair.line_length() == 0


async def test_a_caller_who_hangs_up_has_spent_nothing(pair):
    """Half a second of waiting, and gone: no place, no hold, no token, and the next one's turn."""
    await pair.open()
    await pair.wait(0, 5, leaves_after=0.5)
    following = await pair.wait(1, 5)
    # At once: sooner than a gateway without a sign of life is given up.
    await until(lambda: pair.line_length() == 1, 1.5)
    await pair.set_balance(FLOOR + 7)
    assert await pair.served(1) == [following]
    assert await pair.told() == ["left", "200"]
    await agree(pair.gateways, pair.simulator)
    assert await pair.charged() == 5
    assert pair.line_length() == 0


async def test_the_stock_client_gives_up_and_has_spent_nothing(pair, monkeypatch, figures):
    """The Python client's own time-out ends its wait: what comes afterwards is not spent for it."""
    await pair.open(default_wait_seconds=PATIENCE_SECONDS)
    url = pair.gateways[0].url

    def get(target, *arguments, **options):
        return requests.get(target.replace(KEEPA, url), *arguments, **options)

    monkeypatch.setattr(keepa.keepa_sync, "requests", SimpleNamespace(get=get))
    client = await asyncio.to_thread(keepa.Keepa, "k" * 64)
    began_at = Stopwatch()
    with pytest.raises(requests.exceptions.Timeout):
        await asyncio.to_thread(client.query, ["B0MIN00001"] * 3, progress_bar=False)
    figures(client_waited_seconds=round(began_at.wall_seconds, 2))
    assert began_at.wall_seconds >= CLIENT_SECONDS
    assert began_at.seconds < CLIENT_SECONDS + 2
    await until(lambda: pair.line_length() == 0)
    await pair.set_balance(FLOOR + 100)
    # Somebody else is served as soon as the tokens are there.
    visit = Visit("", 4, PATIENCE_SECONDS)
    await visit.make(pair.gateways[1].url)
    assert visit.verdict == "200", of_cost(4)
    await agree(pair.gateways, pair.simulator)
    assert await pair.charged() == 4
