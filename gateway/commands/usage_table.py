"""Asks a running gateway for its usage, and draws it as a table."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import orjson

# A gateway reads five weeks in less than a second, unless its store is slow.
_PATIENCE = aiohttp.ClientTimeout(total=60, connect=5)
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens, not where we do
_NUMBERS = ["tokens", "calls", "refusals"]
_LOST = "tokens_lost"
_NAMES = {"service", "endpoint"}
_GAP = "  "


class Usage(NamedTuple):
    """A gateway's response.

    Attributes:
        source: Which gateway responded, for which account, in words.
        body: The usage, as JSON or CSV.
    """

    source: str
    body: bytes


class NoAnswer(Exception):
    """Says in one line why there is no usage to show."""


def own_url(host: str, port: int) -> str:
    """Return the URL of a gateway with these settings, for the same machine.

    Raises:
        NoAnswer: PORT=0, so the port is not known.
    """
    if not port:
        raise NoAnswer("PORT=0 is any free port: say with --url where the gateway is")
    host = _ANYWHERE.get(host.strip("[]"), host.strip("[]"))
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def ask_usage(url: str, admin_token: str, asked: Mapping[str, str | None]) -> Usage:
    """Ask a gateway for its usage.

    Args:
        url: The gateway's.
        admin_token: Sent in a header, never in the URL; empty: none.
        asked: Parameters of `/usage`; those that are None are left out.

    Raises:
        NoAnswer: It did not respond with usage.
    """
    place = _read_place(url)
    query = {name: value for name, value in asked.items() if value is not None}
    headers = {"Authorization": f"Bearer {admin_token}"} if admin_token else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=_PATIENCE) as session,
            # A redirect could lead the token elsewhere.
            session.get(
                f"{url.rstrip('/')}/usage", params=query, headers=headers, allow_redirects=False
            ) as answer,
        ):
            body = await answer.read()
    except (aiohttp.ClientError, OSError, ValueError) as error:
        why = "time-out" if isinstance(error, TimeoutError) else type(error).__name__
        raise NoAnswer(f"No gateway answers at {place} ({why})") from None
    if answer.status == HTTPStatus.OK and answer.content_type in {"application/json", "text/csv"}:
        account = answer.headers.get("X-Keepa-Gateway-Account", "not told")
        return Usage(f"Gateway {place}, account {account}", body)
    raise NoAnswer(_explain(answer.status, body))


def _read_place(url: str) -> str:
    """Return host and port of the URL, which may hold a password."""
    try:
        where = urlsplit(url)
        if where.scheme in {"http", "https"} and where.hostname:
            return f"{where.hostname}:{where.port or where.scheme}"
    except ValueError:
        pass
    raise NoAnswer("--url must be an http(s) URL, as http://127.0.0.1:8080")


def _explain(status: int, body: bytes) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "The gateway wants its ADMIN_TOKEN: set it as in the gateway's own environment"
    try:
        told = orjson.loads(body)
        # Keepa's own errors have no reason: an older gateway asks it for what it does not know.
        message, _ = told["error"]["message"], told["reason"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"Status {status}, and no usage: is this the gateway's URL?"
    return f"Status {status}: {message}"


def draw_table(body: bytes) -> str:
    """Return a table: names on the left, numbers on the right, totals below.

    Raises:
        NoAnswer: It is not the response of a gateway.
    """
    try:
        answer = orjson.loads(body)
        rows, total, by = answer["rows"], answer["total"], answer["by"]
        period = f"{answer['from']} to {answer['to']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise NoAnswer("The answer is no gateway's: is this its URL?") from None
    # Lost tokens belong to no service: rows with names leave them out, the total has them.
    numbers = _NUMBERS if _NAMES & {*by} else [*_NUMBERS, _LOST]
    lines = [[*by, *(name.replace("_", " ") for name in numbers)]]
    lines += [[*(row[name] for name in by), *_written(row, numbers)] for row in rows]
    lines.append(["total", *[""] * (len(by) - 1), *_written(total, numbers)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [_align(line, widths, len(by)) for line in lines]
    rule = "-" * max(map(len, shown))
    lost = f"Tokens lost to a full bucket: {total[_LOST]:,}"
    return "\n".join([period, "", shown[0], rule, *shown[1:-1], rule, shown[-1], "", lost])


def _written(numbers: Mapping[str, Any], names: list[str]) -> list[str]:
    return [f"{numbers[name]:,}" for name in names]


def _align(line: list[str], widths: list[int], left: int) -> str:
    words = [
        word.ljust(width) if place < left else word.rjust(width)
        for place, (word, width) in enumerate(zip(line, widths, strict=True))
    ]
    return _GAP.join(words).rstrip()
