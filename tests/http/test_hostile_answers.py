"""Answers of Keepa's that lie, break off or never end: the next call works all the same."""

import asyncio
import gzip
from contextlib import suppress
from itertools import count

import pytest
from support.callers.wire import Caller, write_request
from support.keepa.scripted import FIELDS, answer, fields
from support.measure.stopwatch import Stopwatch
from support.waiting import until

PRODUCT = "/product?domain=1&asin=B000000001&key=x"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MB = 1_000_000
# A bomb: a hundred kilobytes that are a hundred megabytes.
BOMB = gzip.compress(b"".join([b'{"x":"', b"y" * 100 * MB, b'",', fields()[1:]]), 9)


def with_raw(name, value):
    """Return an answer in which one field has a value that no encoder would write."""
    honest = f'"{name}":{FIELDS[name]}'.encode()
    assert honest in fields()
    return answer(fields().replace(honest, f'"{name}":{value}'.encode()))


UNBELIEVABLE = {
    "refillIn as text": with_raw("refillIn", '"30000"'),
    "tokensLeft of 10^18": with_raw("tokensLeft", 10**18),
    "tokensLeft of -10^18": with_raw("tokensLeft", -(10**18)),
    "tokensLeft beyond a double": with_raw("tokensLeft", "1e400"),
    "tokensLeft of 2^53": with_raw("tokensLeft", 2**53),
    "tokensLeft with a thousand digits": with_raw("tokensLeft", "9" * 1000),
    "tokensLeft of a thousand buckets": with_raw("tokensLeft", 1000 * 1200 + 1),
    "tokensLeft as text": with_raw("tokensLeft", '"99"'),
    "tokensLeft as a list": with_raw("tokensLeft", "[99]"),
    "tokensLeft is true": with_raw("tokensLeft", "true"),
    "tokensLeft is null": with_raw("tokensLeft", "null"),
    "tokensLeft is no number": with_raw("tokensLeft", "NaN"),
    "negative refillRate": with_raw("refillRate", -20),
    "refillRate of 10^15": with_raw("refillRate", 10**15),
    "refillRate of 0": with_raw("refillRate", 0),
}


@pytest.mark.parametrize("lie", UNBELIEVABLE.values(), ids=UNBELIEVABLE.keys())
async def test_lie_that_no_bucket_could_tell_is_no_reading(serve, keepa, lie):
    """A value that cannot be is no observation: the call costs what it says, the plan is kept."""
    gateway = await serve(keepa)
    await gateway.until_ready()
    keepa.reply = lie
    got = await gateway.ask(PRODUCT)
    assert (got.status, got.whole) == (200, True)
    assert got.body == lie.partition(b"\r\n\r\n")[2]
    tokens = await gateway.at_rest()
    assert tokens["remaining"] in {99, 100}
    assert (tokens["refill_rate"], tokens["capacity"]) == (20, 1200)
    assert 0 < tokens["refill_in_ms"] <= 60_000
    keepa.tell(tokensLeft=98)
    assert (await gateway.ask(PRODUCT)).status == 200
    tokens = await gateway.at_rest()
    assert (tokens["remaining"], tokens["available"]) == (98, 98)


ODD = {
    "lump overdue": (with_raw("refillIn", -1), (99, 20)),
    "lump in a year": (with_raw("refillIn", 365 * 86_400_000), (99, 20)),
    "half a token left": (with_raw("tokensLeft", 97.5), (97, 20)),
    "half a token of rate": (with_raw("refillRate", 19.5), (99, 19)),
}


