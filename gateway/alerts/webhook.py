"""Posts events to the operator's webhook. Its URL is a secret: no log line or error has it."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, NamedTuple, Self

import aiohttp
import orjson
import structlog
from yarl import URL

_log: Any = structlog.get_logger(__name__)

_POST_SECONDS = 5.0
_SAID_BYTES = 200
# Between attempts; after the last one the post is given up.
_BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0)
# After these the same post may succeed; after any other 4xx it would fail again.
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class Outcome(NamedTuple):
    """The result of one attempt.

    Attributes:
        problem: The error's class or the status; None: the event arrived.
        status: The receiver's, if it responded.
        said: The beginning of its response's body, on one line. It may repeat the URL.
    """

    problem: int | str | None
    status: int | None = None
    said: str = ""


class Webhook:
    """Posts events, within an `async with`.

    Args:
        url: http(s), percent-encoded already.
        backoff_seconds: The pauses between attempts.
        post_seconds: The limit of one attempt.
    """

    def __init__(
        self,
        url: str,
        *,
        backoff_seconds: Sequence[float] = _BACKOFF_SECONDS,
        post_seconds: float = _POST_SECONDS,
    ) -> None:
        self._url = URL(url, encoded=True)
        self._backoff_seconds = backoff_seconds
        self._timeout = aiohttp.ClientTimeout(total=post_seconds)

    async def __aenter__(self) -> Self:
        # Events are rare: no connection and no cookie is kept. No proxy of the environment is used.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def post(self, event: Mapping[str, object]) -> bool:
        """Post one event, with retries where they may help; say whether it arrived (a 2xx)."""
        for attempt, pause in enumerate((*self._backoff_seconds, None), 1):
            problem = (await self.try_once(event)).problem
            facts = {"name": event["name"], "state": event["state"], "attempt": attempt}
            if problem is None:
                _log.info("alert_posted", **facts)
                return True
            if pause is None or (isinstance(problem, int) and not _may_pass(problem)):
                _log.error("alert_given_up", **facts, problem=problem)
                break
            _log.warning("alert_not_posted", **facts, problem=problem, again_in_seconds=pause)
            await asyncio.sleep(pause)
        return False

    async def try_once(self, event: Mapping[str, object]) -> Outcome:
        """Post one event once."""
        said = ""
        try:
            async with self._session.post(
                self._url,
                data=orjson.dumps(event),
                headers={"Content-Type": "application/json"},
                # Events must reach no other server than the one that was set.
                allow_redirects=False,
            ) as response:
                status = response.status
                # A receiver that hangs in its response's body has the event all the same.
                with suppress(aiohttp.ClientError, OSError):
                    said = _one_line(await response.content.read(_SAID_BYTES))
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            # The texts of these errors contain the URL.
            return Outcome(type(error).__name__)
        is_good = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        return Outcome(None if is_good else status, status, said)


def _one_line(body: bytes) -> str:
    text = " ".join(body.decode("utf-8", "replace").split())
    return "".join(char for char in text if char.isprintable())


def _may_pass(status: int) -> bool:
    """Say whether the same post may succeed soon."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING
