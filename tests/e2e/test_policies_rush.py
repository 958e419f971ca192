"""Three services that want more than there is: what each gets, and what nobody may."""

import re

import pytest
from support.callers.crowd import burst
from support.rush.books import Books
from support.rush.rush import Plan, Rush, parties_of

pytestmark = pytest.mark.e2e

CAP = 200
DENIED = re.compile(r'keepa_gateway_denied_total\{.*mode="(\w+)".*reason="(\w+)".*\} (\S+)')


@pytest.mark.timeout(90)
async def test_each_service_gets_what_its_policy_says(machines, redis, figures):
    """Saturated across a lump: floors, caps and order are kept, and nothing lies idle."""
    plan = Plan(rate=600, tokens=700, lump_in_seconds=13, seconds=14, patience=(2, 5, 10))
    rush = Rush(plan, parties_of(CAP), seed=4)
    await rush.open(machines, redis)
    await rush.run()
    settled_after = await rush.settled()
    truth = await rush.simulator.state()
    assert truth["gained_total"] == plan.rate, "too slow a start to meet the lump"
    books = Books(rush, truth)
    shop, research, batch = (books.shares[party.name] for party in rush.parties)
    figures(
        **books.figures(), settled_seconds=settled_after,
        shop=shop, research=research, batch=batch,
    )  # fmt: skip
    assert books.judge() == []
    # There was a rush: everybody waited, some left meanwhile, and each limit was met.
    assert truth["lowest_balance_by_charge"] == 10
    assert min(shop.waited, len(books.left_in_time)) > 0
    assert research.told["429 service_quota"] > 0
    assert batch.told["429 service_concurrency"] > 0
    assert batch.told["429 service_floor"] > 0


@pytest.mark.timeout(90)
async def test_shadow_mode_refuses_nobody(machines, redis, figures):
    """ENFORCE=false: every call is answered by Keepa, and what would have been told is counted."""
    floor = 20_000
    shop, research, batch = parties_of(50, above=floor)
    shop = shop._replace(policy={"max_cost": 9, "endpoints": ["product"]})
    parties = [party._replace(callers=8) for party in (shop, research, batch)]
    plan = Plan(rate=600, tokens=floor + 300, lump_in_seconds=60, seconds=4, patience=(1, 2))
    rush = Rush(
        plan, parties, seed=5, enforce="false", min_balance_threshold=floor,
        rate_limit_per_minute=60, rate_limit_burst=10, balance_max_age_seconds=1,
    )  # fmt: skip
    await rush.open(machines, redis)
    await rush.run()
    # A store that is away refuses nobody either.
    redis.kill()
    shops = f"X-Api-Key: {shop.secret}"
    without = await burst(rush.gateways, 40, shops)
    redis.start()
    assert {answer.status for answer in without} == {200}
    assert {visit.verdict for visit in rush.visits} <= {"200", "left"}
    settled_after = await rush.settled(20)
    truth = await rush.simulator.state()
    would = {line["reason"] for one in rush.gateways for line in one.logged("would_refuse")}
    denied = [
        sample
        for one in rush.gateways
        for sample in DENIED.findall((await one.ask("/metrics")).body.decode())
    ]
    figures(
        calls=len(rush.visits), lowest=truth["lowest_balance_by_charge"], would=sorted(would),
        settled_seconds=settled_after,
    )  # fmt: skip
    assert truth["lowest_balance_by_charge"] < floor
    # Which others are met depends on who comes first; each has its test in tests/http.
    assert would >= {
        "service_floor", "service_quota", "max_cost", "endpoint_not_allowed", "ledger_unavailable",
    }  # fmt: skip
    assert {mode for mode, _, _ in denied} == {"shadow"}
    assert {reason for _, reason, count in denied if float(count)} == would
    for one in rush.gateways:
        assert not [line for line in one.logged("call") if line["outcome"] == "refused"]


async def test_shadow_mode_still_asks_who_calls(machines):
    """ENFORCE=false: a call without a service's key stays a 401, and never reaches Keepa."""
    simulator = await machines.simulate().started()
    gateway = await machines.serve(
        keepa_base_url=simulator.url, service_keys="shop:of-the-shop-0123456789", enforce="false"
    ).started()
    answer = await gateway.ask("/product?domain=1&asin=B0MIN00001", "X-Api-Key: a-wrong-one")
    assert (answer.status, answer.json()["reason"]) == (401, "unauthorized")
    assert "product" not in (await simulator.state())["calls"]