@pytest.mark.parametrize(("told", "read"), ODD.values(), ids=ODD.keys())
async def test_odd_number_spoils_no_reading(serve, keepa, log, told, read):
    """A lump that cannot be then comes in a minute, fractions spend less; one warning for all."""
    gateway = await serve(keepa)
    await gateway.until_ready()
    keepa.reply = told
    keepa.token = told.partition(b"\r\n\r\n")[2]
    for _ in range(2):
        assert (await gateway.ask(PRODUCT)).status == 200
    tokens = await gateway.at_rest()
    assert (tokens["remaining"], tokens["refill_rate"]) == read
    warnings = [line for line in log if line["event"] == "refill_in_out_of_range"]
    is_late = b'"refillIn":' + b"%d" % FIELDS["refillIn"] not in told
    assert len(warnings) == is_late
    if is_late:
        assert 59_000 < tokens["refill_in_ms"] <= 60_000


BELIEVABLE = {
    "a fortune": {"tokensLeft": 1000 * 1200},
    "a debt": {"tokensLeft": -(10**9)},
    "a great rate": {"refillRate": 10**6},
    "a dear call": {"tokensConsumed": 10**9},
    "a dear call and a debt": {"tokensConsumed": 10**9, "tokensLeft": -(10**9)},
    "no gain": {"tokenFlowReduction": 1e300},
    "a lump at once": {"refillIn": 0},
}


@pytest.mark.parametrize("lie", BELIEVABLE.values(), ids=BELIEVABLE.keys())
async def test_lie_that_could_be_true_lasts_until_the_next_truth(serve, keepa, lie):
    """Whatever the ledger was made to believe, one true `/token` puts it right."""
    gateway = await serve(keepa, balance_max_age_seconds=1)
    await gateway.until_ready()
    keepa.token = fields(tokensConsumed=0, tokensLeft=77)
    keepa.reply = answer(fields(**lie))
    assert (await gateway.ask(PRODUCT)).status == 200
    tokens = await gateway.until(lambda tokens: tokens["remaining"] == 77)
    assert (tokens["refill_rate"], tokens["capacity"], tokens["reserved"]) == (20, 1200, 0)
    assert tokens["refill_in_ms"] <= 60_000
    keepa.tell(tokensLeft=76)
    assert (await gateway.ask(PRODUCT)).status == 200
    assert (await gateway.at_rest())["remaining"] == 76


async def test_many_dear_lies_leave_the_ledger_exact(serve, keepa):
    """Many answers that each claim the dearest call leave numbers that are still exact."""
    gateway = await serve(keepa, balance_max_age_seconds=1)
    await gateway.until_ready()
    keepa.reply = answer(fields(tokensConsumed=10**9))
    async with Caller(gateway.url) as caller:
        for _ in range(300):
            await caller.send(write_request(PRODUCT))
            assert (await caller.receive()).status == 200
    keepa.token = fields(tokensConsumed=0, tokensLeft=77)
    tokens = await gateway.until(lambda tokens: tokens["remaining"] == 77)
    assert tokens["total_used"] == 300 * 10**9


NAMES = {
    "inside an object": b'{"a":{"tokensLeft":5000,"tokensConsumed":9},' + fields()[1:],
    "inside a list": b'{"a":[{"tokensLeft":5000}],' + fields()[1:],
    "inside a text": b'{"a":"\\"tokensLeft\\":5000,\\"tokensConsumed\\":9",' + fields()[1:],
    "in a second object": fields() + fields(tokensLeft=5000),
    "in a list around it": b'{"tokensLeft":99,' + fields()[1:],
    "below a hundred thousand lists": b'{"a":%s%s,' % (b"[" * 100_000, b"]" * 100_000)
    + fields()[1:],
}  # fmt: skip


@pytest.mark.parametrize("body", NAMES.values(), ids=NAMES.keys())
async def test_names_of_fields_elsewhere(serve, keepa, body):
    """Only the top level tells of the bucket, wherever else the names of its fields stand."""
    gateway = await serve(keepa)
    await gateway.until_ready()
    keepa.reply = answer(body)
    got = await gateway.ask(PRODUCT)
    assert (got.status, got.body) == (200, body)
    assert (await gateway.at_rest())["remaining"] == 99


