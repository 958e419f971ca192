"""The simulated bucket fills and drains as Keepa's does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator import Bucket

MINUTE = 60_000
YEAR = 365 * 24 * 60 * MINUTE


@pytest.mark.parametrize(
    ("refill_rate", "flow_reduction", "now_ms", "balance"),
    [
        (20, 0.0, 0, 100),
        (20, 0.0, MINUTE - 1, 100),
        (20, 0.0, MINUTE, 120),
        (20, 0.0, 2 * MINUTE - 1, 120),
        (20, 0.0, 2 * MINUTE, 140),
        (20, 0.4, MINUTE, 120),  # 19.6 is nearer to 20
        (20, 0.5, MINUTE, 120),  # halves go up
        (20, 0.6, MINUTE, 119),
        (20, 19.8, MINUTE, 100),
        (20, 50.0, MINUTE, 100),  # a lump never takes
        (20, 0.0, 55 * MINUTE, 1200),
        (20, 0.0, 56 * MINUTE, 1200),
        (20, 0.0, 30 * YEAR, 1200),
        (0, 0.0, YEAR, 100),
    ],
)
def test_lumps(refill_rate, flow_reduction, now_ms, balance):
    """Each minute the rate less the reduction, rounded, arrives at once, up to an hour's worth."""
    bucket = Bucket(100, refill_rate, 0, flow_reduction=flow_reduction)

    assert bucket.balance(now_ms) == balance


def test_phase():
    """The first lump falls when it was said to, and each other a minute after the one before."""
    bucket = Bucket(0, 5, 1_000, first_lump_in_ms=18_815)

    assert bucket.refill_in_ms(1_000) == 18_815
    assert bucket.refill_in_ms(19_814) == 1
    assert bucket.balance(19_814) == 0
    assert bucket.refill_in_ms(19_815) == MINUTE
    assert bucket.balance(19_815) == 5
    assert bucket.refill_in_ms(20_000 + YEAR) == MINUTE - 185


def test_balance_above_the_capacity_is_kept():
    """A lump never lowers a balance that began above the capacity."""
    bucket = Bucket(2_000, 20, 0)

    assert bucket.balance(5 * MINUTE) == 2_000
    assert bucket.lost_total == 100
    bucket.charge(810, 5 * MINUTE)
    assert bucket.balance(6 * MINUTE) == 1_200
    assert bucket.lost_total == 110


def test_overdraft():
    """Any call runs on a positive balance, none but free ones on zero or less."""
    bucket = Bucket(1, 20, 0)

    assert bucket.charge(500, 0)
    assert bucket.balance(0) == -499
    assert not bucket.charge(1, 0)
    assert bucket.charge(0, 0)
    assert bucket.balance(0) == -499
    assert bucket.charged_total == 500
    assert not bucket.charge(1, 24 * MINUTE)
    assert bucket.balance(25 * MINUTE) == 1
    assert bucket.charge(1, 25 * MINUTE)
    assert bucket.balance(25 * MINUTE) == 0
    assert not bucket.charge(1, 25 * MINUTE)


def test_lowest():
    """The lowest balance is remembered after lumps have lifted it, and whose doing it was."""
    bucket = Bucket(100, 20, 0)
    assert (bucket.lowest, bucket.lowest_by_charge) == (100, 100)

    bucket.charge(70, 0)
    bucket.spend(50, 0)
    bucket.balance(10 * MINUTE)

    assert bucket.balance(10 * MINUTE) == 180
    assert (bucket.lowest, bucket.lowest_by_charge) == (-20, 30)
    assert (bucket.charged_total, bucket.spent_total) == (70, 50)


def test_change_of_rate():
    """A new rate counts from the moment it changes; lumps until then keep the old one."""
    bucket = Bucket(0, 20, 0)

    bucket.change_rate(5, 1.0, 2 * MINUTE)

    assert bucket.balance(2 * MINUTE) == 40
    assert bucket.balance(3 * MINUTE) == 44
    assert bucket.capacity == 300


def test_clock_set_back():
    """Time that goes backwards neither brings nor takes a lump."""
    bucket = Bucket(0, 20, 0)
    bucket.balance(MINUTE)

    assert bucket.balance(0) == 20
    assert bucket.balance(2 * MINUTE - 1) == 20


@pytest.mark.parametrize(
    "act",
    [
        lambda: Bucket(0, -1, 0),
        lambda: Bucket(0, 1, 0, first_lump_in_ms=-1),
        lambda: Bucket(0, 1, 0).charge(-1, 0),
        lambda: Bucket(0, 1, 0).spend(-1, 0),
        lambda: Bucket(0, 1, 0).change_rate(-1, 0.0, 0),
    ],
)
def test_impossible_amounts(act):
    """An amount that there cannot be is refused."""
    with pytest.raises(ValueError, match=r"negative|less than nothing"):
        act()


@given(
    st.integers(-500, 5_000),
    st.integers(0, 60),
    st.lists(
        st.tuples(st.sampled_from(["charge", "spend", "wait"]), st.integers(0, 700)), max_size=40
    ),
)
def test_no_token_appears_or_vanishes(tokens, refill_rate, steps):
    """What was there plus what came is what was taken plus what is left, whatever happens."""
    bucket, now_ms, seen = Bucket(tokens, refill_rate, 0), 0, [tokens]
    for act, amount in steps:
        if act == "wait":
            now_ms += amount * 977
        else:
            getattr(bucket, act)(amount, now_ms)
        seen.append(bucket.balance(now_ms))

    assert seen[-1] == tokens + bucket.gained_total - bucket.charged_total - bucket.spent_total
    assert bucket.lowest <= min(seen)
    assert max(seen) <= max(tokens, bucket.capacity)
