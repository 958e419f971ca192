"""Cutting an answer into what is kept, against `json`, which reads it whole."""

import itertools
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cache.cut import Oddity, Room
from gateway.cache.entries import MAX_ENTRY_BYTES, Packed
from gateway.cache.questions import read_question
from gateway.cache.splitter import Splitter

A, B, C = "B000000001", "B000000002", "B000000003"
SENT_MS = 1_790_000_000_000
FIELDS = {
    "timestamp": SENT_MS,
    "tokensLeft": 1182,
    "refillIn": 23_300,
    "refillRate": 20,
    "tokenFlowReduction": 0.5,
    "tokensConsumed": 3,
    "processingTimeInMs": 7,
}


def products(*asins, more="", room=None):
    question = read_question("GET", "product", f"domain=1&asin={','.join(asins)}{more}")
    return Splitter(question, room or Room())


def whole(target="bestsellers?domain=1&category=5", room=None):
    endpoint, _, query = target.partition("?")
    return Splitter(read_question("GET", endpoint, query), room or Room())


def cut(splitter, *pieces, is_whole=True):
    for piece in pieces:
        splitter.see_text(piece.encode() if isinstance(piece, str) else piece)
    return splitter.finish(is_whole=is_whole)


def write(data, **fields):
    return json.dumps(data | FIELDS | fields)


def text(packed: Packed) -> bytes:
    return b"".join(packed.unpack())


def texts(found):
    return {product.asin: text(product.body) for product in found.products}


def test_the_elements_are_cut_out_byte_for_byte():
    """Blanks, escapes, names of token fields inside: each product is what Keepa sent."""
    one = '{"asin" : "B000000001", "title":"}],{\\"asin\\":\\\\", "stats":{"tokensLeft":[1,[2]]}}'
    two = '{"lastUpdate":7000000,"asin":"B000000002","offersSuccessful":true,"x":"é\\u00e9"}'
    before, after = '{"tokensConsumed":2,"products" :\n[', f'] ,"timestamp":{SENT_MS}}}'
    answer = f"{before} {one} ,\t{two} {after}"
    found = cut(products(A, B), answer)
    assert found.oddity is None
    assert texts(found) == {A: one.encode(), B: two.encode()}
    assert [product.has_offers for product in found.products] == [False, True]
    assert found.consumed == 2
    assert (found.before, found.after) == (before.encode(), after.encode())


def test_the_age_of_keepas_data():
    """Keepa's own clock, less `lastUpdate` in its own minutes; unknown where it makes no sense."""
    minute = SENT_MS // 60_000 - 21_564_000
    told = [minute - 60, minute, minute + 1, minute + 9, 0, -1, None]
    asins = [f"B{n:09d}" for n in range(len(told))]
    data = [{"asin": asin, "lastUpdate": said} for asin, said in zip(asins, told, strict=True)]
    found = cut(products(*asins), write({"products": data}))
    past = SENT_MS // 1000 % 60
    ages = [found.data_age(product) for product in found.products]
    assert ages == [3600 + past, past, 0, None, None, None, None]
    found = cut(
        products(A), '{"products":[{"asin":"B000000001","lastUpdate":9}],"tokensConsumed":1}'
    )
    assert found.data_age(found.products[0]) is None


def test_what_keepa_leaves_out_is_not_there():
    """An ASIN without a product, and an answer without any, are no oddity."""
    assert texts(cut(products(A, B), write({"products": [{"asin": B}]}))).keys() == {B}
    found = cut(products(A), write({"products": []}))
    assert (found.oddity, found.products) == (None, [])
    assert found.before + found.after == write({"products": []}).encode()


