"""Which calls are recognised as one question: spellings of it, and what must never be taken for it.

The oracle of the random tests is `urllib.parse`, which writes a query in many ways.
"""

import json
import math
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.keepa.call_shapes import SHAPES
from support.measure.exploring import measure_ms

from gateway.cache.questions import MAX_SELECTION_BYTES, read_question

A, B = "B000000001", "B000000002"
PLAIN = f"domain=1&asin={A}"


def ask(target, body=b""):
    endpoint, _, query = target.partition("?")
    return read_question("POST" if body else "GET", endpoint, query, body)


@pytest.mark.parametrize(
    "spelling",
    [
        f"key=secret&domain=1&asin={A},{B}&stats=90",
        f"stats=90&asin={A}%2C{B}&domain=1",
        f"&&domain=1&asin={A}%2c{B}&stats=90&",
        f"domain=%31&%61sin={A},{B}&stats=90&key=other",
        # Keepa's Python client says each default, its Java client none.
        f"domain=1&asin={A},{B}&stats=90&history=1&rating=0&buybox=0&stock=0&videos=0&aplus=0",
        f"domain=1&asin={A},{B}&stats=90&rental=0&only-live-offers=0&historical-variations=0",
    ],
)
def test_spellings_of_one_question(spelling):
    """Order, percent-encoding, empty fields, the key and what says a default make no difference."""
    plain = ask(f"product?domain=1&asin={A},{B}&stats=90")
    assert plain is not None
    assert ask(f"product?{spelling}") == plain
    assert plain.name_entries() == [f"p:{plain.digest}:1:{asin}" for asin in (A, B)]


@pytest.mark.parametrize(
    "other",
    [
        f"domain=1&asin={A}&stats=90",
        f"domain=1&asin={A}&stats=180",
        f"domain=1&asin={A}&stats=2026-01-01,2026-02-01",
        f"domain=1&asin={A}&history=0",
        f"domain=1&asin={A}&rating=1",
        f"domain=1&asin={A}&buybox=1",
        f"domain=1&asin={A}&days=30",
        f"domain=1&asin={A}&offers=20",
        f"domain=1&asin={A}&offers=20&stock=1",
        f"domain=3&asin={A}",
        f"domain=1&asin={B}",
    ],
)
def test_other_questions(other):
    """Another variant, domain or ASIN is another entry."""
    question, plain = ask(f"product?{other}"), ask(f"product?{PLAIN}")
    assert question is not None
    assert plain is not None
    assert question.name_entries() != plain.name_entries()


def test_update_is_no_part_of_a_product_entry():
    """Whatever hours a call says, it is the same product."""
    names = {ask(f"product?{PLAIN}&update={n}").name_entry(A) for n in (-1, 0, 1, 24)}
    assert names == {ask(f"product?{PLAIN}").name_entry(A)}


@pytest.mark.parametrize(
    ("query", "hours"),
    [
        (PLAIN, 1),
        (f"{PLAIN}&update=24", 24),
        (f"{PLAIN}&update=0", 0),
        (f"{PLAIN}&update=-1", math.inf),
        (f"{PLAIN}&offers=20", 0),
        (f"{PLAIN}&offers=20&update=24", 24),
    ],
)
def test_the_hours_that_keepa_leaves_its_data_for(query, hours):
    """One, where a call does not say; none for offers, which are live then."""
    assert ask(f"product?{query}").hours == hours


