"""One JSON line per event, on standard output, with no secret in it."""

import asyncio
import atexit
import logging
import re
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import quote

import orjson
import structlog

MASK = "***"
# The value of `key=` in any URL that a library prints. It ends at a backslash, which in JSON
# belongs to the quote after it.
_KEY_PAIR = re.compile(r"(?i)(\bkey=)[^&\s\"'<>)\\]+")

_JSON_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z


class Redactor:
    """Masks secrets in a finished line: plain, percent-encoded, and escaped as in JSON."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {
            spelling
            for secret in secrets
            for spelling in (secret, quote(secret, safe=""), orjson.dumps(secret).decode()[1:-1])
        }
        # The longest first: one secret may be part of another.
        self._spellings = sorted(spellings, key=len, reverse=True)

    def redact(self, line: str) -> str:
        """Return the line without secrets."""
        for spelling in self._spellings:
            if spelling in line:
                line = line.replace(spelling, MASK)
        # Few lines have a `=`, and finding it is faster than the search for `key` in any case.
        if "=" in line:
            line = _KEY_PAIR.sub(rf"\1{MASK}", line)
        return line


class _Line:
    """The only processor, for there is a line for each call: level, time, render, redact."""

    def __init__(self, redactor: Redactor, *, console: bool) -> None:
        self._redactor = redactor
        self._console = (
            # Where rich is installed it would show every local variable, keys among them, and cut
            # in two at the end of a line.
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
            if console
            else None
        )

    def __call__(self, logger: Any, method: str, event: structlog.typing.EventDict) -> str:
        event.setdefault("level", method)
        now = datetime.now(UTC)
        if self._console:
            event["timestamp"] = now.isoformat(timespec="milliseconds")
            line = str(self._console(logger, method, event))
        else:
            event["timestamp"] = now
            if "exc_info" in event:
                event = structlog.processors.format_exc_info(logger, method, event)
            line = orjson.dumps(event, default=repr, option=_JSON_OPTIONS).decode()
        return self._redactor.redact(line)


class _Stream:
    """A stream that writes the lines of one turn of the event loop with one system call.

    Each call has a line; a system call for each takes a tenth of the time of a refusal.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._texts: deque[str] = deque()
        self._is_due = False
        atexit.register(self._write_out)

    def write(self, text: str) -> None:
        self._texts.append(text)

    def flush(self) -> None:
        if self._is_due:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write_out()
        else:
            self._is_due = True
            loop.call_soon(self._write_out)

    def _write_out(self) -> None:
        self._is_due = False
        # When the terminal is closed or the reader gone, the loop would log each failure by a line
        # that fails too: for ever.
        with suppress(OSError, ValueError):
            while self._texts:
                self._out.write(self._texts.popleft())
            self._out.flush()


def set_up_logging(level: str, log_format: str, secrets: Iterable[str]) -> None:
    """Route structlog and all libraries to one redacted stream; call this first."""
    console = log_format == "console"
    line = _Line(Redactor(secrets), console=console)
    stream: Any = _Stream(sys.stdout)
    structlog.configure(
        processors=[line],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.add_log_level],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, line],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))


class CallLog:
    """Writes one line for each call, by structlog's configuration but without its loggers.

    These copy the fields of an event three times, which takes a twentieth of the time of a refusal.
    """

    def __init__(self) -> None:
        config = structlog.get_config()
        self._logger: Any = config["logger_factory"]()
        # The list itself: tests exchange its content.
        self._processors = config["processors"]
        self._is_on = structlog.get_logger(__name__).bind().is_enabled_for(logging.INFO)

    def write(self, facts: dict[str, Any]) -> None:
        """Write the line of a call."""
        if not self._is_on:
            return
        event: Any = facts
        event["event"] = "call"
        try:
            for process in self._processors:
                event = process(self._logger, "info", event)
        except structlog.DropEvent:
            return
        self._logger.info(event)
