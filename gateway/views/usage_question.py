"""The parameters of `/usage`."""

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from urllib.parse import parse_qsl

from gateway.balance import HOUR_SECONDS
from gateway.errors import BadRequest
from gateway.ledger import DAYS_KEPT

TIMES = ("hour", "day")
NAMES = ("service", "endpoint")
FORMATS = ("json", "csv")
_PARAMETERS = {"from", "to", "by", "format"}


class Question(NamedTuple):
    """One request's parameters, read."""

    first_hour: int
    """Since 1970, UTC."""
    end_hour: int
    """The first hour after the period."""
    by: tuple[str, ...]
    """Columns of TIMES and NAMES, in the order asked for."""
    format: str
    """One of FORMATS; empty: not said."""

    @property
    def has_names(self) -> bool:
        """Whether a row belongs to a service or an endpoint."""
        return any(column in NAMES for column in self.by)


def read_question(query: str, now: datetime) -> Question:
    """Read the parameters; `from` and `to` are widened to whole hours.

    Args:
        query: As it stands in the URL.
        now: In UTC.

    Raises:
        BadRequest: With one sentence that says what is allowed. What was given is not repeated in
            it: it may be a key.
    """
    try:
        given = parse_qsl(query, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        given = [("", "")]
    parameters = dict(given)
    if len(parameters) != len(given) or not parameters.keys() <= _PARAMETERS:
        raise BadRequest("/usage takes the parameters from, to, by and format, each once")
    asked_format = parameters.get("format", "")
    if asked_format not in {*FORMATS, ""}:
        raise BadRequest("`format` must be json or csv")
    begin, end = _read_period(parameters, now)
    return Question(
        int(begin.timestamp() // HOUR_SECONDS),
        int(-(-end.timestamp() // HOUR_SECONDS)),
        _read_columns(parameters.get("by", ",".join(NAMES))),
        asked_format,
    )


def _read_period(parameters: dict[str, str], now: datetime) -> tuple[datetime, datetime]:
    """Return the first moment and the one that ends the period; the last day where none is said."""
    day = timedelta(days=1)
    oldest = datetime.combine(now.date() - DAYS_KEPT * day, time(), UTC)
    end = _read_moment(parameters, "to") or now
    begin = _read_moment(parameters, "from") or max(end, oldest + day) - day
    if begin < oldest or end <= oldest:
        raise BadRequest(
            f"Usage is kept for {DAYS_KEPT} days: nothing is known before {oldest:%Y-%m-%dT%H:%MZ}"
        )
    if begin >= end:
        raise BadRequest("`from` must be earlier than `to`, which is now where it is not given")
    if end - begin > DAYS_KEPT * day:
        raise BadRequest(f"`from` and `to` may be at most {DAYS_KEPT} days apart")
    return begin, end


def _read_moment(parameters: dict[str, str], name: str) -> datetime | None:
    """Return a moment in UTC; a date is its first one, and as `to` the end of it."""
    text = parameters.get(name)
    if text is None:
        return None
    try:
        try:
            moment = datetime.combine(date.fromisoformat(text), time(), UTC)
        except ValueError:
            moment = datetime.fromisoformat(text)
        else:
            moment += timedelta(days=1 if name == "to" else 0)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(
            f"`{name}` must be a date or a date-time in UTC, as 2026-11-22 or 2026-11-22T13:00Z"
        ) from None


def _read_columns(text: str) -> tuple[str, ...]:
    columns = tuple(dict.fromkeys(text.split(",")))
    if not set(columns) <= {*TIMES, *NAMES}:
        allowed = ", ".join((*TIMES, *NAMES))
        raise BadRequest(f"`by` must be any of {allowed}, with commas between them")
    return columns
