"""Finding the token fields in JSON text, against what a whole parser finds."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.keepa.envelope import Envelope, read_envelope, scanner
from gateway.keepa.envelope.fields import FIELDS, check_value
from gateway.keepa.envelope.scanner import Scanner

NAMES = [name.decode() for name in FIELDS]
FULL = {
    "tokensLeft": -12,
    "refillIn": 53_441,
    "refillRate": 20,
    "tokenFlowReduction": 0.5,
    "tokensConsumed": 123,
}
FULL_ENVELOPE = Envelope(-12, 53_441, 20, 0.5, 123)


@pytest.fixture(scope="module", autouse=True)
def _small_searches() -> Iterator[None]:
    """Let the search's own boundaries fall into texts of a few hundred bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanner, "_WORTHWHILE_BYTES", scanner._LOOKAHEAD_BYTES)
        yield


class Pairs(list):
    """A JSON object with its members in order, duplicates and all."""


def parse(text: bytes) -> Envelope:
    """What a whole parser finds: the first member of each name at the top level."""
    root = json.loads(text, object_pairs_hook=Pairs)
    found: dict[str, object] = {}
    for name, value in root if isinstance(root, Pairs) else ():
        field = FIELDS.get(name.encode("utf-8", "surrogatepass"))
        if field and field.attribute not in found:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            number = json.dumps(value).encode() if is_number else b"nan"
            found[field.attribute] = check_value(field, float(number))
    return Envelope(**found)


def scan(text: bytes, sizes: list[int]) -> Envelope:
    """Feed the text in pieces of these sizes, over and over."""
    search = Scanner()
    start = turn = 0
    while start < len(text):
        size = sizes[turn % len(sizes)]
        search.feed(text[start : start + size])
        start += size
        turn += 1
    return search.finish()


STRINGS = st.one_of(
    st.sampled_from(NAMES),
    st.lists(
        st.sampled_from(['"', "\\", "{", "}", "[", "]", ":", ",", "é", "価", "\n", "\x7f", *NAMES]),
        max_size=8,
    ).map("".join),
    st.sampled_from(NAMES).map(lambda name: f'"{name}":7,'),
)
NUMBERS = st.one_of(
    st.integers(-(10**6), 10**6), st.floats(0, 100), st.sampled_from([12.0, 10**12, -0.0])
)
SCALARS = st.one_of(NUMBERS, NUMBERS, STRINGS, st.none(), st.booleans())
KEYS = st.one_of(st.sampled_from(NAMES), STRINGS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
LAYOUTS = st.sampled_from(
    [(None, (",", ":")), (None, (", ", ": ")), (2, None), ("\t", (",", " : "))]
)
SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=6)


@st.composite
def answers(draw) -> bytes:
    """A JSON object with token fields, duplicates and look-alikes, in any order and layout."""
    members = draw(st.lists(st.tuples(KEYS, VALUES), max_size=12))
    members += draw(st.permutations([*FULL.items()]))[: draw(st.integers(0, 5))]
    members = draw(st.permutations(members))
    indent, separators = draw(LAYOUTS)
    comma, colon = separators or (",\n  ", ": ")
    ascii_only = draw(st.booleans())

    def dump(value: object) -> str:
        return json.dumps(value, indent=indent, separators=separators, ensure_ascii=ascii_only)

    body = comma.join(dump(name) + colon + dump(value) for name, value in members)
    return f"{{{body}}}".encode()


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(answers(), SIZES)
def test_it_finds_what_a_whole_parser_finds(text, sizes):
    """For any object, in any pieces: the same fields with the same values."""
    assert scan(text, sizes) == parse(text) == read_envelope(text, None)


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(answers(), SIZES, st.data())
def test_a_cut_text_never_gives_a_wrong_value(text, sizes, data):
    """Wherever the text is cut, a field is found as in the whole text, or not at all."""
    whole = parse(text)
    cut = scan(text[: data.draw(st.integers(0, len(text)))], sizes)
    for field in FIELDS.values():
        assert getattr(cut, field.attribute) in (None, getattr(whole, field.attribute))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600), SIZES)
@example(b'{"tokensLeft":', [1])
@example(b'{"a":"\\', [1])
@pytest.mark.long
def test_bytes_of_any_kind_do_no_harm(noise, sizes):
    """What is no JSON raises nothing, bare or at the start of an object."""
    scan(noise, sizes)
    scan(b'{"tokensLeft":' + noise, sizes)
    scan(b'{"a":' + noise + b',"tokensLeft":1,', sizes)


@pytest.mark.parametrize("indent", [None, 4])
def test_at_every_cut_exactly_the_ended_values_are_found(indent):
    """A value counts once its terminator has come: `12` at the end of a cut may have been `123`."""
    text = json.dumps({**FULL, "x": [1]}, indent=indent).encode()
    for end in range(len(text) + 1):
        found = read_envelope(text[:end], None)
        for name, field in FIELDS.items():
            value = str(FULL[name.decode()]).encode()
            ended = text.index(value, text.index(name)) + len(value) < end
            assert getattr(found, field.attribute) == (FULL[name.decode()] if ended else None)


