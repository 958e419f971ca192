"""What a cache would have saved, against a plain account of one."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cache.questions import read_question
from gateway.cache.repeats import WITHIN, Repeats

MINUTE, HOUR, DAY = 60, 3600, 86_400


def ask(asins="B000000001", more=""):
    return read_question("GET", "product", f"domain=1&asin={asins}{more}")


def test_each_second_call_of_forty_minutes():
    """A cache of an hour is filled anew when it is over, not each time somebody asks."""
    repeats = Repeats()
    counted = [repeats.count(ask(), 2, n * 40 * MINUTE) for n in range(5)]
    assert [one["1h"] for one in counted] == [0, 2, 0, 2, 0]
    assert [one["24h"] for one in counted] == [0, 2, 2, 2, 2]


def test_a_batch_counts_by_its_products():
    """Of a call for four, of which three were paid for before, three quarters."""
    repeats = Repeats()
    repeats.count(ask("B000000001,B000000002"), 2, 0)
    repeats.count(ask("B000000003"), 1, 0)
    four = "B000000003,B000000004,B000000001,B000000002"
    assert repeats.count(ask(four), 8, 1) == {"1h": 6, "24h": 6}
    # A cut of the price, as for products that Keepa had not to fetch, is shared out alike.
    assert repeats.count(ask(four), 2, 2) == {"1h": 2, "24h": 2}


@pytest.mark.parametrize(
    ("first", "second", "saved"),
    [
        ("", "", 1),
        ("&stats=90", "&stats=180", 0),
        ("", "&update=0", 0),
        ("&update=0", "", 1),
        ("&update=-1", "", 0),
        ("", "&update=-1", 1),
        ("&update=24", "", 0),
        ("", "&update=24", 1),
        ("&offers=20&update=5", "&offers=20", 0),
        ("&offers=20", "&offers=20&update=5", 1),
    ],
)
def test_what_may_serve_whom(first, second, saved):
    """Live calls are served by nobody; none is served what was fetched for who takes older data."""
    repeats = Repeats()
    repeats.count(ask(more=first), 1, 0)
    assert repeats.count(ask(more=second), 1, 10)["1h"] == saved


def test_hours_of_its_own_bound_it():
    """A call that says `update=2` is not served what was fetched three hours ago."""
    repeats = Repeats()
    repeats.count(ask(), 1, 0)
    assert repeats.count(ask(more="&update=2"), 1, 3 * HOUR)["24h"] == 0
    assert repeats.count(ask(more="&update=2"), 1, 4 * HOUR)["24h"] == 1


def test_the_latest_entries_are_remembered():
    """At most so many; the one asked for longest ago gives way."""
    repeats = Repeats(most=2)
    for asin in ("B000000001", "B000000002", "B000000001", "B000000003"):
        repeats.count(ask(asin), 1, 0)
    assert len(repeats) == 2
    assert repeats.count(ask("B000000001"), 1, 1)["1h"] == 1
    assert repeats.count(ask("B000000002"), 1, 1)["1h"] == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5 * HOUR), st.sampled_from([0, 3]))))
def test_it_is_what_a_cache_of_that_age_pays(calls):
    """Against caches that are played through: each keeps what it paid for, for its age."""
    repeats, now = Repeats(), 0.0
    kept: dict[str, dict[int, float]] = {label: {} for label in WITHIN}
    for place, later, tokens in calls:
        now += later
        counted = repeats.count(ask(f"B{place:09d}"), tokens, now)
        for label, age in WITHIN.items():
            is_fresh = now - kept[label].get(place, -math.inf) <= age
            assert counted[label] == (tokens if is_fresh else 0)
            if not is_fresh:
                kept[label][place] = now


def test_whole_answers_are_counted_too():
    """A best seller list within the hour costs 50 tokens that were paid before."""
    repeats = Repeats()
    question = read_question("GET", "bestsellers", "domain=1&category=5")
    assert repeats.count(question, 50, 0) == {"1h": 0, "24h": 0}
    assert repeats.count(question, 50, DAY) == {"1h": 0, "24h": 50}
