"""Bad settings stop the start with one line that names the variable and what is allowed."""

import json

import pytest
from support.gateways.command import run_command

KEY = "realKey0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijk"
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
        ("serve", {"keepa_api_key": ""}, ["KEEPA_API_KEY", "required"]),
        ("serve", {"min_balance_threshold": "ten"}, ["MIN_BALANCE_THRESHOLD=ten", "integer"]),
        ("check", {"redis_url": f"http://:{SECRET}@x"}, ["REDIS_URL=***", "redis://"]),
        (
            "serve",
            {"upstream_timeout_seconds": 9, "reservation_ttl_seconds": 9},
            ["RESERVATION_TTL_SECONDS=9", "UPSTREAM_TIMEOUT_SECONDS=9"],
        ),
        (
            "check",
            {"service_keys": f"shop:{SECRET},loft:{KEY}"},
            ["SERVICE_KEYS=***", "real Keepa key"],
        ),
    ],
    ids=[
        "no json", "no field", "no such service", "low floor", "no endpoint",
        "no endpoint for the rest", "overdraft", "three secrets", "a shared secret", "waits",
        "no number", "enforce", "no key", "no number of tokens", "no redis url", "hold too short",
        "key given away",
    ],
)  # fmt: skip
def test_a_bad_setting_stops_the_start_with_one_line(
    monkeypatch, tmp_path, command, settings, told
):
    """Exit code 2; one line names the variable and what is allowed, and no secret."""
    chosen = {"keepa_api_key": KEY, "service_keys": KEYS, "redis_url": "redis://127.0.0.1:1"}
    monkeypatch.chdir(tmp_path)
    ended = run_command(command, **{**chosen, **settings})
    assert (ended.code, ended.output, ended.errors.count("\n")) == (2, "", 1)
    for words in told:
        assert words in ended.errors
    for secret in (KEY, SECRET):
        assert secret not in ended.errors