@pytest.mark.parametrize(
    "target",
    [
        # not known, repeated, not lower case, of no form
        f"product?{PLAIN}&colour=red",
        f"product?{PLAIN}&domain=1",
        f"product?{PLAIN}&history=1&history=1",
        f"product?{PLAIN}&History=1",
        f"Product?{PLAIN}",
        f"product?{PLAIN}&history",
        f"product?{PLAIN}&history=",
        f"product?{PLAIN}&history=true",
        f"product?{PLAIN}&history=01",
        f"product?{PLAIN}&offers=19",
        f"product?{PLAIN}&offers=101",
        f"product?{PLAIN}&stats=0",
        f"product?{PLAIN}&stats=%D9%A1",
        f"product?{PLAIN}&update=-2",
        f"product?{PLAIN}&update=+1",
        # domain and ASINs
        f"product?asin={A}",
        f"product?domain=0&asin={A}",
        f"product?domain=13&asin={A}",
        "product?domain=1",
        "product?domain=1&asin=",
        "product?domain=1&asin=b000000001",
        "product?domain=1&asin=B00000001",
        f"product?domain=1&asin={A},{A}",
        f"product?domain=1&asin={A},,{B}",
        f"product?domain=1&asin={A},%20{B}",
        f"product?domain=1&asin={A}%0A",
        "product?domain=1&asin=" + ",".join(f"B{n:09d}" for n in range(101)),
        f"product?{PLAIN}&code=4006381333931",
        f"product?{PLAIN}&code-limit=1",
        "product?domain=1&code=4006381333931,4006381333931",
        # encodings
        f"product?{PLAIN}&stats=%zz",
        f"product?{PLAIN}&stats=9%",
        "search?domain=1&type=product&term=%ff",
        "search?domain=1&type=product&term=a%0Ab",
        "search?domain=1&type=product&term=\udc80",
        "search?domain=1&type=seller&term=lamp",
        # never
        "token",
        "tracking?type=list",
        "tracking?type=get&asin=B000000001",
        "newendpoint?domain=1",
        "",
    ],
)
def test_what_is_not_shareable(target):
    """What is not fully understood is nobody's question."""
    assert ask(target) is None


def test_a_post_is_a_question_only_of_a_finder():
    """A form, a body under a GET, a selection in two places: not shareable."""
    selection = b'{"a":1}'
    assert read_question("POST", "product", PLAIN, b"") is None
    assert read_question("POST", "product", "domain=1", f"asin={A}".encode()) is None
    assert read_question("GET", "query", "domain=1", selection) is None
    assert read_question("POST", "query", "domain=1", b"selection=%7B%7D") is None
    assert read_question("POST", "query", "domain=1", b"\xff" + selection) is None
    assert read_question("POST", "query", "domain=1", b'{"a":"\xff"}') is None
    assert read_question("POST", "query", "domain=1&selection=%7B%7D", selection) is None
    assert read_question("PUT", "query", "domain=1", selection) is None
    assert read_question("POST", "query", "domain=1", selection) is not None


@pytest.mark.parametrize(
    "target",
    [
        "product?domain=1&code=4006381333931&code-limit=3",
        "search?domain=1&type=product&term=red+lamp",
        "search?domain=1&type=category&term=books&parents=1",
        "category?domain=1&category=281052,5&parents=0",
        "bestsellers?domain=1&category=281052&range=90",
        "bestsellers?domain=1&category=281052&month=3&year=2026",
        "topseller?domain=1",
        "seller?domain=1&seller=A2L77EE7U53NWQ&storefront=1",
        "query?domain=1&selection=%7B%7D&stats=1",
        "sellerquery?domain=1&selection=%7B%7D",
        "deal?selection=%7B%22page%22%3A0%7D",
        "lightningdeal?domain=1",
        f"graphimage?domain=1&asin={A}&amazon=1&width=500",
    ],
)
def test_whole_answers(target):
    """Every other endpoint of the table is one entry; no value of the call shows in its key."""
    question = ask(target)
    assert question is not None
    assert not question.is_of_products
    (name,) = question.name_entries()
    assert name == f"w:{question.endpoint}:{question.digest}"
    assert len(question.digest) == 32
    assert "lamp" not in name


def test_codes_keep_their_order():
    """Nobody knows what the order of codes means to Keepa, so it is part of the question."""
    one = ask("product?domain=1&code=4006381333931,4006381333948")
    other = ask("product?domain=1&code=4006381333948,4006381333931")
    assert one is not None
    assert one != other


def test_a_selection_is_recognised_however_it_is_written():
    """Blanks, order of names, escapes, GET or POST: the same; another value or type: another."""
    same = [
        ask(f"query?domain=1&selection={quote(text)}")
        for text in ('{"a":[1,2],"b":"é"}', ' {"b" : "\\u00e9", "a":[1, 2]}')
    ] + [ask("query?domain=1", b'{"b":"\xc3\xa9","a":[1,2]}')]
    assert None not in same
    assert len(set(same)) == 1
    others = [b'{"a":[2,1],"b":"\xc3\xa9"}', b'{"a":[1.0,2],"b":"\xc3\xa9"}',
              b'{"a":["1",2],"b":"\xc3\xa9"}', b'{"a":[1,2],"b":"e"}', b'{"a":[1,2]}',
              b'{"a":{"1":2},"b":"\xc3\xa9"}', b'{"a":[[1,2]],"b":"\xc3\xa9"}']  # fmt: skip
    asked = [ask("query?domain=1", body) for body in others]
    assert None not in asked
    assert len({same[0], *asked}) == 1 + len(others)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":01}',
        b"{", b"[]", b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a":"' + b"x" * MAX_SELECTION_BYTES + b'"}',
    ],
)  # fmt: skip
def test_a_selection_that_is_none(body):
    """No JSON, no object, a name twice, too deep, too long."""
    assert ask("query?domain=1", body) is None


