"""What every refusal must look like, whoever is refused and why."""

import re
import time

NEVER_MS = 3_600_000
NO_BALANCE_MS = 60_000
CLIENT_ERRORS = {400, 401, 403, 404, 405, 408, 413, 414, 415}
INTEGERS = ("timestamp", "tokensLeft", "refillIn", "refillRate", "tokensConsumed")
OF_THE_BALANCE = ("current_balance", "deficit", "reserved", "capacity")
KEYS = {
    "error", "reason", "endpoint", "service", "request_id", "current_balance", "required_tokens",
    "floor", "deficit", "reserved", "capacity", "retryable", "retry_after_seconds",
    "max_items_now", "timestamp", "tokensLeft", "refillIn", "refillRate", "tokenFlowReduction",
    "tokensConsumed", "processingTimeInMs",
}  # fmt: skip


def is_integer(value):
    return type(value) is int


def read_refusal(answer, status, reason, kind=None):
    """Check an answer against the contract's one shape; return its JSON."""
    told = answer.json()
    assert (answer.status, told["reason"]) == (status, reason), told
    assert answer.whole
    assert answer.get("Content-Type").startswith("application/json")
    assert told.keys() <= KEYS
    assert KEYS - told.keys() <= {"max_items_now"}
    assert told["error"].keys() == {"type", "message", "details"}
    assert all(type(text) is str for text in told["error"].values())
    assert told["error"]["type"] == (kind or reason)
    assert all(type(told[name]) is str for name in ("reason", "endpoint", "service", "request_id"))
    assert answer.get("X-Request-Id") == told["request_id"]
    _check_what_keepas_clients_read(told)
    _check_retry(answer, told)
    if status in CLIENT_ERRORS:
        _check_without_balance(answer, told)
    if "max_items_now" in told:
        assert is_integer(told["max_items_now"])
        assert told["max_items_now"] >= 0
    return told


def _check_what_keepas_clients_read(told):
    assert all(is_integer(told[name]) for name in (*INTEGERS, "processingTimeInMs"))
    assert type(told["tokenFlowReduction"]) is float
    assert abs(told["timestamp"] - time.time() * 1000) < 10_000
    assert told["tokensLeft"] >= 0
    assert told["refillIn"] > 0
    assert told["refillRate"] > 0
    assert (told["tokensConsumed"], told["processingTimeInMs"]) == (0, 0)


def _check_retry(answer, told):
    assert type(told["retryable"]) is bool
    seconds = told["retry_after_seconds"]
    assert answer.get("Retry-After") == (None if seconds is None else str(seconds))
    if told["retryable"]:
        assert is_integer(seconds)
        # Rounded up: neither way of waiting comes too early, nor a second late.
        assert 0 <= seconds * 1000 - told["refillIn"] < 1000 or seconds == 1
    else:
        assert seconds is None


def _check_without_balance(answer, told):
    assert all(told[name] is None for name in OF_THE_BALANCE)
    assert not told["retryable"]
    assert (told["tokensLeft"], told["refillIn"], told["refillRate"]) == (0, NO_BALANCE_MS, 1)
    assert answer.get("RateLimit") is None


def check_balance(told, *, available, required, floor=10, held=0, capacity=1200):
    """Check what a refusal with a balance says of it."""
    assert told["current_balance"] == available
    assert told["required_tokens"] == required
    assert (told["floor"], told["reserved"], told["capacity"]) == (floor, held, capacity)
    assert told["tokensLeft"] == max(0, available)
    assert all(is_integer(told[name]) for name in (*OF_THE_BALANCE, "required_tokens", "floor"))


def read_rate_limit(answer):
    """Return capacity, tokens left and seconds to the lump of the RateLimit header fields."""
    policy = re.fullmatch(r'"keepa";q=(\d+);w=3600', answer.get("RateLimit-Policy"))
    state = re.fullmatch(r'"keepa";r=(\d+);t=(\d+)', answer.get("RateLimit"))
    assert policy
    assert state
    return int(policy[1]), int(state[1]), int(state[2])