async def test_field_that_stands_twice(serve, keepa):
    """Of two fields of one name one counts; the call is settled all the same."""
    gateway = await serve(keepa)
    await gateway.until_ready()
    keepa.reply = answer(fields()[:-1] + b',"tokensLeft":98,"tokensConsumed":2}')
    assert (await gateway.ask(PRODUCT)).status == 200
    tokens = await gateway.at_rest()
    assert tokens["remaining"] in {98, 99}


# Answers that do not end as they say


def writes(*parts, closes=True):
    """Return a script that writes these bytes, and hangs up or waits until the other side does."""

    async def script(reader, writer):
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
            if not closes:
                await reader.read()

    return script


async def serve_hurried(serve, keepa, **settings):
    chosen = {"upstream_timeout_seconds": 1, "reservation_ttl_seconds": 2, "upstream_retries": 0}
    gateway = await serve(keepa, **chosen, **settings)
    await gateway.until_ready()
    return gateway


async def check_next_call(gateway, keepa):
    """The next call is served, all holds end, and what Keepa tells then is believed."""
    keepa.script = None
    keepa.tell(tokensLeft=50)
    got = await gateway.ask(PRODUCT)
    assert (got.status, got.body) == (200, fields(tokensLeft=50))
    await gateway.until(lambda tokens: (tokens["reserved"], tokens["remaining"]) == (0, 50))


NO_ANSWERS = {
    "a head that does not end": (HEAD, 504),
    "nothing": (b"", 504),
    "a status line that does not end": (b"HTTP/1.1 200 " + b"O" * MB, 502),
    "a header that does not end": (HEAD + b"X: " + b"y" * MB, 502),
    "more headers than a server has": (HEAD + b"X: y\r\n" * 10_000 + b"\r\n{}", 502),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", 502),
    "another HTTP": (b"HTTP/2.0 200 OK\r\n\r\n", 502),
    "a status that is none": (b"HTTP/1.1 20x OK\r\n\r\n", 502),
    "a switch of protocols": (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nPRI", 502,
    ),
    "a bare switch of protocols": (b"HTTP/1.1 101 X\r\n\r\n" + answer(), 502),
    "a body before any head": (b"<html>Bad Gateway</html>", 502),
    "a status of four digits": (b"HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n", 502),
    "an old HTTP": (b"HTTP/0.9 200 OK\r\n\r\n", 502),
    "a status below all": (b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n", 502),
    "an answer without a body that has one": (
        b"HTTP/1.1 204 X\r\nContent-Length: 3\r\n\r\nabc", 502,
    ),
    "a status of two digits": (b"HTTP/1.1 20 X\r\nContent-Length: 0\r\n\r\n", 502),
    "an interim answer with a body": (
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\nabc", 502,
    ),
    "interim answers only": (b"HTTP/1.1 100 Continue\r\n\r\n" * 3, 504),
    "length and chunks": (
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502,
    ),
    "two lengths": (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 502),
    "negative length": (HEAD + b"Content-Length: -5\r\n\r\nabcdef", 502),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "status"), NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_what_is_no_answer(serve, keepa, capsys, raw, status):
    """Bytes that are no answer: 502, or 504 where they never end; the hold is in doubt."""
    gateway = await serve_hurried(serve, keepa)
    keepa.script = writes(raw, closes=False)
    got = await gateway.ask(PRODUCT)
    assert (got.status, got.json()["retryable"]) == (status, True)
    assert got.get("X-Keepa-Gateway-Reserved") == "1"
    assert len(keepa.requests) == 1
    await check_next_call(gateway, keepa)
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.parametrize("bytes_missing", [1, 1000, MB])
async def test_body_shorter_than_its_length(serve, keepa, bytes_missing):
    """A body that ends before its length is cut for the caller too; what it told counts."""
    gateway = await serve_hurried(serve, keepa)
    keepa.tell(tokensLeft=90)
    body = fields(tokensLeft=90)
    length = len(body) + bytes_missing
    keepa.script = writes(HEAD + b"Content-Length: %d\r\n\r\n" % length + body)
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(PRODUCT))
        assert not (await caller.receive()).whole
    assert (await gateway.at_rest())["remaining"] == 90
    await check_next_call(gateway, keepa)


