"""`/usage`: tokens, calls and refusals by time, service and endpoint, as JSON or CSV."""

import asyncio
import csv
import io
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.balance import HOUR_SECONDS
from gateway.errors import BadRequest
from gateway.front.request import Request
from gateway.front.response import Response
from gateway.ledger import Item, UsageHistory
from gateway.views.usage_question import NAMES, TIMES, Question, read_question

_TIME_FORMATS = {"hour": "%Y-%m-%dT%H:00:00Z", "day": "%Y-%m-%d"}
_TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8"}
# The fields of a row, and the names that the history counts them by.
_NUMBERS = {"tokens": "tokens", "calls": "calls", "refusals": "refusals"}
_LOST = {"tokens_lost": "lost"}
# A response is built whole in memory: some 15 MB of JSON.
_ROWS_AT_MOST = 100_000

# The counts by the times asked for, then by the names asked for; no times: one key, ().
_Groups = dict[tuple[str, ...], dict[tuple[str, ...], Counter[str]]]


class UsagePage:
    """Responds to `/usage`.

    Args:
        account: The ledger's name; never the key.
        clock: Returns the time, seconds since 1970.
    """

    def __init__(self, history: UsageHistory, account: str, clock: Callable[[], float]) -> None:
        self._history = history
        self._account = account
        self._clock = clock

    async def answer(self, request: Request) -> Response:
        """Respond to one request.

        Raises:
            BadRequest: Its parameters are wrong, or ask for too many rows.
            LedgerUnavailable: The store does not answer.
        """
        request.connection.cancel_if_left()
        now = datetime.fromtimestamp(self._clock(), UTC)
        question = read_question(request.raw_path.partition("?")[2], now)
        format_ = question.format or _accepted(request.headers.get("Accept", ""))
        groups = await self._add_up(question)
        body = await (_as_csv if format_ == "csv" else _as_json)(question, groups)
        headers = {
            "Content-Type": _TYPES[format_],
            "Vary": "Accept",
            "Cache-Control": "no-store",
            "X-Keepa-Gateway-Account": self._account,
        }
        return Response(200, headers, body)

    async def _add_up(self, question: Question) -> _Groups:
        groups: _Groups = {}
        rows = 0
        names_of = _Names([NAMES.index(column) for column in question.by if column in NAMES])
        formats = [_TIME_FORMATS[column] for column in question.by if column in TIMES]
        async for hour, counts in self._history.read(question.first_hour, question.end_hour):
            group = groups.setdefault(tuple(_tell_hour(hour, form) for form in formats), {})
            rows -= len(group)
            for item, number in counts.items():
                names = names_of[item]
                if names not in group:
                    group[names] = Counter()
                group[names][item.what] += number
            rows += len(group)
            if rows > _ROWS_AT_MOST:
                raise BadRequest(
                    f"That would be more than {_ROWS_AT_MOST} rows: ask for less time, or by less"
                )
            # An hour may have thousands of counts: let calls run between two hours.
            await asyncio.sleep(0)
        return groups


class _Names(dict[Item, tuple[str, ...]]):
    """The names asked for of each item, cached; `places` are their positions in NAMES."""

    def __init__(self, places: list[int]) -> None:
        super().__init__()
        self._places = places

    def __missing__(self, item: Item) -> tuple[str, ...]:
        names = self[item] = tuple(item[place] for place in self._places)
        return names


async def _rows(
    question: Question, groups: _Groups
) -> AsyncIterator[tuple[dict[str, str], Counter[str]]]:
    """Yield each row's columns and counts: by time, then by tokens, most first."""
    for times, group in groups.items():
        for names, counts in sorted(group.items(), key=lambda row: (-row[1]["tokens"], row[0])):
            of_times, of_names = iter(times), iter(names)
            yield (
                {column: next(of_times if column in TIMES else of_names) for column in question.by},
                counts,
            )
        await asyncio.sleep(0)


async def _as_json(question: Question, groups: _Groups) -> bytes:
    """Return rows and total; lost tokens belong to no service: rows with names leave them out."""
    shown = _NUMBERS if question.has_names else _NUMBERS | _LOST
    rows: list[Mapping[str, Any]] = []
    total: Counter[str] = Counter()
    async for columns, counts in _rows(question, groups):
        total.update(counts)
        if not question.has_names or any(columns.get(name) for name in NAMES):
            rows.append(columns | _numbers(counts, shown))
    return orjson.dumps(
        {
            "from": _tell_hour(question.first_hour, _TIME_FORMATS["hour"]),
            "to": _tell_hour(question.end_hour, _TIME_FORMATS["hour"]),
            "by": question.by,
            "rows": rows,
            "total": _numbers(total, _NUMBERS | _LOST),
        }
    )


async def _as_csv(question: Question, groups: _Groups) -> bytes:
    """Return lines that add up (RFC 4180); lost tokens have lines of their own, without names."""
    shown = _NUMBERS | _LOST
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow((*question.by, *shown))
    async for columns, counts in _rows(question, groups):
        lines.writerow((*columns.values(), *_numbers(counts, shown).values()))
    return text.getvalue().encode()


def _numbers(counts: Counter[str], shown: Mapping[str, str]) -> dict[str, int]:
    return {name: counts[what] for name, what in shown.items()}


def _tell_hour(hour: int, form: str) -> str:
    return datetime.fromtimestamp(hour * HOUR_SECONDS, UTC).strftime(form)


def _accepted(accept: str) -> str:
    """Return the format that an Accept header names first; json where it names none."""
    named = (part.partition(";")[0].strip().lower() for part in accept.split(","))
    known = {type_.partition(";")[0]: name for name, type_ in _TYPES.items()}
    return next((known[type_] for type_ in named if type_ in known), "json")
