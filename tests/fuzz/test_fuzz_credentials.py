"""Keys and headers of any kind: the real key once, the caller's never, all else as it came."""

import asyncio
import base64
import contextlib
import re
from urllib.parse import quote_plus, unquote_to_bytes

import pytest
from hypothesis import strategies as st
from multidict import CIMultiDict
from support.measure.exploring import Longest, measure_ms

from gateway.errors import BadRequest
from gateway.front import credentials
from gateway.front.credentials import add_key, swap_key, swap_key_in_turns
from gateway.front.headers import (
    HOP_BY_HOP,
    accepts_gzip,
    credentials_of,
    forward_answer_headers,
    forward_request_headers,
    given_request_id,
    leave_out,
)
from gateway.front.heads import MAX_HEADERS
from gateway.keepa.real_key import RealKey, encode_key

KIBIBYTE, MEBIBYTE = 1024, 1024 * 1024
MOST_MS = 40
REAL = "REALkey%2B0123"
# A caller's key that is found wherever it is left.
CALLERS = "cAlLeRs-OwN"

NAMES = st.tuples(
    *(st.sampled_from([letter, f"%{ord(letter):02x}", f"%{ord(letter):02X}"]) for letter in "key")
).map("".join)
NEARLY = st.sampled_from(
    ["ke", "keys", "Key", "k%45y", "%256bey", "%6", "%6b%65", "key%3D", "monkey", "k+ey", "%00key",
     "key[]", "k\u00e9y", "", " key", "%6b%65%7", "key%00", "k%65%79s"]
)  # fmt: skip
PAIRS = st.one_of(
    st.tuples(NAMES, st.sampled_from(["=", ""]), st.just("")),
    st.tuples(
        st.sampled_from(["apikey", "apiKey", "api_key", "api-key"]), st.just("="), st.just("")
    ),
    st.tuples(NAMES, st.just("="), st.sampled_from([CALLERS, CALLERS + "=x", f"%20{CALLERS}+"])),
    st.tuples(NEARLY, st.sampled_from(["=", "==", ""]), st.sampled_from(["1", "key", "a;key=2"])),
    st.tuples(st.text(max_size=6), st.just("="), st.text("key%6=+;#", max_size=8)),
).map(lambda parts: "".join(parts).replace("&", ""))
TEXTS = st.lists(PAIRS, max_size=8).map("&".join)


def is_key(pair):
    """Whether Keepa would read this pair as `key`, or a caller out of habit meant that."""
    name = pair.partition(b"=")[0]
    is_habit = name in {b"apikey", b"apiKey", b"api_key", b"api-key"}
    return is_habit or unquote_to_bytes(name.replace(b"+", b" ")) == b"key"


def check_swapped(before, after, given):
    """See that each `key` is the real one now, and that each other pair is as it was."""
    old, new = before.split(b"&"), after.split(b"&")
    assert len(old) == len(new)
    for was, now in zip(old, new, strict=True):
        assert now == (b"key=" + REAL.encode() if is_key(was) else was)
    assert len(given) == sum(map(is_key, old))


def in_turns(form):
    return asyncio.run(swap_key_in_turns(form, REAL.encode()))


def test_every_key_is_swapped_and_nothing_else(explorer):
    """Text, bytes and bytes in turns agree; a call without a key gets just one, at its end."""

    def is_swapped(text, noise):
        raw = text.encode()
        swapped, given = swap_key(text, REAL)
        check_swapped(raw, swapped.encode(), given)
        assert swap_key(raw, REAL.encode())[0] == swapped.encode()
        assert in_turns(raw)[0] == swapped.encode()
        assert CALLERS not in swapped or CALLERS in "&".join(
            pair for pair in text.split("&") if not is_key(pair.encode())
        )
        if not given:
            assert swapped == text
            added = add_key(text, REAL)
            assert added.startswith(text)
            assert [*map(is_key, added.encode().split(b"&"))].count(True) == 1
        mixed = raw + noise + raw
        check_swapped(mixed, *swap_key(mixed, REAL.encode()))

    explorer.explore(is_swapped, examples=400, text=TEXTS, noise=st.binary(max_size=20))


def test_turns_find_what_one_search_finds(explorer, monkeypatch):
    """Wherever a stride ends, within a name or before one, each key is found, and found once."""

    def agrees(form, stride):
        monkeypatch.setattr(credentials, "_STRIDE_BYTES", stride)
        raw = form.encode()
        assert in_turns(raw) == swap_key(raw, REAL.encode())

    explorer.explore(agrees, examples=150, form=TEXTS, stride=st.integers(1, 40))


