"""Lines of the log: JSON or for people, never with a secret."""

import asyncio
import io
import subprocess
import sys
from functools import cache

import orjson
import pytest

from gateway.log import Redactor, _Stream

KEY = "realkey0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijk"


@pytest.mark.parametrize(
    ("line", "redacted"),
    [
        ("nothing to hide", "nothing to hide"),
        ("s3cret", "***"),
        ("xs3cretx s3cret", "x***x ***"),
        ("GET /product?key=anybodys&asin=B1", "GET /product?key=***&asin=B1"),
        ("/product?asin=B1&key=anybodys HTTP/1.1", "/product?asin=B1&key=*** HTTP/1.1"),
        ("KEY=anybodys", "KEY=***"),
        ("monkey=1", "monkey=1"),
        ("a+b/c&d", "***"),
        ("a%2Bb%2Fc%26d", "***"),
        ("longer-s3cret", "***"),
        ('quo\\"te', "***"),
        ('{"a":"?key=x"}', '{"a":"?key=***"}'),
        ('{"a":"f(\\"?key=x\\")"}', '{"a":"f(\\"?key=***\\")"}'),
    ],
)
def test_secrets_and_keys_are_masked(line, redacted):
    """Secrets are masked in every spelling, and whatever stands behind `key=`."""
    redactor = Redactor(["s3cret", "a+b/c&d", "longer-s3cret", 'quo"te'])
    assert redactor.redact(line) == redacted


PROGRAM = """
import logging, sys, structlog
from gateway.log import set_up_logging
KEY = sys.stdin.read()
set_up_logging(sys.argv[1], sys.argv[2], [KEY])
def fail(url, key, a_name_long_enough_to_break_the_line_that_shows_the_value):
    raise ValueError(f"cannot open {url}")
log = structlog.get_logger("x")
log.debug("quiet", key=KEY)
log.warning("event", fact=KEY, url=f"https://x/?key={KEY}", odd=object(), count={1: b"x"})
log.info("call", service="pricing", status=200)
logging.getLogger("aiohttp.server").error("Error handling %r", f"GET /?key={KEY}")
logging.getLogger("asyncio").info("chatter")
try:
    fail(f"https://x/?asin=B1&key={KEY}", KEY, KEY)
except ValueError as error:
    log.error("unhandled", exc_info=error)
    logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=error)
"""


@cache
def run(level, log_format, key=KEY):
    """Return what the program prints; once for all tests of the same."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, level, log_format],
        input=key, capture_output=True, text=True, check=True, env={"COLUMNS": "80"},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("key", [KEY, 'o"d\\key', "k%y/+&"])
def test_json_is_one_object_a_line(key):
    """Each event is one JSON object on one line, tracebacks and odd values too, without the key."""
    lines = [orjson.loads(line) for line in run("INFO", "json", key).splitlines()]
    assert [line["event"].partition(" ")[0] for line in lines] == [
        "event", "call", "Error", "unhandled", "Task",
    ]  # fmt: skip
    assert lines[0]["fact"] == "***"
    assert {"service": "pricing", "status": 200, "level": "info"}.items() <= lines[1].items()
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert "cannot open" in lines[3]["exception"]


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_no_part_of_a_key_is_printed(level, log_format):
    """A traceback shows no key, neither in its message nor among its variables."""
    text = run(level, log_format)
    assert KEY[:12] not in text
    assert KEY[-12:] not in text
    assert "cannot open" in text


@pytest.mark.parametrize(("level", "events"), [("DEBUG", True), ("INFO", False), ("ERROR", False)])
def test_level_is_obeyed(level, events):
    """Only events of the level and above are printed; libraries are heard from warnings on."""
    text = run(level, "json")
    assert ('"quiet"' in text) is events
    assert ('"call"' in text) is (level != "ERROR")
    assert "chatter" not in text


async def test_a_log_that_nobody_reads_is_given_up():
    """An output that fails is tried once a line: the loop must not log that failure, for ever."""

    class Gone(io.StringIO):
        attempts = 0

        def flush(self):
            self.attempts += 1
            raise BrokenPipeError

    gone = Gone()
    stream = _Stream(gone)

    def log(*_):
        stream.write("a line\n")
        stream.flush()

    # As asyncio does with whatever a callback raises.
    asyncio.get_running_loop().set_exception_handler(log)
    log()
    for _ in range(20):
        await asyncio.sleep(0)
    assert gone.attempts == 1