@pytest.mark.parametrize(
    "surplus",
    [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nLIE", b"HTTP/1.1 200 OK\r\nCont"],
)
async def test_body_longer_than_its_length(serve, keepa, surplus):
    """What Keepa sends beyond an answer is never taken for the answer of the next call."""
    gateway = await serve_hurried(serve, keepa)
    keepa.tell(tokensLeft=90)
    keepa.reply += surplus
    for _ in range(3):
        got = await gateway.ask(PRODUCT)
        if got.status != 502:  # what came with the surplus may be lost with it
            assert (got.status, got.body) == (200, fields(tokensLeft=90))
    await check_next_call(gateway, keepa)


@pytest.mark.parametrize("framing", ["chunked", "length", "none"])
async def test_body_that_never_ends(serve, keepa, framing):
    """A body without end is passed on until the time-out, and cut then; others are served."""
    gateway = await serve_hurried(serve, keepa)
    framings = {
        "chunked": b"Transfer-Encoding: chunked\r\n",
        "length": b"Content-Length: %d\r\n" % 10**15,
        "none": b"Connection: close\r\n",
    }

    async def pour(_, writer):
        writer.write(HEAD + framings[framing] + b"\r\n")
        piece = b"x" * 0x8000
        if framing == "chunked":
            piece = b"8000\r\n" + piece + b"\r\n"
        with suppress(ConnectionError):
            for _ in count():
                writer.write(piece)
                await writer.drain()

    keepa.script = pour
    began = Stopwatch()
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(PRODUCT))
        await until(lambda: keepa.requests)
        keepa.script = None
        keepa.tell(tokensLeft=60)
        beside = await gateway.ask(PRODUCT)
        assert beside.status == 200
        head = await caller.receive_head()
        assert head.status == 200
        with suppress(ConnectionError):
            while await caller.reader.read(1 << 20):
                pass
    assert began.seconds < 4
    await check_next_call(gateway, keepa)


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
async def test_gzip_bomb_passes_unharmed(serve, keepa, status):
    """An answer that inflates to 100 MB reaches the caller as it came; others hardly notice."""
    gateway = await serve(keepa, upstream_retries=0)
    await gateway.until_ready()
    keepa.reply = answer(BOMB, b"Content-Encoding: gzip", status=status)
    waits = []

    async def watch():
        while True:
            began = Stopwatch()
            assert (await gateway.ask("/healthz")).status == 200
            waits.append(began.seconds)

    watching = asyncio.create_task(watch())
    for _ in range(3):
        got = await gateway.ask(PRODUCT, "Accept-Encoding: gzip")
        assert (got.status, got.body) == (int(status[:3]), BOMB)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert max(waits) < 0.5
    await check_next_call_beside_doubt(gateway, keepa)


async def check_next_call_beside_doubt(gateway, keepa):
    """The next call is served; what the bombs hid may be held until it expires."""
    keepa.tell(tokensLeft=50)
    assert (await gateway.ask(PRODUCT)).status == 200
    tokens = await gateway.tokens()
    assert 0 <= tokens["reserved"] <= 3


async def test_header_flood_within_bounds_passes(serve, keepa):
    """A hundred headers of Keepa's reach the caller as they are."""
    gateway = await serve_hurried(serve, keepa)
    lines = [b"X-Flood-%d: %s" % (number, b"y" * 100) for number in range(100)]
    keepa.reply = answer(None, *lines)
    got = await gateway.ask(PRODUCT)
    assert got.status == 200
    assert sum(name.startswith("X-Flood-") for name, _ in got.headers) == 100