@pytest.mark.parametrize(
    ("answer", "oddity"),
    [
        (write({"products": [{"asin": A}, {"asin": A}]}), Oddity.TWICE),
        (write({"products": [{"asin": C}]}), Oddity.UNASKED),
        (write({"products": [{"asin": A}, None]}), Oddity.NO_PRODUCT),
        (write({"products": [None]}), Oddity.NO_PRODUCT),
        (write({"products": [[]]}), Oddity.NO_PRODUCT),
        (write({"products": [7]}), Oddity.NO_PRODUCT),
        (write({"products": ["x"]}), Oddity.NO_PRODUCT),
        (write({"products": [{}]}), Oddity.NO_PRODUCT),
        (write({"products": [{"asin": 7}]}), Oddity.NO_PRODUCT),
        (write({"products": [{"asin": A, "lastUpdate": "now"}]}), Oddity.NO_PRODUCT),
        (write({"products": None}), Oddity.NO_PRODUCT),
        (write({"products": {}}), Oddity.NO_PRODUCT),
        (write({}), Oddity.NO_PRODUCT),
        (write({"products": [{"asin": A}], "other": 1}), Oddity.UNKNOWN_MEMBER),
        (write({"products": [{"asin": A}], "categories": {}}), Oddity.UNKNOWN_MEMBER),
        (write({"error": {"type": "x"}}), Oddity.ERROR),
        (write({"error": "x", "products": [{"asin": A}]}), Oddity.ERROR),
        (write({"products": [{"asin": A}], "error": {}}), Oddity.ERROR),
        ('{"products":[{"asin":"B000000001"}]}', Oddity.NO_COST),
        (write({"products": [{"asin": A}]}, tokensConsumed=-1), Oddity.NO_COST),
        (write({"products": [{"asin": A}]}, tokensConsumed="1"), Oddity.NO_COST),
        (write({"products": [{"asin": A}]}, tokensConsumed=None), Oddity.NO_COST),
        (write({"products": []}, tokensConsumed=0, tokensLeft=0, refillRate=0), Oddity.WRONG_KEY),
        ('{"products":[],"products":[]}', Oddity.TWICE),
        ('{"products":[],"tokensConsumed":1,"tokensConsumed":1}', Oddity.TWICE),
        ('{"products":[{"asin":"B000000001",}],"tokensConsumed":1}', Oddity.NOT_JSON),
        ('{"products":[{"asin":"B000000001"],"tokensConsumed":1}', Oddity.NOT_JSON),
        ('{"products":[{"asin":"B000000001"}],"tokensConsumed":1} x', Oddity.NOT_JSON),
        ('{"products":[{"asin":"B000000001"}]]', Oddity.NOT_JSON),
        ('{"products":[{"asin":"B000000001"},]', Oddity.NO_PRODUCT),
        ('{"products":[,', Oddity.NO_PRODUCT),
        ('{,"products":[', Oddity.NOT_JSON),
        ("[]", Oddity.NOT_JSON),
        ("<html>", Oddity.NOT_JSON),
        ("", Oddity.CUT),
        ('{"products":[{"asin":"B000000001"}],"tokensConsumed":1', Oddity.CUT),
        (b'{"products":[{"asin":"B000000001","t":"\xff"}],"tokensConsumed":1}', Oddity.NOT_JSON),
        ('{"\\u0070roducts":[],"tokensConsumed":1}', Oddity.NOT_JSON),
        ('{"products":[{"asin":"B000000001","x":' + "[" * 9999 + "]" * 9999 + "}", Oddity.NOT_JSON),
    ],
)  # fmt: skip
def test_odd_answers(answer, oddity):
    """Of what is not exactly as expected nothing is kept, and no room stays taken."""
    room = Room()
    found = cut(products(A, B, room=room), answer)
    assert found.oddity is oddity
    assert (found.products, found.whole, room.taken) == ([], None, 0)


def test_an_answer_is_kept_only_to_its_end():
    """A body that broke off is cut, even where its text looks whole."""
    answer = write({"products": [{"asin": A}]})
    assert cut(products(A), answer, is_whole=True).oddity is None
    assert cut(products(A), answer, is_whole=False).oddity is Oddity.CUT
    for end in range(len(answer)):
        assert cut(products(A), answer[:end]).oddity is Oddity.CUT


def test_cut_at_every_byte():
    """However its text comes in pieces, an answer is the same."""
    one = '{"asin":"B000000001","a":"\\\\\\"}{","b":[{"c":[1,[]]}],"d":"é"}'
    answer = (
        '\ufeff {"tokensConsumed" : 2.0 , "products":[' + one + '], "error" :null,"refillIn":1} '
    ).encode()
    expected = cut(products(A), answer)
    assert expected.oddity is None
    for at in range(len(answer)):
        assert cut(products(A), answer[:at], answer[at:]) == expected
    assert cut(products(A), *(answer[n : n + 1] for n in range(len(answer)))) == expected


