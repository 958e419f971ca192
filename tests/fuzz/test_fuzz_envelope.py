"""The reader of token fields on answers of any size, cut anywhere, packed well or badly."""

import asyncio
import dataclasses
import gzip
import zlib
from concurrent.futures import Executor, Future

import pytest
from hypothesis import strategies as st
from support.measure.exploring import Longest, measure_ms

from fuzz.documents import CUTS, NOWHERE, documents, parse
from gateway.keepa.envelope import Envelope, EnvelopeReader, read_envelope
from gateway.keepa.envelope.scanner import PIECE_BYTES, Scanner

MEBIBYTE = 1024 * 1024
LEVELS = st.sampled_from([0, 1, 6])


class AtOnce(Executor):
    """Runs what is submitted at once, so that an example is the same each time."""

    def submit(self, fn, /, *args, **kwargs):
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture
def read():
    """Return what reads a body in pieces; sees that the reader's word does not change."""
    with asyncio.Runner() as runner:

        async def read(pieces, encoding):
            reader = EnvelopeReader(encoding, AtOnce())
            for piece in pieces:
                before = reader.envelope
                was_done = reader.done
                await reader.feed(piece)
                if was_done:
                    assert reader.done
                    assert reader.envelope == before
            found = await reader.finish()
            assert found == reader.envelope == await reader.finish()
            assert reader.done
            return found

        yield lambda pieces, encoding: runner.run(read(pieces, encoding))


def gzip_members(text, cuts, level):
    """Several members, an empty one too where two cuts fall together."""
    return b"".join(gzip.compress(part, level, mtime=0) for part in [*cuts.apply(text), b""])


def deflate(text, level, bits):
    packer = zlib.compressobj(level, wbits=bits)
    return packer.compress(text) + packer.flush()


def pack(text, encoding, cuts, level):
    if encoding == "gzip":
        return gzip_members(text, cuts, level)
    if encoding == "deflate":
        return deflate(text, level, 15)
    return text


ENCODINGS = st.sampled_from([None, "gzip", "deflate"])


def test_it_finds_what_a_whole_parser_finds(explorer, read):
    """Of answers up to hundreds of KiB, plain or packed, in any pieces: the same fields."""

    def finds(text, encoding, cuts, members, level):
        expected = Envelope(**parse(text))
        body = pack(text, encoding, members, level)
        assert read(cuts.apply(body), encoding) == expected
        if len(body) <= 64 * 1024:
            assert read_envelope(body, encoding) == expected
        search = Scanner()
        for piece in cuts.apply(text):
            for start in range(0, len(piece), PIECE_BYTES):
                search.feed(piece[start : start + PIECE_BYTES])
        assert search.finish() == expected

    explorer.explore(
        finds, examples=250, text=documents(), encoding=ENCODINGS, cuts=CUTS, members=CUTS,
        level=LEVELS,
    )  # fmt: skip


def test_a_cut_answer_never_tells_a_wrong_value(explorer, read):
    """Wherever a body ends too soon, each field is found as in the whole one, or not at all."""

    def tells_no_lie(text, encoding, cuts, members, end):
        expected = parse(text)
        body = pack(text, encoding, members, 6)
        found = read(cuts.apply(body[: len(body) * end // 10_000]), encoding)
        for attribute, value in dataclasses.asdict(found).items():
            assert value is None or value == expected[attribute]

    explorer.explore(
        tells_no_lie, examples=150, text=documents(), encoding=ENCODINGS, cuts=CUTS, members=CUTS,
        end=st.integers(0, 10_000),
    )  # fmt: skip


def test_damage_does_no_harm(explorer, read):
    """Flipped, lost and foreign bytes in packed or plain answers raise nothing."""
    damages = st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 3), st.binary(max_size=8)), max_size=5
    )

    def harmless(text, encoding, label, cuts, damages):
        body = pack(text, encoding, cuts, 6)
        for place, lost, foreign in damages:
            at = len(body) * place // 10_000
            body = body[:at] + foreign + body[at + lost :]
        read(cuts.apply(body), label)
        read_envelope(body[: 64 * 1024], label)

    explorer.explore(
        harmless, examples=150, text=documents() | st.binary(), encoding=ENCODINGS,
        label=st.sampled_from([None, "gzip", "deflate", "x-gzip", "br", ""]), cuts=CUTS,
        damages=damages,
    )  # fmt: skip


@pytest.mark.timeout(600)
def test_what_is_read_on_the_loop_takes_no_time(explorer):
    """A small answer, and the start of a large one, are read in a few milliseconds at most."""
    longest = Longest()
    units = st.sampled_from(
        ['"', '\\"', "\\", "\\\\", "{", "}", "[]", "{}", '"tokensLeft":1,', '"tokensLeft" : ', "1,",
         '""', '"["', "][", '"\\', " ", '"tokensLeft', "x", '{"', '"}', "[[[[]]]]"]
    )  # fmt: skip

    def is_quick(start, unit, other, encoding, level):
        piece = (start + unit * 50 + other).encode()
        text = b"{" + piece * (64 * 1024 // len(piece))
        if encoding == "gzip":
            # What inflates to the most that is looked at.
            text = text * 48
        body = pack(text, encoding, NOWHERE, level)[: 64 * 1024]
        ms = measure_ms(lambda: read_envelope(body, encoding))
        longest.note(ms, f"{start + unit!r} with {other!r}, {encoding}, {len(body)} bytes")
        assert ms < 40

    explorer.explore(
        is_quick, examples=60, longest=longest, start=st.sampled_from(["", '"', "[", '"a":']),
        unit=units, other=units, encoding=st.sampled_from([None, "gzip"]), level=LEVELS,
    )  # fmt: skip
