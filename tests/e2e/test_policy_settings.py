"""Bad policies, keys, overdrafts and waits, as an operator meets them: one line, and no start."""

import json

import pytest
from support.gateways.processes import KEY

pytestmark = pytest.mark.e2e

SECRET = "hunter2-of-the-shop"
KEYS = f"shop:{SECRET},batch:{SECRET}-too"


def policies(**of):
    return {"service_policies": json.dumps(of)}


@pytest.mark.parametrize(
    ("command", "settings", "told"),
    [
        (
            "serve",
            {"service_policies": "{'batch': {}}"},
            ["SERVICE_POLICIES={'batch': {}}: allowed is a JSON object by service"],
        ),
        (
            "serve",
            policies(batch={"flor": 300}),
            ["SERVICE_POLICIES=", 'service "batch": unknown field "flor"', "tokens_per_hour"],
        ),
        (
            "check",
            policies(loft={"floor": 300}),
            ["SERVICE_POLICIES=", 'service "loft": SERVICE_KEYS has no such name'],
        ),
        (
            "serve",
            policies(batch={"floor": 5}),
            ["SERVICE_POLICIES=", "floor=5 is below MIN_BALANCE_THRESHOLD=10"],
        ),
        (
            "serve",
            policies(batch={"endpoints": ["product", "produkt"]}),
            ["SERVICE_POLICIES", 'service "batch": endpoints: there is no "produkt"'],
        ),
        (
            "check",
            policies(default={"endpoints": ["quote"]}),
            ["SERVICE_POLICIES", 'service "default": endpoints: there is no "quote"'],
        ),
        ("check", {"overdraft": "always"}, ["OVERDRAFT=always", "'never' or 'when_full'"]),
        (
            "serve",
            {"service_keys": f"shop:{SECRET},shop:{SECRET}2,shop:{SECRET}3"},
            ["SERVICE_KEYS=***", "at most two secrets for each name"],
        ),
        (
            "check",
            {"service_keys": f"shop:{SECRET},batch:{SECRET}"},
            ["SERVICE_KEYS=***", "each secret once"],
        ),
        (
            "serve",
            {"default_wait_seconds": 9, "max_wait_seconds": 8},
            ["DEFAULT_WAIT_SECONDS=9", "MAX_WAIT_SECONDS=8"],
        ),
        ("serve", {"max_wait_seconds": "soon"}, ["MAX_WAIT_SECONDS=soon", "number"]),
        ("check", {"enforce": "perhaps"}, ["ENFORCE=perhaps", "boolean"]),
    ],
    ids=[
        "no json", "no field", "no key", "low floor", "no endpoint", "no endpoint for the rest",
        "overdraft", "three secrets", "a shared secret", "waits", "no number", "enforce",
    ],
)  # fmt: skip
async def test_a_bad_policy_stops_the_start_with_one_line(machines, command, settings, told):
    """Exit code 2; one line names the variable and what is allowed, and no secret."""
    chosen = {"keepa_api_key": KEY, "service_keys": KEYS, "redis_url": "redis://127.0.0.1:1"}
    process = machines.run(command, **{**chosen, **settings})
    assert await process.ended() == 2
    assert process.output == ""
    assert process.errors.count("\n") == 1
    for words in told:
        assert words in process.errors
    for secret in (KEY, SECRET):
        assert secret not in process.errors


async def test_check_has_nothing_against_good_policies(machines):
    """`check` with every field of a policy, two secrets for a service and waits ends with 0."""
    simulator = await machines.simulate().started()
    policy = {
        "floor": 300, "tokens_per_hour": 500, "tokens_per_day": 4000, "max_cost": 100,
        "max_concurrency": 4, "endpoints": ["product", "deals", "unknown", "tomorrow"],
        "code_limit": 5, "max_offers": 40, "overdraft": "when_full",
    }  # fmt: skip
    process = machines.run(
        "check", keepa_base_url=simulator.url, keepa_api_key=KEY,
        service_keys=f"{KEYS},shop:a-newer-one", overdraft="when_full", enforce="false",
        endpoint_costs='{"tomorrow": 3}', default_wait_seconds=5, max_wait_seconds=30,
        **policies(batch=policy, default={"floor": 20}),
    )  # fmt: skip
    assert await process.ended() == 0, process.errors
    assert SECRET not in process.output
    assert process.errors == ""
