"""Passes Keepa's answer on to the caller, byte for byte, and reads the token fields on the way."""

import struct
import time
from collections.abc import Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from http import HTTPStatus
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Protocol

import aiohttp
import structlog
from aiohttp import web
from multidict import CIMultiDict

from gateway.call.screen import NotPassable, Screen, repack, report_key
from gateway.errors import UpstreamUnreachable
from gateway.front.reply import Reply
from gateway.keepa.connections import Answer
from gateway.keepa.envelope import Envelope, EnvelopeReader, read_envelope
from gateway.keepa.real_key import RealKey

_log: Any = structlog.get_logger(__name__)

# A body that is there at once and no larger goes out with its head in one write.
_SMALL = 32_768
# Linger on, for no time: what is not sent is dropped, and the other side hears of a reset.
_RESET = struct.pack("ii", 1, 0)


class Told(Protocol):
    """Hears, once, what an answer says of the bucket."""

    def __call__(self, envelope: Envelope, *, whole: bool) -> None:
        """`whole`: the body had come to its proper end."""


class Relay:
    """One answer on its way.

    Args:
        request: The caller's.
        answer: Keepa's; its body is unread.
        headers: What the caller gets.
        executor: Where large bodies are inflated and scanned.
        key: What no answer may show.
    """

    def __init__(
        self,
        request: web.BaseRequest,
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
        self._request_id = headers.get("X-Request-Id")
        self._executor = executor
        self._key = key
        self._told: Told | None = None
        self.caller_left = False
        self.waited_seconds = 0.0
        """Time spent waiting for the body."""
        self.is_reading = False
        """Whether it waits for the body, or did when it was cancelled."""
        self.reply: Reply | None = None
        """There once the head went to the caller: a failure then can only cut its connection."""
        self.is_refused = False
        """Whether the answer may not pass, for nobody can be sure that it does not show the key."""

    async def run(self, told: Told) -> Reply:
        """Pass the answer on; a caller who leaves does not keep its token fields from being read.

        A short error page of a server's (5xx, without token fields) is returned unsent: the call
        may be attempted again.

        Args:
            told: Called once, as soon as the token fields are there, else at the body's end.

        Raises:
            UpstreamUnreachable: The body was cut short, or shows the key and cannot be changed.
                Where the caller had the head already, its connection is cut as well: a short body
                must not look whole.
        """
        self._told = told
        try:
            first = await self._read()
            if self._answer.status >= HTTPStatus.BAD_REQUEST:
                first += await self._read_on(len(first))
            if self._answer.content.at_eof() and len(first) <= _SMALL:
                return await self._send_whole(first)
            return await self._stream(first)
        except NotPassable:
            self.is_refused = True
            _log.error("answer_not_passed", encoding=self._encoding, request_id=self._request_id)
            raise UpstreamUnreachable("Keepa's answer could not be passed on safely") from None
        except aiohttp.ClientError:
            raise UpstreamUnreachable from None
        finally:
            # Back to the pool where the body was read to its end, else gone.
            self._answer.close()
            # Who listens also knows this relay: a cycle, which only the collector would undo.
            self._told = None

    async def _send_whole(self, body: bytes) -> Reply:
        """Send a body that is there; keep an error page back that another attempt may replace."""
        if self._is_plain:
            envelope = read_envelope(body, None)
            self._tell(envelope, whole=True)
            passed = self._key.hide_in(body)
            if passed is not body:
                report_key("body", "starred out", self._request_id)
        else:
            reader, screen = self._open_reader()
            await reader.feed(body)
            is_readable = await reader.catch_up()
            envelope = await reader.finish()
            self._tell(envelope, whole=True)
            passed = self._screen_whole(body, screen if is_readable else None)
        self._headers.popall("Content-Length", None)
        reply = self._make_reply(passed)
        is_fault = self._answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return reply if is_fault and envelope.is_empty else await self._begin(reply)

    def _screen_whole(self, body: bytes, screen: Screen | None) -> bytes:
        """Return a compressed body, without the key where it shows it; none: it cannot be read."""
        if not body:
            return body
        if screen is None:
            raise NotPassable
        if not screen.is_found:
            return body
        passed = repack(body, self._encoding, self._key)
        report_key("body", "starred out", self._request_id)
        return passed

    async def _stream(self, first: bytes) -> Reply:
        """Pass a body on as it comes; nothing goes out before it was looked at."""
        reader, screen = self._open_reader()
        self._answer.expect_much()
        whole = False
        try:
            chunk = first
            while chunk:
                await reader.feed(chunk)
                is_seen = await reader.catch_up()
                if reader.has_all:
                    self._tell(reader.envelope, whole=False)
                passed = screen.take(chunk, is_seen=is_seen)
                if self.caller_left and not self._told:
                    break
                if passed:
                    reply = self.reply or await self._begin(self._make_reply(None))
                    await self._send(reply.write(passed))
                chunk = await self._read()
            else:
                whole = True
                reply = self.reply or await self._begin(self._make_reply(None))
                if rest := screen.rest():
                    await self._send(reply.write(rest))
                await self._send(reply.write_eof())
        except BaseException:
            if self.reply:
                self._cut()
            raise
        finally:
            if self._told:
                self._tell(await reader.finish(), whole=whole)
        return reply

    def _open_reader(self) -> tuple[EnvelopeReader, Screen]:
        screen = Screen(self._key, is_plain=self._is_plain, request_id=self._request_id)
        return EnvelopeReader(self._encoding, self._executor, screen), screen

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

    def _make_reply(self, body: bytes | None) -> Reply:
        reason: str | None = self._answer.reason
        if reason and self._key.is_in(reason.encode("utf-8", "surrogateescape")):
            report_key("reason", "replaced", self._request_id)
            reason = None
        return Reply(self._answer.status, self._headers, body, reason)

    async def _begin(self, reply: Reply) -> Reply:
        self.reply = reply
        await self._send(reply.prepare(self._request))
        return reply

    async def _send(self, step: Coroutine[object, object, object]) -> None:
        """Do one step towards the caller, unless it has left."""
        if self.caller_left:
            step.close()
            return
        try:
            await step
        except ConnectionError:
            self.caller_left = True

    def _cut(self) -> None:
        """Abort the caller's connection: a clean end would make a short body look whole."""
        transport = self._request.transport
        if transport is not None:
            # A reset: to an HTTP/1.0 caller, a plain close is the body's proper end.
            transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
            transport.abort()

    def _tell(self, envelope: Envelope, *, whole: bool) -> None:
        told, self._told = self._told, None
        if told:
            told(envelope, whole=whole)
