"""An endpoint that the cost table lacks: what it holds, and who hears of it."""

import pytest
from support.callers.refusals import check_balance, read_refusal


def told(log):
    return [line for line in log if line["event"] == "unknown_endpoint"]


async def count(gateway):
    page = (await gateway.ask("/metrics")).body.decode()
    return float(page.split("\nkeepa_gateway_unknown_endpoint_total ")[1].split("\n")[0])


async def test_each_name_is_told_once_and_each_call_counted(serve, simulator, log):
    """Every call holds 50 and is counted, the first of a name is a warning that tells who calls."""
    gateway = await serve(simulator)
    await gateway.until_ready()
    assert await count(gateway) == 0
    for target in ("/NewOne?domain=1", "/newone/?domain=1&x=2", "/newtwo", "/product?asin=B1"):
        answer = await gateway.ask(target, "X-Service-Name: shop")
        held = answer.get("X-Keepa-Gateway-Reserved")
        assert held == ("1" if "product" in target else "50")
    assert await count(gateway) == 3
    assert [(line["name"], line["service"], line["required"], line["log_level"])
            for line in told(log)] == [
        ("newone", "shop", 50, "warning"), ("newtwo", "shop", 50, "warning"),
    ]  # fmt: skip


async def test_a_refused_one_is_told_too(serve, simulate, log):
    """What the budget refuses is no less unknown."""
    gateway = await serve(await simulate(tokens=40))
    await gateway.until_ready()
    refused = read_refusal(await gateway.ask("/newone"), 429, "floor", "insufficientTokens")
    check_balance(refused, available=40, required=50)
    assert refused["endpoint"] == "unknown"
    assert await count(gateway) == 1
    assert [line["name"] for line in told(log)] == ["newone"]


@pytest.mark.parametrize(
    ("costs", "held", "is_unknown"),
    [({"unknown": 7}, "7", True), ({"unknown": 0}, "0", True), ({"newone": 20}, "20", False)],
)
async def test_the_operator_sets_the_price(serve, simulator, log, costs, held, is_unknown):
    """`unknown` in ENDPOINT_COSTS is the price of them all; one that is named is known."""
    gateway = await serve(simulator, endpoint_costs=costs)
    await gateway.until_ready()
    assert (await gateway.ask("/NewOne?x=1")).get("X-Keepa-Gateway-Reserved") == held
    assert bool(told(log)) is is_unknown
    assert await count(gateway) == int(is_unknown)


async def test_callers_cannot_flood_the_log(serve, simulate, log):
    """Of the names that callers make up fifty are logged, and no more than 40 letters of each."""
    gateway = await serve(await simulate(tokens=100_000, refill_rate=2_000))
    await gateway.until_ready()
    for number in range(60):
        await gateway.ask(f"/{number:02}{'x' * 60}")
    assert [line["name"] for line in told(log)] == [f"{n:02}{'x' * 38}" for n in range(50)]
    assert await count(gateway) == 60


async def test_a_quote_is_no_call(gateway, log):
    """To ask what it would cost is not to call it."""
    await gateway.until_ready()
    quoted = (await gateway.ask("/quote?path=newone")).json()
    assert quoted["parts"] == [{"what": "unknown endpoint", "tokens": 50}]
    assert await count(gateway) == 0
    assert not told(log)
