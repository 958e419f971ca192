"""What `/usage` is asked for: its parameters, read without a gateway."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from gateway.errors import BadRequest
from gateway.views.usage_question import read_question

NOW = datetime(2026, 11, 22, 13, 20, 30, tzinfo=UTC)


def hours(query: str) -> tuple[str, str]:
    """Return the period that is asked for."""
    question = read_question(query, NOW)
    moments = (question.first_hour, question.end_hour)
    begin, end = (datetime.fromtimestamp(hour * 3600, UTC) for hour in moments)
    return begin.strftime("%m-%dT%H"), end.strftime("%m-%dT%H")


@pytest.mark.parametrize(
    ("query", "period"),
    [
        ("", ("11-21T13", "11-22T14")),
        ("from=2026-11-22", ("11-22T00", "11-22T14")),
        ("to=2026-11-20", ("11-20T00", "11-21T00")),
        ("from=2026-11-20&to=2026-11-20", ("11-20T00", "11-21T00")),
        ("from=2026-11-20&to=2026-11-22", ("11-20T00", "11-23T00")),
        ("from=2026-11-20T05:00Z&to=2026-11-20T07:00Z", ("11-20T05", "11-20T07")),
        ("from=2026-11-20T05:59&to=2026-11-20T06:00:01", ("11-20T05", "11-20T07")),
        ("from=2026-11-20+05:00&to=2026-11-20+06:00", ("11-20T05", "11-20T06")),
        (f"from={quote('2026-11-20T05:00+02:00')}&to=2026-11-20", ("11-20T03", "11-21T00")),
        ("to=2026-10-18T05:00", ("10-18T00", "10-18T05")),
        ("from=20261120&to=20261120", ("11-20T00", "11-21T00")),
        ("from=2026-10-18&to=2026-11-21", ("10-18T00", "11-22T00")),
    ],
)
def test_a_period_is_whole_hours(query, period):
    """Dates are whole days, moments are widened to hours, a day is taken where one is missing."""
    assert hours(query) == period


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("from=yesterday", "`from` must be a date"),
        ("from=", "`from` must be a date"),
        ("to=2026-02-30", "`to` must be a date"),
        ("to=9999-12-31", "`to` must be a date"),
        ("from=0001-01-01T00:00%2B14:00", "`from` must be a date"),
        ("from=2026-11-22T10:00 02:00", "`from` must be a date"),
        ("from=2026-11-23", "`from` must be earlier"),
        ("from=2026-11-20T05:00&to=2026-11-20T05:00", "`from` must be earlier"),
        ("from=2026-10-19&to=2026-11-23", "35 days apart"),
        ("from=2026-10-18", "35 days apart"),
        ("from=2026-10-17&to=2026-11-01", "nothing is known before 2026-10-18T00:00Z"),
        ("to=2026-10-17", "nothing is known before"),
        ("to=0001-01-01", "nothing is known before"),
        ("by=hour,week", "any of hour, day, service, endpoint"),
        ("by=", "any of hour, day, service, endpoint"),
        ("by=service,", "any of hour, day, service, endpoint"),
        ("format=xml", "json or csv"),
        ("form=csv", "takes the parameters from, to, by and format"),
        ("by=hour&by=day", "each once"),
        ("&".join(f"a{n}=1" for n in range(40)), "takes the parameters"),
    ],
)
def test_what_cannot_be_answered_is_told_in_a_sentence(query, sentence):
    """A bad parameter is a bad request that says what is allowed."""
    with pytest.raises(BadRequest, match=sentence):
        read_question(query, NOW)


def test_what_was_given_is_not_repeated():
    """What stands in a URL may be a key: no sentence shows it."""
    for query in ("s3cret=1", "from=s3cret", "by=s3cret", "format=s3cret", "key=s3cret"):
        with pytest.raises(BadRequest) as refused:
            read_question(query, NOW)
        assert "s3cret" not in str(refused.value)


def test_all_days_that_are_kept_can_be_asked_for():
    """35 days up to now, and from the first day on any shorter period."""
    oldest = NOW - timedelta(days=35)
    query = f"from={oldest:%Y-%m-%dT%H:%M:%SZ}"
    assert hours(query) == ("10-18T13", "11-22T14")


@pytest.mark.parametrize(
    ("query", "by"),
    [
        ("", ("service", "endpoint")),
        ("by=hour", ("hour",)),
        ("by=endpoint,day", ("endpoint", "day")),
        ("by=day,day,service", ("day", "service")),
        ("by=hour%2Cday", ("hour", "day")),
    ],
)
def test_columns_come_as_asked(query, by):
    """In the order asked for, each once."""
    assert read_question(query, NOW).by == by
