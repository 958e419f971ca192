"""What a cache would have saved, counted of calls as they are paid for, and where it shows."""

from prometheus_client.parser import text_string_to_metric_families
from support.waiting import until

A, B = "B0MAX00001", "B0MAX00002"
ONE = f"/product?domain=1&asin={A}&key=mine"


async def repeated(gateway, endpoint="product"):
    """Return what the metric says of an endpoint, by age."""
    page = (await gateway.ask("/metrics")).plain.decode()
    return {
        sample.labels["within"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "keepa_gateway_repeated_tokens_total"
        and sample.labels["endpoint"] == endpoint
    }


async def comes_to(gateway, tokens, endpoint="product"):
    """Wait for a figure: an answer may reach its caller just before it is counted."""

    async def is_there():
        return await repeated(gateway, endpoint) == {"1h": tokens, "24h": tokens}

    await until(is_there)


async def test_it_starts_at_nothing(gateway):
    """Before any call each endpoint that may be shared stands at 0."""
    assert await repeated(gateway) == await repeated(gateway, "deal") == {"1h": 0, "24h": 0}
    assert await repeated(gateway, "tracking") == {}


async def test_what_was_paid_for_before_is_counted(gateway):
    """However it is spelt and whoever asks: the product's share of what the call cost."""
    for target in (
        ONE,
        f"/product/?asin={A}%2C{B}&history=1&domain=1&key=other",
        f"/product?domain=1&asin={A}&stats=90",
        f"/product?domain=1&asin={A}&update=0",
        "/bestsellers?domain=1&category=5",
        f"/product?domain=1&asin={A}&colour=red",
    ):
        assert (await gateway.ask(target)).status == 200
    await comes_to(gateway, 1)
    assert (await gateway.ask(ONE)).status == 200
    await comes_to(gateway, 2)
    assert await repeated(gateway, "bestsellers") == {"1h": 0, "24h": 0}
    told = (await gateway.ask("/status")).json()["repeated_tokens"]
    # Twenty tokens a minute.
    assert told == {age: {"tokens": 2, "minutes": 0.1} for age in ("1h", "24h")}


async def test_a_posted_selection_is_a_question_too(serve, simulate):
    """The same finder as JSON and in the query, by its meaning."""
    gateway = await serve(await simulate(tokens=500))
    posted = await gateway.ask(
        "/query?domain=1&key=k", method="POST", body=b'{"simMatches": 3, "a": 1}'
    )
    asked = await gateway.ask("/query?domain=1&selection=%7B%22a%22:1,%22simMatches%22:3%7D&key=k")
    assert (posted.status, asked.status) == (200, 200)
    await comes_to(gateway, asked.json()["tokensConsumed"], "query")
    assert asked.json()["tokensConsumed"] > 0


async def test_what_was_not_answered_is_no_repeat(gateway):
    """A failure and a call that Keepa turned down were paid for by nobody."""
    for fault in ("http_500", "drop", "all_zero", "charge_then_html"):
        await gateway.ask(ONE, f"X-Sim-Fault: {fault}")
    seller = "/seller?domain=1&storefront=1&key=k&seller="
    for _ in range(2):
        assert (await gateway.ask(seller + "A00000001,A00000002")).status == 405
        assert (await gateway.ask(seller + "ANONE0001")).json()["tokensConsumed"] == 0
    # The first that was, and one more: what went before would have been counted by now.
    for _ in range(2):
        assert (await gateway.ask(ONE)).status == 200
    await comes_to(gateway, 1)
    assert await repeated(gateway, "seller") == {"1h": 0, "24h": 0}


async def test_no_caller_sees_it_and_nothing_asked_is_in_it(gateway):
    """The second answer has the same headers, and the metric names endpoints alone."""
    first, second = [await gateway.ask(ONE) for _ in range(2)]
    await comes_to(gateway, 1)
    assert [name for name, _ in first.headers] == [name for name, _ in second.headers]
    page = (await gateway.ask("/metrics")).plain.decode()
    assert A not in page
    assert "mine" not in page


async def test_it_is_on_the_dashboard(gateway):
    """The page has a place for it."""
    assert 'id="repeated"' in (await gateway.ask("/dashboard")).plain.decode()


async def test_a_selection_of_any_depth_is_answered(gateway):
    """What is too deep to be recognised is forwarded and answered like any other call."""
    for depth in (300, 450, 900):
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        got = await gateway.ask("/deal?key=k", method="POST", body=deep)
        assert (got.status, got.json()["tokensConsumed"]) == (200, 5)