@pytest.mark.timeout(600)
def test_no_turn_takes_long(explorer):
    """A form of 16 MiB and a query of 128 KiB, whatever they repeat, are searched in no time."""
    longest = Longest()
    pieces = st.one_of(
        st.text("&key%6579=b1B ", min_size=1, max_size=9),
        st.sampled_from(["&k%6", "&key", "%6", "&%6b%65%7", "&keyword=1", "&k%65y=1", "&", "x"]),
    )

    def longest_turn(form):
        worst = 0.0
        turns = swap_key_in_turns(form, REAL.encode())

        def take_turn():
            nonlocal is_over
            with contextlib.suppress(StopIteration, BadRequest):
                turns.send(None)
                is_over = False

        is_over = False
        while not is_over:
            is_over = True
            worst = max(worst, measure_ms(take_turn, attempts=1))
        return worst

    def is_short(piece, size):
        raw = piece.encode()
        form = raw * (size // len(raw))
        ms = min(longest_turn(form) for _ in range(2))
        query = (piece * (128 * KIBIBYTE // len(piece)))[: 128 * KIBIBYTE]

        def swap_query():
            with contextlib.suppress(BadRequest):
                swap_key(query, REAL)

        ms = max(ms, measure_ms(swap_query))
        longest.note(ms, f"{piece!r} x {len(form)} bytes")
        assert ms < MOST_MS

    explorer.explore(
        is_short, examples=15, longest=longest, piece=pieces,
        size=st.sampled_from([100_000, MEBIBYTE, 16 * MEBIBYTE]),
    )  # fmt: skip


def test_no_answer_shows_the_real_key(explorer):
    """An error page that repeats a key, as it is or encoded, has it starred out at full length."""

    def is_hidden(key, before, after):
        real = RealKey(key)
        spellings = [spelling.encode() for spelling in (key, encode_key(key), quote_plus(key))]
        for spelling in spellings:
            page = before + spelling + after
            hidden = real.hide_in(page)
            assert len(hidden) == len(page)
            assert not any(one in hidden for one in spellings)
        if not any(one in before + after for one in spellings):
            assert real.hide_in(before + after) == before + after

    explorer.explore(
        is_hidden, examples=150, key=st.text("aB3+/& =%\u00e9", min_size=6, max_size=20),
        before=st.binary(max_size=20), after=st.binary(max_size=20),
    )  # fmt: skip


HEADER_NAMES = st.one_of(
    st.sampled_from([
        "Connection", "KEEP-ALIVE", "te", "Transfer-Encoding", "Upgrade", "Host", "Expect", "X-A",
        "Content-Length", "Authorization", "X-Api-Key", "X-Service-Name", "Accept-Encoding", "x-b",
        "X-Request-Id", "Cookie", "Content-Type", "Trailer", "Proxy-Authorization", "Accept",
        "User-Agent", "Accept-Language", "Content-Encoding",
    ]),
    st.text("abX-_1", min_size=1, max_size=6),
)  # fmt: skip
HEADER_VALUES = st.one_of(
    st.sampled_from([
        "", "close", "X-A, x-b", "keep-alive,Cookie", "gzip", "gzip;q=0", "*;q=0.0, gzip", "br, *",
        f"Bearer {CALLERS}", f"bearer  {CALLERS} ", "Basic eDp5", CALLERS, ",,", "a" * 300,
        "gzip ; q = 0.000", "identity;q=1, *;q=0", "100-continue",
    ]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20),
    st.text(st.sampled_from("\udc80\udcff \t;,=q0.*gzip"), max_size=12),
)  # fmt: skip
HEADERS = st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=10).map(CIMultiDict)
FORWARDED = {"accept", "accept-language", "content-type", "content-encoding", "user-agent"}


def read_basic(token):
    """What a Basic token says; empty where it is none."""
    try:
        return base64.b64decode(token.strip().partition(" ")[2]).decode("utf-8", "surrogateescape")
    except ValueError:
        return ""


def test_headers_pass_or_stay(explorer):
    """Any headers: those on the list pass in order, as they were, and no others."""

    def pass_or_stay(headers):
        named = {
            word.strip().lower()
            for value in headers.getall("Connection", ())
            for word in value.split(",")
        }
        forwarded = forward_request_headers(headers)
        wanted = [
            (name, value) for name, value in headers.items() if name.lower() in FORWARDED - named
        ]
        rest = [pair for pair in forwarded.items() if pair[0].lower() != "accept-encoding"]
        assert rest == wanted
        accepted = forwarded.getall("Accept-Encoding", [])
        assert accepted in ([], ["gzip"], ["identity"])
        assert (accepted == ["gzip"]) == ("Accept-Encoding" in headers and accepts_gzip(headers))
        answered = list(forward_answer_headers(headers).items())
        assert answered == [
            pair for pair in headers.items() if pair[0].lower() not in HOP_BY_HOP | named
        ]
        shown = CIMultiDict(headers)
        leave_out(shown, RealKey(CALLERS).is_in)
        assert not any(CALLERS in value for value in shown.values())

    explorer.explore(pass_or_stay, examples=300, headers=HEADERS)


def test_what_is_read_of_headers_is_harmless(explorer):
    """Any headers: credentials are those given, a request id is plain and short."""

    def is_harmless(headers):
        for credential in credentials_of(headers):
            tokens = [headers.get(name, "") for name in ("Authorization", "Proxy-Authorization")]
            passwords = [read_basic(token) for token in tokens]
            assert credential in "\n".join([*tokens, *passwords, headers.get("X-Api-Key", "")])
        assert re.fullmatch(r"[A-Za-z0-9._-]{0,128}", given_request_id(headers))

    explorer.explore(is_harmless, examples=150, headers=HEADERS)


@pytest.mark.timeout(600)
def test_the_longest_headers_take_no_time(explorer):
    """The longest headers that come in, whatever they repeat, are read in milliseconds."""
    longest = Longest()
    pieces = st.text("gzip;q=0.*, xA-%+\udcff", min_size=1, max_size=6)

    def is_quick(name, piece, count):
        value = (piece * (MAX_HEADERS // len(piece)))[:MAX_HEADERS]
        others = [(f"X-{n}", piece) for n in range(count)]
        headers = CIMultiDict([(name, value), *others])

        def read():
            forward_request_headers(headers)
            leave_out(forward_answer_headers(headers), RealKey(CALLERS).is_in)
            list(credentials_of(headers))
            given_request_id(headers)

        ms = measure_ms(read)
        longest.note(ms, f"{name}: {piece!r} x {len(value)}")
        assert ms < MOST_MS

    explorer.explore(
        is_quick, examples=60, longest=longest, piece=pieces, count=st.sampled_from([0, 120]),
        name=st.sampled_from(
            ["Accept-Encoding", "Connection", "Authorization", "X-Request-Id", "X-A"]
        ),
    )  # fmt: skip
