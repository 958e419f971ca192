"""The splitter on answers of any size, cut and damaged anywhere, and on what takes it longest."""

import json

from hypothesis import strategies as st
from support.measure.exploring import Longest, measure_ms

from fuzz.documents import CUTS, documents
from gateway.cache.cut import Room
from gateway.cache.questions import read_question
from gateway.cache.splitter import Splitter

ASINS = tuple(f"B{n:09d}" for n in range(100))
KINDS = {
    "products": read_question("GET", "product", f"domain=1&asin={','.join(ASINS)}"),
    "whole": read_question("GET", "query", "domain=1&selection=%7B%7D"),
}


def split(kind, pieces):
    """Cut an answer; see that it holds nothing where it is odd, and gives all room back."""
    room = Room()
    splitter = Splitter(KINDS[kind], room)
    for piece in pieces:
        splitter.see_text(piece)
    found = splitter.finish(is_whole=True)
    assert found.oddity is None or (not found.products and not room.taken)
    splitter.close()
    assert room.taken == 0
    return found


def check(kind, body, found):
    """What is kept is what a parser that reads the whole finds, and is whole itself."""
    if found.oddity:
        return
    read = json.loads(body.decode("utf-8-sig"))
    assert read["tokensConsumed"] == found.consumed
    if kind == "products":
        kept = [json.loads(b"".join(product.body.unpack())) for product in found.products]
        assert kept == read["products"]
        assert [product.asin for product in found.products] == [one["asin"] for one in kept]
    elif found.whole:
        kept = json.loads(b"{%s}" % b"".join(found.whole.unpack()))
        assert kept == {name: read[name] for name in kept}


def around(document, kind):
    """Put the object that a document begins with where it is cut out."""
    text = document.decode().removeprefix("\ufeff").lstrip()
    value = text[: json.JSONDecoder().raw_decode(text)[1]].encode()
    return enclose(value, kind)


def enclose(value, kind):
    """Put a value where it is cut out."""
    if kind == "products":
        head = b'{"tokensConsumed":1,"products":[{"asin":"%s","x":' % ASINS[0].encode()
        return head + value + b'},{"asin":"%s"}]}' % ASINS[1].encode()
    return b'{"asinList":%s,"tokensConsumed":1,"totalResults":7}' % value


def test_what_is_kept_is_what_a_parser_reads(explorer):
    """Values of any shape and size, in any pieces: cut out whole, or nothing is kept."""

    def is_right(value, kind, cuts):
        body = around(value, kind)
        found = split(kind, cuts.apply(body))
        assert found == split(kind, [body])
        check(kind, body, found)
        assert found.oddity is None

    explorer.explore(
        is_right, examples=50, value=documents(), kind=st.sampled_from(list(KINDS)), cuts=CUTS
    )


def test_damage_keeps_nothing_wrong(explorer):
    """Flipped, lost and foreign bytes: what is kept all the same is what `json` reads."""
    damages = st.lists(
        st.tuples(
            st.integers(0, 10_000),
            st.integers(0, 3),
            st.binary(max_size=4) | st.sampled_from([b'"', b"\\", b"{", b"}", b"]", b",", b"null"]),
        ),
        min_size=1,
        max_size=4,
    )

    def harmless(value, kind, cuts, damages):
        body = around(value, kind)
        for place, lost, foreign in damages:
            at = len(body) * place // 10_000
            body = body[:at] + foreign + body[at + lost :]
        found = split(kind, cuts.apply(body))
        check(kind, body, found)

    explorer.explore(
        harmless, examples=50, value=documents(), kind=st.sampled_from(list(KINDS)), cuts=CUTS,
        damages=damages,
    )  # fmt: skip


def test_no_piece_takes_long(explorer):
    """Whatever stands in it, a piece of 64 KiB takes a few milliseconds."""
    longest = Longest()
    units = st.sampled_from(
        [b'"', b'\\"', b"\\", b"{", b"}", b"[]", b"{}", b"{},", b"1,", b'""', b'"["', b"][", b" ",
         b'{"a":', b"[[[[]]]]", b"[" * 9 + b"]" * 9, b'"x",', b'{"a":[{"b":"c"}]},']
    )  # fmt: skip

    def is_quick(start, unit, other, kind):
        piece = (unit * 40 + other) or b"x"
        text = enclose(start + piece * (192 * 1024 // len(piece)), kind)
        pieces = [text[at : at + 65_536] for at in range(0, len(text), 65_536)]
        ms = measure_ms(lambda: split(kind, pieces)) / len(pieces)
        longest.note(ms, f"{start + unit!r} with {other!r}, {kind}")
        assert ms < 40

    explorer.explore(
        is_quick, examples=40, longest=longest, start=st.sampled_from([b"", b'"', b"[", b'{"a":']),
        unit=units, other=units, kind=st.sampled_from(list(KINDS)),
    )  # fmt: skip


def test_a_large_answer_holds_the_gil_for_moments_only():
    """20 MB of a hundred products: no piece of 256 KiB takes 50 ms of a processor."""
    numbers = b"[" + b"7000000,1999," * 15_000 + b"0]"
    one = b'{"asin":"%s","csv":[%s,null]}'
    body = b'{"products":[%s],"tokensConsumed":100}' % b",".join(
        one % (asin.encode(), numbers) for asin in ASINS
    )
    pieces = [body[at : at + 262_144] for at in range(0, len(body), 262_144)]
    splitter = Splitter(KINDS["products"], Room())
    longest = max(
        measure_ms(lambda piece=piece: splitter.see_text(piece), attempts=1) for piece in pieces
    )
    assert len(splitter.finish(is_whole=True).products) == len(ASINS)
    assert longest < 50
