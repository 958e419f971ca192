"""Reading an answer while it streams past: encodings, threads, memory."""

import asyncio
import gzip
import json
import threading
import tracemalloc
import zlib
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.keepa.envelope import Envelope, EnvelopeReader, read_envelope

FULL = {
    "tokensLeft": -12,
    "refillIn": 53_441,
    "refillRate": 20,
    "tokenFlowReduction": 0.5,
    "tokensConsumed": 123,
}
FULL_ENVELOPE = Envelope(-12, 53_441, 20, 0.5, 123)
MEBIBYTE = 1024 * 1024


def answer(products: int, *, fields_first: bool = False) -> bytes:
    """An answer of about 32 KiB a product, with look-alikes inside."""
    product = {"title": 'a "{title}" \\', "tokensLeft": 999, "csv": [list(range(2000, 4600))] * 2}
    data = {"products": [product] * products}
    return json.dumps({**FULL, **data} if fields_first else {**data, **FULL}).encode()


ENCODERS = {
    None: bytes,
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "GZIP": gzip.compress,
    " x-gzip ": gzip.compress,
    "deflate": zlib.compress,
}
BIG = answer(20)
BIG_GZIP = gzip.compress(BIG, 1)


class Hand(Executor):
    """Runs what was submitted when told to, or at once."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.at_once = at_once
        self.submitted = 0
        self._waiting: list = []

    def submit(self, fn, /, *args, **kwargs):
        self.submitted += 1
        future: Future = Future()
        self._waiting.append((future, fn, args))
        if self.at_once:
            self.run()
        return future

    def run(self) -> None:
        while self._waiting:
            future, fn, args = self._waiting.pop(0)
            if future.set_running_or_notify_cancel():
                future.set_result(fn(*args))


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as executor:
        yield executor


async def read(body: bytes, encoding: str | None, executor: Executor, size: int = 16_384):
    reader = EnvelopeReader(encoding, executor)
    for start in range(0, len(body), size):
        await reader.feed(body[start : start + size])
    return await reader.finish()


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("fields_first", [True, False])
async def test_every_encoding_is_read_whole_and_streamed(threads, encoding, fields_first):
    """Plain, gzip and zlib, small and large, in chunks of any size: all five fields."""
    for products in (0, 1, 8):
        body = ENCODERS[encoding](answer(products, fields_first=fields_first))
        if len(body) <= 64 * 1024:
            assert read_envelope(body, encoding) == FULL_ENVELOPE
        for size in (1009, 65_536, len(body)):
            assert await read(body, encoding, threads, size) == FULL_ENVELOPE


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "nonsense"])
async def test_an_unknown_encoding_finds_nothing(encoding):
    """What cannot be decoded is over before it starts."""
    body = json.dumps(FULL).encode()
    assert read_envelope(body, encoding).is_empty
    reader = EnvelopeReader(encoding, Hand())
    assert reader.done
    await reader.feed(body)
    assert (await reader.finish()).is_empty


async def test_damaged_gzip_keeps_what_came_before(threads):
    """Bad data ends the search; the fields before it stay found, nothing is raised."""
    packer = zlib.compressobj(wbits=31)
    start = packer.compress(b'{"tokensLeft":-12,"a":1,"b') + packer.flush(zlib.Z_SYNC_FLUSH)
    reader = EnvelopeReader("gzip", threads)
    await reader.feed(start)
    await reader.feed(b"\xff" * 200_000)
    await reader.feed(gzip.compress(b'","refillIn":1,'))
    assert await reader.finish() == Envelope(tokens_left=-12)


async def test_chunks_after_bad_data_are_neither_kept_nor_searched():
    """Once the data turns out bad the reader is done, however much follows."""
    executor = Hand()
    reader = EnvelopeReader("gzip", executor)
    await reader.feed(b"<html>" * 20)
    assert reader.done
    for _ in range(100):
        await reader.feed(b"\xff" * 65_536)
    assert (await reader.finish()).is_empty
    assert executor.submitted == 0


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([None, "gzip", "deflate", "br"]))
@example(b"\x1f\x8b\x08\xff" + b"\0" * 40, "gzip")
@example(b"\x78", "deflate")
def test_arbitrary_bytes_raise_nothing(noise, encoding):
    """Whatever a body is, both readers say what they found, here nothing or little."""
    whole = read_envelope(noise, encoding)
    executor = Hand(at_once=True)
    for size in (1, 7, 300):
        assert asyncio.run(read(noise, encoding, executor, size)) == whole


@pytest.mark.parametrize("encoding", [None, "gzip"])
async def test_fields_at_the_start_never_reach_a_thread(encoding):
    """An answer with its fields first is done at once; the megabytes after cost nothing."""
    executor = Hand()
    reader = EnvelopeReader(encoding, executor)
    body = ENCODERS[encoding](answer(20, fields_first=True))
    await reader.feed(body[:16_384])
    assert reader.done
    assert reader.envelope == FULL_ENVELOPE
    for _ in range(1000):
        await reader.feed(body)
    assert await reader.finish() == FULL_ENVELOPE
    assert executor.submitted == 0


async def test_a_small_answer_never_reaches_a_thread():
    """Up to 64 KiB of text is searched on the loop, fields last or not."""
    executor = Hand()
    assert await read(answer(1), None, executor) == FULL_ENVELOPE
    assert executor.submitted == 0


async def test_a_large_answer_is_searched_in_a_thread_only():
    """Beyond the first 64 KiB nothing is found until the executor has run."""
    executor = Hand()
    reader = EnvelopeReader(None, executor)
    await reader.feed(BIG)
    await turns()
    assert reader.envelope.is_empty
    assert executor.submitted
    executor.run()
    assert await reader.finish() == FULL_ENVELOPE


async def test_the_executor_is_left_alone_once_all_is_found():
    """After the fifth field no more work is submitted, whatever is fed."""
    executor = Hand(at_once=True)
    reader = EnvelopeReader(None, executor)
    await reader.feed(BIG[:-1] + b',"more":[' + b"1," * 5000)
    assert reader.done
    submitted = executor.submitted
    for _ in range(20):
        await reader.feed(BIG)
    assert await reader.finish() == FULL_ENVELOPE
    assert executor.submitted == submitted
    assert reader._backlog_bytes == 0


async def test_feed_waits_only_when_a_mebibyte_is_waiting():
    """Below the bound it returns at once, though the thread stands still; above it waits."""
    executor = Hand()
    reader = EnvelopeReader(None, executor)
    await reader.feed(b'{"a":[')
    for _ in range(16):
        await reader.feed(b"1," * 32_768)
    blocked = asyncio.create_task(reader.feed(b"1," * 65_536))
    await turns()
    assert not blocked.done()
    executor.at_once = True
    executor.run()
    await blocked
    await reader.feed(b'1],"tokensLeft":4}')
    assert await reader.finish() == Envelope(tokens_left=4)


async def test_a_cancelled_feed_or_finish_loses_nothing():
    """Whoever hangs up while the thread works can still be settled: the chunk is taken."""
    executor = Hand()
    reader = EnvelopeReader(None, executor)
    waiting_calls = (
        lambda: reader.feed(b'{"a":[' + b"1," * MEBIBYTE + b'1],"tokensConsumed":6}'),
        reader.finish,
    )
    for call in waiting_calls:
        task = asyncio.create_task(call())
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    executor.run()
    assert await reader.finish() == Envelope(tokens_consumed=6)


async def test_finish_may_be_called_again():
    """The second call says the same; chunks that come later change nothing."""
    reader = EnvelopeReader("gzip", Hand(at_once=True))
    await reader.feed(BIG_GZIP[: len(BIG_GZIP) // 2])
    first = await reader.finish()
    await reader.feed(BIG_GZIP[len(BIG_GZIP) // 2 :])
    assert await reader.finish() == first == reader.envelope
    assert reader.done


async def test_an_abandoned_reader_stops_its_thread():
    """A thread in the middle of a gzip bomb ends at its next piece."""
    with ThreadPoolExecutor(1) as executor:
        held, go = threading.Event(), threading.Event()
        executor.submit(lambda: (held.set(), go.wait()))
        held.wait()
        reader = EnvelopeReader("gzip", executor)
        bomb = gzip.compress(b'{"a":"' + b"x" * 100_000_000 + b'","tokensLeft":1}', 9)
        await reader.feed(bomb * 3)
        reader.abandon()
        go.set()
        assert reader.done
        assert (await reader.finish()).is_empty
        await reader.feed(bomb)
        assert reader._backlog_bytes == 0


async def test_abandoning_midway_keeps_what_was_found():
    """What was found before stays readable, and `finish` does not wait for the thread."""
    executor = Hand()
    reader = EnvelopeReader(None, executor)
    await reader.feed(b'{"tokensLeft":4,"a":[' + b"1," * 200_000)
    assert executor.submitted
    reader.abandon()
    assert await reader.finish() == Envelope(tokens_left=4)


@pytest.mark.parametrize("cancel", [True, False])
async def test_an_executor_that_is_shut_down_ends_the_search_quietly(cancel):
    """At shutdown a body must still flow on: nothing is raised, nothing more is found."""
    executor = ThreadPoolExecutor(1)
    reader = EnvelopeReader(None, executor)
    if cancel:
        go = threading.Event()
        executor.submit(go.wait)
        await reader.feed(BIG)
        executor.shutdown(wait=False, cancel_futures=True)
        go.set()
    else:
        executor.shutdown()
        await reader.feed(BIG)
    assert (await reader.finish()).is_empty
    await reader.feed(BIG)
    assert reader.done


async def test_many_readers_share_an_executor(threads):
    """Chunks keep their order in each of many answers read at the same time."""
    bodies = [
        gzip.compress(json.dumps({"x": [[i] * 30_000] * 2, "tokensLeft": i}).encode(), 1)
        for i in range(12)
    ]
    found = await asyncio.gather(
        *(read(body, "gzip", threads, 100 + i) for i, body in enumerate(bodies))
    )
    assert [envelope.tokens_left for envelope in found] == list(range(12))


@pytest.mark.long
async def test_memory_stays_flat(threads):
    """A bomb of 150 MB and 60 MB of plain text pass through less than 4 MiB."""
    packer = zlib.compressobj(wbits=31)
    chunks = [packer.compress(b'{"a":[')]
    chunks += [packer.compress(b"1," * 500_000) for _ in range(150)]
    chunks.append(packer.compress(b'1],"tokensLeft":3}') + packer.flush())
    tracemalloc.start()
    try:
        reader = EnvelopeReader("gzip", threads)
        for chunk in chunks:
            await reader.feed(chunk)
        assert await reader.finish() == Envelope(tokens_left=3)
        plain = EnvelopeReader(None, threads)
        await plain.feed(b'{"a":[')
        for _ in range(1000):
            await plain.feed(b"[12]," * 12_000)
        await plain.feed(b'1],"tokensLeft":3}')
        assert await plain.finish() == Envelope(tokens_left=3)
        assert tracemalloc.get_traced_memory()[1] < 4 * MEBIBYTE
    finally:
        tracemalloc.stop()


class Seen:
    """Keeps all that it is shown."""

    def __init__(self) -> None:
        self.wire = b""
        self.text = b""

    def see_wire(self, chunk: bytes) -> None:
        self.wire += chunk

    def see_text(self, piece: bytes) -> None:
        self.text += piece


@pytest.mark.parametrize("encoding", [None, "gzip"])
@pytest.mark.parametrize("size", [1009, 65_536])
async def test_a_watch_sees_the_whole_body(threads, encoding, size):
    """Also after the last field: once it has caught up, each chunk and all its text."""
    text = answer(20, fields_first=True)
    body = ENCODERS[encoding](text)
    seen = Seen()
    reader = EnvelopeReader(encoding, threads, seen)
    for start in range(0, len(body), size):
        await reader.feed(body[start : start + size])
        assert await reader.catch_up()
        assert seen.wire == body[: start + size]
        if encoding is None:
            assert seen.text == seen.wire
    assert reader.has_all
    assert await reader.finish() == FULL_ENVELOPE
    assert seen.text == text


async def test_a_watch_sees_bad_data_as_it_came():
    """What nobody can inflate may be readable as it is."""
    seen = Seen()
    reader = EnvelopeReader("gzip", Hand(), seen)
    for chunk in (b"<html>" * 20, b"no gzip"):
        await reader.feed(chunk)
        assert await reader.catch_up()
    assert seen.text == b"<html>" * 20 + b"no gzip"


async def test_what_nobody_can_decode_is_never_caught_up_with():
    """Of an unknown encoding, or without a thread, a watch has not seen the body."""
    assert not await EnvelopeReader("br", Hand(), Seen()).catch_up()
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    reader = EnvelopeReader(None, executor, Seen())
    await reader.feed(BIG)
    assert not await reader.catch_up()
