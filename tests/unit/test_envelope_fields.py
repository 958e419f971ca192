"""What the token fields tell, and which values of them are believed."""

import dataclasses

import pytest

from gateway.keepa.envelope import Envelope, read_envelope

FULL = Envelope(
    tokens_left=290,
    refill_in_ms=53_441,
    refill_rate=5,
    flow_reduction=0.5,
    tokens_consumed=10,
)


def read_one(name: str, value: str) -> Envelope:
    return read_envelope(f'{{"{name}":{value}}}'.encode(), None)


def test_a_full_envelope_has_everything():
    """All five fields make an observation and a consumption, neither empty nor void."""
    assert FULL.has_observation
    assert FULL.has_consumption
    assert not FULL.is_empty
    assert not FULL.is_void


def test_nothing_found_is_empty_and_tells_nothing():
    """No field: empty, but not void, and nothing to settle with."""
    nothing = Envelope()
    assert nothing.is_empty
    assert not nothing.is_void
    assert not nothing.has_observation
    assert not nothing.has_consumption


def test_an_answer_to_a_wrong_key_is_void_and_no_observation():
    """All fields 0, the rate too: void, and never a reading of the bucket."""
    void = Envelope(0, 0, 0, 0.0, 0)
    assert void.is_void
    assert not void.has_observation
    assert not void.is_empty


@pytest.mark.parametrize("missing", ["refill_rate", "tokens_left", "tokens_consumed"])
def test_a_missing_zero_does_not_make_it_void(missing):
    """Void needs rate, balance and consumption found: a cut body is none."""
    assert not dataclasses.replace(Envelope(0, 0, 0, 0.0, 0), **{missing: None}).is_void


def test_an_empty_bucket_is_an_observation():
    """A balance of 0 or below with a rate is a reading of the bucket, not void."""
    assert dataclasses.replace(FULL, tokens_left=0, tokens_consumed=0).has_observation
    assert dataclasses.replace(FULL, tokens_left=-180).has_observation


@pytest.mark.parametrize("missing", ["tokens_left", "refill_in_ms", "refill_rate"])
def test_an_observation_needs_balance_time_and_rate(missing):
    """Without one of the three the bucket cannot be read."""
    assert not dataclasses.replace(FULL, **{missing: None}).has_observation


def test_an_observation_needs_neither_flow_nor_consumption():
    """Older answers carry no `tokenFlowReduction`: it counts as 0."""
    assert dataclasses.replace(FULL, flow_reduction=None, tokens_consumed=None).has_observation


@pytest.mark.parametrize(
    ("name", "value", "attribute", "expected"),
    [
        ("tokensLeft", "-31", "tokens_left", -31),
        ("tokensLeft", "-0", "tokens_left", 0),
        ("tokensLeft", "12.0", "tokens_left", 12),
        ("tokensLeft", "1.2e1", "tokens_left", 12),
        ("tokensLeft", "12.5", "tokens_left", 12),
        ("tokensLeft", "-12.5", "tokens_left", -13),
        ("tokensLeft", "1000000000", "tokens_left", 10**9),
        ("tokensLeft", "-1000000000", "tokens_left", -(10**9)),
        ("refillIn", "0", "refill_in_ms", 0),
        ("refillIn", "60000", "refill_in_ms", 60_000),
        ("refillIn", "60001", "refill_in_ms", 60_001),
        ("refillIn", "-1", "refill_in_ms", -1),
        ("refillIn", "1500.5", "refill_in_ms", 1501),
        ("refillRate", "1000000", "refill_rate", 10**6),
        ("refillRate", "19.5", "refill_rate", 19),
        ("tokenFlowReduction", "0.30000000000000004", "flow_reduction", 0.30000000000000004),
        ("tokenFlowReduction", "3", "flow_reduction", 3.0),
        ("tokensConsumed", "0", "tokens_consumed", 0),
        ("tokensConsumed", "0.25", "tokens_consumed", 1),
    ],
)
def test_a_sane_value_is_read(name, value, attribute, expected):
    """Each field takes numbers within its bounds; whole ones are rounded to the careful side."""
    found = getattr(read_one(name, value), attribute)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokensLeft", "1000000001"),
        ("tokensLeft", "-1000000001"),
        ("tokensLeft", "1e999"),
        ("tokensLeft", "9" * 5000),
        ("tokensLeft", '"12"'),
        ("tokensLeft", "true"),
        ("tokensLeft", "null"),
        ("tokensLeft", "[12]"),
        ("tokensLeft", '{"tokensLeft":12}'),
        ("tokensLeft", "NaN"),
        ("tokensLeft", "012"),
        ("tokensLeft", "+12"),
        ("tokensLeft", "12x"),
        ("tokensLeft", "0x10"),
        ("tokensLeft", "-"),
        ("tokensLeft", ""),
        ("refillIn", "1e999"),
        ("refillRate", "-1"),
        ("refillRate", "1000001"),
        ("tokenFlowReduction", "-0.1"),
        ("tokenFlowReduction", "1e999"),
        ("tokenFlowReduction", "Infinity"),
        ("tokensConsumed", "-1"),
        ("tokensConsumed", "1000000001"),
    ],
)
def test_a_value_that_no_sane_answer_has_counts_as_not_found(name, value):
    """Out of bounds, or of another type: as if the field were not there."""
    assert read_one(name, value).is_empty