@pytest.mark.parametrize("depth", [10, 100, 300, 450, 600, 900, 990, 2000])
@pytest.mark.parametrize("level", [(b'{"a":', b"}"), (b"[", b"]")])
def test_any_depth_is_a_question_or_none(level, depth):
    """A selection that is too deep for this process is not shareable, and nothing else happens."""
    inner = level[0] * depth + b"1" + level[1] * depth
    question = ask("query?domain=1", b'{"b":%s}' % inner)
    assert (question is not None) or depth > 100


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["product", "query", "search", "deal", "seller", "graphimage", "x"]),
    st.text(st.sampled_from('domain=1&asin=B00%,+2C{}[]"\\ké\udc80\x00'), max_size=60) | st.text(),
    st.binary(max_size=40) | st.text(st.sampled_from('{}[]":,1aé\\ '), max_size=30).map(str.encode),
)
def test_nothing_that_is_sent_raises(endpoint, query, body):
    """Whatever a caller writes, a call is a question or it is none."""
    for method in ("GET", "POST"):
        read_question(method, endpoint, query, body)
        read_question(method, endpoint, "domain=1&selection=" + query)
        read_question(method, endpoint, "domain=1", body)


def test_the_longest_selection_takes_a_moment():
    """It is read on the event loop: a few milliseconds of a processor at most."""
    numbers = b'{"a":[' + b"1," * 8_000 + b"1]}"
    assert ask("query?domain=1", numbers) is not None
    assert measure_ms(lambda: ask("query?domain=1", numbers)) < 20


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)


@settings(max_examples=40, deadline=None)
@given(OBJECTS, OBJECTS)
def test_selections_are_equal_exactly_where_json_is(one, other):
    """Two selections are one question where a parser finds them equal, and only there."""
    first = ask("query?domain=1", json.dumps(one).encode())
    second = ask("query?domain=1", json.dumps(other, indent=1, ensure_ascii=False).encode())
    assert None not in {first, second}
    is_equal = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (first == second) == is_equal


FIELDS = st.fixed_dictionaries(
    {"domain": st.integers(1, 12), "asin": st.permutations([A, B]).map(",".join)},
    optional={
        "stats": st.integers(1, 400), "offers": st.integers(20, 100), "days": st.integers(0, 400),
        "buybox": st.integers(0, 1), "rating": st.integers(0, 1), "stock": st.integers(0, 1),
        "history": st.integers(0, 1), "update": st.integers(-1, 400),
    },
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(FIELDS, st.randoms(use_true_random=False), st.sampled_from([quote, quote_plus]))
def test_a_product_question_survives_its_writing(fields, chance, quoting):
    """However `urllib` writes it, in whatever order, it is what was asked."""
    pairs = list(fields.items())
    chance.shuffle(pairs)
    question = ask("product?" + urlencode(pairs, quote_via=quoting, safe=chance.choice(["", ","])))
    assert question is not None
    assert question.asins == tuple(fields["asin"].split(","))
    assert question.domain == fields["domain"]
    assert question.update == fields.get("update")
    assert question.has_offers == ("offers" in fields)
    plain = {k: v for k, v in fields.items() if k not in {"domain", "asin", "update"}}
    defaults = {"buybox": 0, "rating": 0, "stock": 0, "history": 1}
    told = {k: v for k, v in plain.items() if defaults.get(k) != v}
    again = ask("product?" + urlencode({"domain": 1, "asin": A} | told))
    assert again.digest == question.digest


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name[:60])
def test_every_shape_of_call_is_read(shape):
    """No call that the costs know of makes reading fail, and trackings are never shared."""
    method = "POST" if shape.body else "GET"
    question = read_question(method, shape.endpoint, shape.query, shape.body)
    if shape.endpoint in {"tracking", "token"}:
        assert question is None
