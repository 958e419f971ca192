"""Passes Keepa's answer on to the caller, byte for byte, and reads the token fields on the way."""

import time
from concurrent.futures import Executor
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
import structlog
from multidict import CIMultiDict

from gateway.call.screen import NotPassable, Screen, repack, report_key
from gateway.errors import UpstreamUnreachable
from gateway.front.request import Request
from gateway.front.response import Response
from gateway.keepa.connections import Answer
from gateway.keepa.envelope import Envelope, EnvelopeReader, read_envelope
from gateway.keepa.real_key import RealKey

_log: Any = structlog.get_logger(__name__)

# A body that is there at once and no larger goes out with its head in one write.
_SMALL = 32_768
_NOTHING = Envelope()


class Relay:
    """One answer on its way: `read`, then `envelope`, then `pass_rest`, all inside `with`.

    A caller who leaves does not keep the token fields from being read. Leaving the block lets go of
    Keepa's connection; with a failure, where the caller has the head already, it cuts the caller's
    as well: a short body must not look whole.

    Args:
        request: The caller's.
        answer: Keepa's; its body is unread.
        headers: What the caller gets.
        executor: Where large bodies are inflated and scanned.
        key: What no answer may show.

    Raises:
        UpstreamUnreachable: On leaving: the body was cut short, or shows the key and cannot be
            changed.

    Attributes:
        caller_left: Whether the caller has not heard the answer to its end.
        waited_seconds: Time spent waiting for the body.
        is_reading: Whether it waits for the body, or did when it was cancelled.
        is_whole: Whether the body came to its proper end.
        is_refused: Whether it may not pass, for nobody can be sure that it does not show the key.
        response: There once the head went to the caller: a failure then can only cut.
    """

    def __init__(
        self,
        request: Request,
        answer: Answer,
        headers: CIMultiDict[str],
        executor: Executor,
        key: RealKey,
    ) -> None:
        self._request = request
        self._answer = answer
        self._headers = headers
        # All of them: one that is not undone here hides what a caller can read.
        self._encoding = ",".join(answer.headers.getall("Content-Encoding", ())).strip().lower()
        self._is_plain = self._encoding in {"", "identity"}
        # Of `/graphimage`: it has no room for token fields.
        self._is_picture = answer.status == HTTPStatus.OK and answer.headers.get(
            "Content-Type", ""
        ).lower().startswith("image/")
        self._request_id = headers.get("X-Request-Id")
        self._key = key
        self._screen = Screen(key, is_plain=self._is_plain, request_id=self._request_id)
        self._reader = EnvelopeReader(self._encoding, executor, self._screen)
        self._envelope: Envelope | None = None
        self._small: bytes | None = None
        self._is_readable = True
        self._passed = b""
        self.caller_left = False
        self.waited_seconds = 0.0
        self.is_reading = False
        self.is_whole = False
        self.is_refused = False
        self.response: Response | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if failure and self.response:
            self._request.connection.reset()
        # Back to the pool where the body was read to its end, else gone.
        self._answer.close()
        if isinstance(failure, NotPassable):
            self.is_refused = True
            _log.error("answer_not_passed", encoding=self._encoding, request_id=self._request_id)
            raise UpstreamUnreachable("Keepa's answer could not be passed on safely") from None
        if isinstance(failure, aiohttp.ClientError):
            raise UpstreamUnreachable from None

    @property
    def is_whole_picture(self) -> bool:
        """Whether it is a picture that came whole: it costs what was reserved."""
        return self.is_whole and self._is_picture

    async def read(self) -> None:
        """Read until the token fields are there, or the body has ended; pass on what lies before.

        Raises:
            aiohttp.ClientError: The body was cut short.
            NotPassable: It must not go on.
        """
        first = await self._read()
        if self._answer.status >= HTTPStatus.BAD_REQUEST:
            first += await self._read_on(len(first))
        if self._answer.content.at_eof() and len(first) <= _SMALL:
            self.is_whole = True
            await self._read_small(first)
            return
        await self._look(first)
        # Whether a picture comes whole decides what it costs.
        while not self.is_whole and (self._is_picture or not self._reader.has_all):
            await self._send_passed()
            await self._look(await self._read())

    async def envelope(self) -> Envelope:
        """Return the token fields that are in what was read."""
        if self._envelope is None:
            self._envelope = await self._reader.finish()
        return self._envelope

    async def pass_rest(self) -> Response:
        """Pass on what was read, and the rest.

        A short error page of a server's (5xx, without token fields) is returned unsent: the call
        may be attempted again.

        Raises:
            aiohttp.ClientError, NotPassable: As `read`.
        """
        if self._small is not None:
            return await self._send_small(self._small)
        while not self.is_whole:
            if self.caller_left and self.response:
                return self.response
            await self._send_passed()
            await self._look(await self._read())
        response = self.response or await self._begin(self._make_response(None))
        if rest := self._screen.rest():
            await self._send(response, rest)
        self._end(response)
        return response

    async def _read_small(self, body: bytes) -> None:
        """Read the token fields of a body that is there whole."""
        self._small = body
        if self._is_plain:
            self._envelope = read_envelope(body, None)
            return
        await self._reader.feed(body)
        self._is_readable = await self._reader.catch_up()

    async def _send_small(self, body: bytes) -> Response:
        """Send a body that is there; keep an error page back that another attempt may replace."""
        passed = self._key.hide_in(body) if self._is_plain else self._screen_small(body)
        if passed is not body:
            report_key("body", "starred out", self._request_id)
        self._headers.popall("Content-Length", None)
        response = self._make_response(passed)
        is_fault = self._answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if is_fault and (await self.envelope()).is_empty:
            return response
        return await self._begin(response)

    def _screen_small(self, body: bytes) -> bytes:
        """Return a compressed body, without the key where it shows it."""
        if not body:
            return body
        if not self._is_readable:
            raise NotPassable
        return repack(body, self._encoding, self._key) if self._screen.is_found else body

    async def _look(self, chunk: bytes) -> None:
        """Look at the next chunk of a stream; note what of it may go out."""
        if not chunk:
            self.is_whole = True
            return
        await self._reader.feed(chunk)
        is_seen = await self._reader.catch_up()
        self._passed = self._screen.take(chunk, is_seen=is_seen)

    async def _send_passed(self) -> None:
        """Send what was looked at, and may go out."""
        passed, self._passed = self._passed, b""
        if passed:
            response = self.response or await self._begin(self._make_response(None))
            await self._send(response, passed)

    async def _read(self) -> bytes:
        """Return what came of the body; empty at its end."""
        content = self._answer.content
        waiting_since = time.monotonic()
        self.is_reading = True
        try:
            chunk = await content.readany()
        except aiohttp.ClientError:
            # What came before the cut may hold the token fields, and readany keeps it to itself.
            chunk = content._read_nowait(-1)  # noqa: SLF001
            if not chunk:
                raise
        except RuntimeError:
            # aiohttp's word for a connection that has gone and left no error, as after bytes that
            # are no HTTP.
            raise aiohttp.ClientConnectionError from None
        finally:
            self.waited_seconds += time.monotonic() - waiting_since
        self.is_reading = False
        return chunk

    async def _read_on(self, size: int) -> bytes:
        """Return the rest of an error page, unless it is a large one: it is looked at whole."""
        rest = b""
        # A body that is cut is cut again where it is streamed.
        with suppress(aiohttp.ClientError):
            while not self._answer.content.at_eof() and size + len(rest) <= _SMALL:
                rest += await self._read()
        return rest

    def _make_response(self, body: bytes | None) -> Response:
        reason: str | None = self._answer.reason
        if reason and self._key.is_in(reason.encode("utf-8", "surrogateescape")):
            report_key("reason", "replaced", self._request_id)
            reason = None
        return Response(self._answer.status, self._headers, body, reason)

    async def _begin(self, response: Response) -> Response:
        """Send the head, and the body where it is there."""
        self.response = response
        try:
            response.send(self._request)
            if self._request.connection.is_full:
                await self._request.connection.drain()
        except ConnectionError:
            self.caller_left = True
        return response

    async def _send(self, response: Response, piece: bytes) -> None:
        """Send a piece of the body, unless the caller has left."""
        if self.caller_left:
            return
        try:
            await response.write(piece)
        except ConnectionError:
            self.caller_left = True

    def _end(self, response: Response) -> None:
        if self.caller_left:
            return
        try:
            response.end()
        except ConnectionError:
            self.caller_left = True
