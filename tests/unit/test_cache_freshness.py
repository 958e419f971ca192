"""How old an answer a call takes: what it says (RFC 9111), its service's policy, Keepa's hours."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.freshness import (
    NOTHING_SAID,
    Directives,
    Terms,
    allow,
    read_directives,
)
from gateway.cache.questions import read_question

HOUR = 3600
PLAIN = "domain=1&asin=B000000001"
ON = Terms(most=10 * HOUR, stale=5 * HOUR)


def product(more=""):
    return read_question("GET", "product", PLAIN + more)


def say(*lines, pragma=()):
    return read_directives(lines, pragma)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], NOTHING_SAID),
        ([""], NOTHING_SAID),
        (["max-age=60"], Directives(max_age=60)),
        (["MAX-AGE=60"], Directives(max_age=60)),
        (['max-age="60"'], Directives(max_age=60)),
        (["max-age=60, max-age=30"], Directives(max_age=30)),
        (["max-age=60", "max-age=90"], Directives(max_age=60)),
        (["max-age"], Directives(max_age=0)),
        (["max-age=soon"], Directives(max_age=0)),
        (["max-age=-1"], Directives(max_age=0)),
        (["max-age=1.5"], Directives(max_age=0)),
        (['max-age="60'], Directives(max_age=0)),
        (["max-age=6 0"], Directives(max_age=0)),
        (["max-age=" + "9" * 5000], Directives(max_age=2**31)),
        (["max-stale"], Directives(max_stale=math.inf)),
        (["max-stale=5, max-stale"], Directives(max_stale=5)),
        (["max-stale=x"], Directives(max_stale=0)),
        (["min-fresh=5,min-fresh=9"], Directives(min_fresh=9)),
        (["min-fresh=x"], Directives(min_fresh=math.inf)),
        (["no-cache"], Directives(no_cache=True)),
        (["no-store , only-if-cached"], Directives(no_store=True, only_if_cached=True)),
        (["stale-if-error=9"], Directives(stale_if_error=9)),
        (["stale-if-error"], Directives(stale_if_error=0)),
        (['no-transform, x="a, max-age=9", max-age=7'], Directives(max_age=7)),
        ([",,;;,max-age=7"], Directives(max_age=7)),
    ],
)  # fmt: skip
def test_directives(lines, expected):
    """Names in any case, quoted arguments, the stricter of two; a bad number is the strictest."""
    assert say(*lines) == expected


def test_pragma_counts_alone():
    """`Pragma: no-cache` is for callers who say nothing in `Cache-Control`."""
    assert say(pragma=["no-cache"]).no_cache
    assert say(pragma=["x, No-Cache"]).no_cache
    assert not say("max-age=60", pragma=["no-cache"]).no_cache
    assert not say(pragma=["no-cachet"]).no_cache


@given(st.lists(st.text(max_size=40)))
def test_any_header_is_read(lines):
    """Nothing that a caller may send raises."""
    assert isinstance(say(*lines), Directives)


@given(
    st.integers(0, 10**12), st.sampled_from(["max-age={}", 'max-age="{}"', "x=1 ,Max-Age={} ,y"])
)
def test_numbers_are_what_they_say(number, form):
    """Up to the most that counts, 2^31."""
    assert say(form.format(number)).max_age == min(number, 2**31)


@pytest.mark.parametrize(
    ("said", "terms", "seconds"),
    [
        # Nothing is allowed unless it is said.
        (say(), ON, 0),
        (say("max-age=60"), ON, 60),
        (say("max-age=60"), Terms(), 0),
        (say("max-age=999999"), ON, 10 * HOUR),
        # A call counts before its service's policy.
        (say(), Terms(most=HOUR, usual=600), 600),
        (say("max-age=60"), Terms(most=HOUR, usual=600), 60),
        (say("max-age=0"), Terms(most=HOUR, usual=600), 0),
        (say(), Terms(most=HOUR, usual=600, shares=False), 0),
        # min-fresh is within the gateway's age, max-stale beyond it.
        (say(f"max-age={20 * HOUR}, min-fresh={4 * HOUR}"), ON, 6 * HOUR),
        (say("max-age=60, min-fresh=1"), ON, 60),
        (say("max-age=60, min-fresh=999999"), ON, 0),
        (say("max-age=60, max-stale=30"), ON, 90),
        (say(f"max-age={20 * HOUR}, max-stale"), ON, 15 * HOUR),
        (say("no-cache, max-age=60"), ON, 0),
        (say("no-store, max-age=60, max-stale"), ON, 0),
        (say(pragma=["no-cache"]), Terms(most=HOUR, usual=600), 0),
    ],
)  # fmt: skip
def test_the_allowed_age(said, terms, seconds):
    """A = min(W, most - min-fresh) + min(max-stale, stale); 0 where it is forbidden."""
    allowance = allow(product(), said, terms)
    assert allowance.seconds == seconds
    assert allowance.takes(seconds, 1, None) == (seconds > 0)
    assert not allowance.takes(seconds + 0.001, 1, None)


def test_what_may_never_be_answered_from_before():
    """A live product (`update=0`) and a call that is not understood."""
    assert allow(product("&update=0"), say("max-age=60, max-stale"), ON).seconds == 0
    assert allow(None, say("max-age=60, max-stale"), ON).seconds == 0


@pytest.mark.parametrize(
    ("question", "said", "terms", "may_keep"),
    [
        (product(), say(), ON, True),
        (product("&update=0"), say("no-cache"), ON, True),
        (product(), say("no-store"), ON, False),
        (product(), say(), Terms(most=HOUR, shares=False), False),
        (product(), say("max-age=60"), Terms(), False),
        (None, say(), ON, False),
    ],
)
def test_what_may_be_kept(question, said, terms, may_keep):
    """Also the answer to a call that takes none; not where the call or its service forbids."""
    assert allow(question, said, terms).may_keep == may_keep


@pytest.mark.parametrize(
    ("more", "fetched_hours", "data_age", "takes"),
    [
        # Fetched as this call would have: whatever Keepa made of it.
        ("", 1, None, True),
        ("", 0, None, True),
        ("&offers=20", 0, None, True),
        # Fetched for who takes older data: only where Keepa's was young enough all the same.
        ("", 24, None, False),
        ("", 24, HOUR + 1, False),
        ("", 24, HOUR, True),
        ("", math.inf, None, False),
        ("", math.inf, 0, True),
        ("&offers=20", 1, None, False),
        ("&offers=20", 1, 0, True),
        ("&update=-1", math.inf, None, True),
        ("&update=24", 24, 23 * HOUR, True),
        # With `update` said, the data itself may be so old, and no older.
        ("&update=24", 24, None, False),
        ("&update=24", 1, 24 * HOUR, False),
        ("&update=24", 1, 24 * HOUR - 60, True),
    ],
)
def test_the_fetching_calls_hours(more, fetched_hours, data_age, takes):
    """A call is given no older data than Keepa would have given it; here at an age of 60 s."""
    allowance = allow(product(more), say("max-age=600"), ON)
    assert allowance.takes(60, fetched_hours, data_age) == takes
    assert not allowance.takes(601, fetched_hours, data_age)


@pytest.mark.parametrize(
    ("question", "age", "data_age", "takes"),
    [
        (product(), 0, 0, True),
        (product(), 600, HOUR - 600, True),
        (product(), 601, HOUR - 600, False),
        (product(), 60, None, False),
        (product("&update=24"), HOUR, 22 * HOUR, True),
        (product("&update=24"), HOUR, 23 * HOUR + 1, False),
        (product("&update=-1"), 1, 1, False),
        (product("&offers=20"), 1, 1, False),
        (product("&offers=20&update=2"), HOUR, HOUR, True),
        (read_question("GET", "topseller", "domain=1"), 1, 1, False),
    ],
)
def test_as_keepa(question, age, data_age, takes):
    """Just as long as Keepa itself would not have refreshed the product."""
    allowance = allow(question, say(), Terms(most=100 * HOUR, usual="as_keepa"))
    assert allowance.takes(age, 1, data_age) == takes


def test_as_keepa_is_within_the_gateways_age():
    """The operator's most counts for it, too; and a call that says an age has said it."""
    terms = Terms(most=60, usual="as_keepa")
    assert not allow(product(), say(), terms).takes(61, 1, 0)
    assert not allow(product(), say("max-age=5"), terms).takes(6, 1, 0)


def test_a_whole_answer_has_only_its_age():
    """`update=N` of a search is held against it: nothing says how old Keepa's data is."""
    search = read_question("GET", "search", "domain=1&type=product&term=lamp&update=1")
    allowance = allow(search, say("max-age=99999"), ON)
    assert allowance.takes(HOUR, 1, None)
    assert not allowance.takes(HOUR + 1, 1, None)


@pytest.mark.parametrize(
    ("said", "terms", "stale_seconds"),
    [
        (say(), ON, 0),
        (say("max-age=60"), ON, 60),
        (say("max-age=60, stale-if-error=100"), ON, 160),
        (say("stale-if-error=100"), ON, 100),
        (say("max-age=60"), Terms(most=HOUR, stale=HOUR, stale_if_error=100), 160),
        (say("max-age=60, stale-if-error=0"), Terms(most=HOUR, stale_if_error=100), 60),
        (say("stale-if-error=999999"), ON, 15 * HOUR),
        (say("no-cache, stale-if-error=100"), ON, 0),
        (say("max-age=60, max-stale=500, stale-if-error=100"), ON, 560),
    ],
)
def test_stale_instead_of_nothing(said, terms, stale_seconds):
    """W + N, as long as entries are kept, and never less than what is allowed anyway."""
    allowance = allow(product(), said, terms)
    assert allowance.stale_seconds == stale_seconds
    assert allowance.takes_stale(stale_seconds, 1, None) == (stale_seconds > 0)
    assert not allowance.takes_stale(stale_seconds + 1, 1, None)


def test_stale_is_no_other_question():
    """Also where there would be no answer else, data fetched for who takes older is not given."""
    allowance = allow(product(), say("max-age=60, stale-if-error=9999"), ON)
    assert allowance.takes_stale(1000, 1, None)
    assert not allowance.takes_stale(1000, 24, None)