@pytest.mark.parametrize("filler", [0, 20, 127, 128, 129, 5000, 70_000])
@pytest.mark.parametrize("first", range(6))
def test_fields_are_found_wherever_they_stand(filler, first):
    """Before the data, after it, or split around it, however long it is."""
    members = list(FULL.items())
    members.insert(first, ("products", [{"tokensLeft": 999, "title": "x" * filler}]))
    assert scan(json.dumps(dict(members)).encode(), [1400]) == FULL_ENVELOPE


def test_the_longest_field_is_found_across_every_boundary():
    """As much white space and as many digits as are read at all fit the look-ahead."""
    number = b"1234567890123456." + b"5" * 30 + b"e-12"
    longest = b'"tokenFlowReduction"' + b" " * 16 + b":" + b"\n" * 16 + number
    for shift in range(300):
        text = b'{"pad":"' + b"x" * shift + b'",' + longest + b',"tokensLeft":5}'
        expected = Envelope(tokens_left=5, flow_reduction=float(number))
        assert scan(text, [131]) == expected


def test_the_first_of_a_name_counts_even_if_its_value_is_none():
    """Duplicates are ignored, also those after a value that is not believed."""
    text = b'{"tokensLeft":1,"tokensLeft":2,"refillIn":"soon","refillIn":5}'
    assert read_envelope(text, None) == Envelope(tokens_left=1)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":{"tokensLeft":1}}',
        b'{"a":[{"tokensLeft":1},{"tokensLeft":1}]}',
        b'{"a":"{\\"tokensLeft\\":1,"}',
        b'{"a\\"tokensLeft":1}',
        b'{"a\\\\\\"tokensLeft":1}',
        b'{"tokensLeft\\"":1}',
        b'{"a":["tokensLeft",1]}',
        b'{"a":"tokensLeft","b":1}',
        b'{"a":"}","b":{"c":"}}","tokensLeft":1}}',
        b'{"xtokensLeft":1,"tokensLeftx":1,"TokensLeft":1}',
        b'[{"tokensLeft":1}]',
        b'"tokensLeft":1,',
        b'"{"tokensLeft":1}',
        b'{}{"tokensLeft":1}',
        b'{"a":1}\n{"tokensLeft":1}',
        b"null",
        b"<html>{}</html>",
        b"\x89PNG\r\n\x1a\n",
        b"",
        b" \n",
    ],
)
def test_only_the_top_level_of_an_object_counts(text):
    """Nested names, names in strings, what follows the root, other roots: nothing is found."""
    assert read_envelope(text, None).is_empty
    assert scan(text, [1]).is_empty


def test_a_run_of_backslashes_before_a_quote_is_read_right():
    """An even run ends the string, an odd run does not, wherever the pieces end."""
    for run in range(1, 9):
        text = b'{"a":"' + b"\\" * run + b'","tokensLeft":1,"z":"' + b"z" * 300 + b'"}'
        expected = Envelope() if run % 2 else Envelope(tokens_left=1)
        for size in range(1, 30):
            assert scan(text, [size]) == expected


def test_a_byte_order_mark_and_white_space_may_come_first():
    """What an encoder puts before the root does not hide it, byte by byte either."""
    text = b"\xef\xbb\xbf \r\n\t" + json.dumps(FULL).encode()
    assert scan(text, [1]) == FULL_ENVELOPE


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b"[]," * 300_000,
        b'"[",' * 200_000,
        b'{"tokensLeft":1},' * 50_000,
        b'"' + b'\\"' * 400_000 + b'",',
        b'"' + b"\\" * 800_000 + b'",',
        b" " * 1_000_000,
    ],
)
@pytest.mark.timeout(10)
def test_a_hostile_body_takes_linear_time_and_little_memory(body):
    """Brackets, quotes, escapes and look-alikes by the megabyte: no blow-up, no buffer."""
    search = Scanner()
    text = b'{"a":[' + body
    for start in range(0, len(text), scanner.PIECE_BYTES):
        search.feed(text[start : start + scanner.PIECE_BYTES])
        assert len(search._pending) <= scanner._LOOKAHEAD_BYTES
    assert search.finish().is_empty


def test_it_stops_when_all_are_found_and_drops_its_buffer():
    """After the fifth field, or the end of the root, text is neither searched nor kept."""
    for text in (json.dumps(FULL).encode()[:-1] + b',"z":[', b'{"tokensLeft":1}', b"<html>"):
        search = Scanner()
        search.feed(text + b" " * 200)
        assert search.done
        before = search.envelope
        search.feed(b'"refillIn":77,' * 100)
        assert search._pending == b""
        assert search.finish() == before == search.finish()
