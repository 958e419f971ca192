"""The request rate as callers and operators meet it: its default, and which limit was met."""

import pytest
from support.callers.refusals import read_refusal

FREE = "/tracking?type=list&key=x"


@pytest.mark.parametrize(
    ("plan", "in_force"), [(1, (20, 200)), (20, (20, 200)), (3000, (3000, 30_000))]
)
async def test_the_default_follows_the_plan(serve, simulate, plan, in_force):
    """`/status` tells the limit in force: as many requests a minute as tokens, 20 at least."""
    defaults = {"rate_limit_per_minute": "auto", "rate_limit_burst": "auto"}
    gateway = await serve(await simulate(refill_rate=plan, tokens=60), **defaults)
    await gateway.until_ready()
    told = (await gateway.ask("/status")).json()["request_rate"]
    assert (told["per_minute"], told["burst"]) == in_force


async def test_without_a_limit_there_is_none_to_tell(serve, simulator):
    """0 turns it off."""
    gateway = await serve(simulator, rate_limit_per_minute=0)
    assert (await gateway.ask("/status")).json()["request_rate"] is None


async def test_the_refusal_names_the_limit(serve, simulator):
    """Whoever reads nothing but the message knows which setting it met, and its value."""
    gateway = await serve(simulator, rate_limit_per_minute=1, rate_limit_burst=1)
    assert (await gateway.ask(FREE)).status == 200
    refusal = read_refusal(await gateway.ask(FREE), 429, "rate_limited", "rateLimited")
    message = refusal["error"]["message"]
    assert "1 requests a minute (RATE_LIMIT_PER_MINUTE)" in message
    assert message.endswith(f"it fits in {refusal['retry_after_seconds']} s")