@pytest.mark.parametrize(
    ("target", "data"),
    [
        ("bestsellers?domain=1&category=5", {"bestSellersList": {"asinList": [A, B], "x": "}"}}),
        ("query?domain=1&selection=%7B%7D", {"asinList": [A], "totalResults": 12}),
        ("sellerquery?domain=1&selection=%7B%7D", {"sellerIdList": None, "totalResults": -1}),
        ("product?domain=1&code=4006381333931", {"products": [{"asin": A}, {"asin": A}]}),
        ("search?domain=1&type=category&term=book", {"categories": {}, "categoryParents": {}}),
    ],
)  # fmt: skip
def test_whole_answers_lose_only_their_token_fields(target, data):
    """The root's own members are one text, as they came, in their order."""
    for answer in (data | FIELDS, FIELDS | data):
        found = cut(whole(target), json.dumps(answer, separators=(",", ":")))
        assert found.oddity is None
        assert found.consumed == 3
        assert b"{%s}" % text(found.whole) == json.dumps(data, separators=(",", ":")).encode()


def test_whole_answers_that_hold_nothing_or_too_much():
    """No list: nothing to keep, which is nothing odd. Another endpoint's member: odd."""
    found = cut(whole(), write({}))
    assert (found.oddity, found.whole) == (None, None)
    assert cut(whole(), write({"products": []})).oddity is Oddity.UNKNOWN_MEMBER
    assert (
        cut(whole(), write({"bestSellersList": 0})[:-1] + ',"x":1}').oddity is Oddity.UNKNOWN_MEMBER
    )
    long = "x" * 70_000
    assert cut(whole("query?domain=1&selection=%7B%7D"), write({"asinList": long})).oddity is None
    pieces = [f'{{"asinList":"{long}', '"}']
    assert cut(whole("query?domain=1&selection=%7B%7D"), *pieces).oddity is Oddity.TOO_LARGE


def test_limits():
    """An entry over its limit, and a process that collects too much, end the cutting."""
    large = "[" + "1," * (MAX_ENTRY_BYTES // 2) + "1]"
    assert cut(products(A), write({"products": [{"asin": A, "x": "y"}]})).oddity is None
    one = '{"products":[{"asin":"B000000001","x":' + large + '}],"tokensConsumed":1}'
    assert cut(products(A), one).oddity is Oddity.TOO_LARGE
    answer = write({"products": [{"asin": A, "x": "y" * 99}, {"asin": B}]})
    room = Room(limit=40)
    assert cut(products(A, B, room=room), answer).oddity is Oddity.BUSY
    assert room.taken == 0


def test_room_is_given_back_once():
    """What is held stays claimed until it is closed, also twice."""
    room = Room()
    splitter = products(A, B, room=room)
    found = cut(splitter, write({"products": [{"asin": A}, {"asin": B}]}))
    assert room.taken == sum(len(product.body.deflated) for product in found.products) > 0
    splitter.close()
    splitter.close()
    assert room.taken == 0
    assert len(found.products) == 2


NUMBERS = st.sampled_from(["0", "-1", "1e999", "9" * 400, "-0.000001E-5", "12345678901234567890"])
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20) | st.sampled_from(['"', "\\", '\\"', "{[", "}],", "asin", "\u2028"])
)  # fmt: skip
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=6), inner, max_size=5)
    ),
    max_leaves=25,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=6), JSON, max_size=6), max_size=4),
    st.permutations([*FIELDS, "products"]),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.lists(st.integers(0, 5000), max_size=4),
    NUMBERS,
)
def test_whatever_products_hold(found, order, indent, ascii_only, cuts, number):
    """The elements are those that `json` reads, and the frame around them is the answer's."""
    asins = [f"B{n:09d}" for n in range(len(found))]
    for asin, product in zip(asins, found, strict=True):
        product.pop("lastUpdate", None)
        product.pop("offersSuccessful", None)
        product["asin"] = asin
    answer = FIELDS | {"products": found}
    written = json.dumps(
        {name: answer[name] for name in order}, indent=indent, ensure_ascii=ascii_only
    )
    written = written.replace('"asin": ', f'"n": {number}, "asin": ')
    body = written.encode()
    places = sorted({0, *(at % (len(body) + 1) for at in cuts), len(body)})
    pieces = [body[one:other] for one, other in itertools.pairwise(places)]
    result = cut(products(*asins, "C000000001"), *pieces)
    assert result.oddity is None
    assert [json.loads(text(product.body)) for product in result.products] == json.loads(body)[
        "products"
    ]
    assert json.loads(result.before + result.after) == json.loads(body) | {"products": []}
    for product in result.products:
        assert text(product.body) in body
        assert (product.body.crc, product.body.length) == (
            zlib.crc32(text(product.body)),
            len(text(product.body)),
        )
