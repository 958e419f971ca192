"""Which headers pass, which are the gateway's own, and what it adds."""

from urllib.parse import quote, quote_plus

import pytest
from multidict import CIMultiDict
from support.callers.records import make_record

from gateway.balance import UNKNOWN, Balance
from gateway.front.headers import (
    accepts_gzip,
    credentials_of,
    forward_answer_headers,
    forward_request_headers,
    given_request_id,
    leave_out,
    own_headers,
    traceparent,
)
from gateway.keepa.real_key import RealKey

BALANCE = Balance(
    known=True, tokens=100, held=30, refill_rate=20, flow_micro=0, lump_in_ms=1_001,
    observed_ms_ago=0, consumed=0,
)  # fmt: skip


def forward(*pairs):
    return list(forward_request_headers(CIMultiDict(pairs)).items())


@pytest.mark.parametrize(
    "name",
    [
        "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
        "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Host", "Content-Length", "Expect",
        "Authorization", "X-Api-Key", "X-Service-Name", "AUTHORIZATION", "x-api-KEY", "Cookie",
        "Via", "X-Forwarded-For", "traceparent", "X-Sim-Fault", "X-Anything", "Accept-",
    ],
)  # fmt: skip
def test_request_headers_that_stay_here(name):
    """Whatever is not on the list does not leave: credentials, and all that tells of the house."""
    assert forward((name, "x"), ("Accept", "1")) == [("Accept", "1")]


def test_what_steers_a_simulator_reaches_one():
    """To a simulator `X-Sim-` headers pass too, and nothing else."""
    pairs = [("x-sim-bytes", "1"), ("Cookie", "x"), ("X-Simple", "y")]
    passed = forward_request_headers(CIMultiDict(pairs), to_simulator=True)
    assert list(passed.items()) == [("x-sim-bytes", "1")]


def test_what_connection_names_stays_here():
    """Whatever any Connection header names is for this connection only."""
    pairs = [
        ("Connection", "close, Accept ,"), ("connection", "USER-agent"), ("Accept", "1"),
        ("User-Agent", "2"), ("Content-Type", "3"),
    ]  # fmt: skip
    assert forward(*pairs) == [("Content-Type", "3")]
    assert list(forward_answer_headers(CIMultiDict(pairs)).items()) == pairs[-1:]


def test_order_and_duplicates_are_kept():
    """What leaves keeps its order, duplicates their number, all their spelling."""
    pairs = [("User-Agent", "1"), ("ACCEPT", "2"), ("accept", "3"), ("Accept", "3")]
    assert forward(*pairs) == pairs


@pytest.mark.parametrize(
    ("accept", "gzip"),
    [
        ("gzip", True), ("GZIP", True), ("x-gzip", True), ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("*", True), ("br, *;q=0.1", True), ("gzip;q=0.001", True), ("zstd,gzip , br", True),
        ("gzip;q=0", False), ("gzip;q=0.000", False), ("gzip ; q = 0", False), ("br", False),
        ("identity", False), ("", False), ("*;q=0", False), ("gzip;q=0, *", False),
        ("notgzip", False), ("*;q=0, gzip", True),
    ],
)  # fmt: skip
def test_who_takes_gzip(accept, gzip):
    """Accept-Encoding is read as RFC 9110 has it, and Keepa is offered no more than gzip."""
    headers = CIMultiDict({"Accept-Encoding": accept})
    assert accepts_gzip(headers) is gzip
    assert forward(("Accept-Encoding", accept)) == [
        ("Accept-Encoding", "gzip" if gzip else "identity")
    ]


def test_who_does_not_say_takes_plain_text():
    """Without Accept-Encoding nothing is asked for on the caller's behalf."""
    assert not accepts_gzip(CIMultiDict())
    assert forward() == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://x/?key=my-key", False), ("my-key", False), ("xmy-keyx", False),
        ("https://x/?key=my%2Dkey", False), ("https://x/?key=%6d%79-key", False),
        ("https://x/?key=mykey", True), ("100%", True),
    ],
)  # fmt: skip
def test_answer_header_with_the_key_is_left_out(value, shown):
    """A header of Keepa's that shows the real key, encoded or not, does not pass."""
    headers = CIMultiDict({"Location": value, "X-Kept": "1"})
    assert leave_out(headers, RealKey("my-key").is_in) is not shown
    assert list(headers) == (["Location", "X-Kept"] if shown else ["X-Kept"])


@pytest.mark.parametrize("key", ["a+b c/d", "äöü&äöü"])
def test_key_with_signs_of_its_own_is_found_in_a_url(key):
    """A key that has to be encoded in a URL is found there in every usual spelling."""
    for spelt in (key, quote(key, safe=""), quote_plus(key), quote(key, safe="").lower()):
        headers = CIMultiDict({"Location": f"/?key={spelt}"})
        assert leave_out(headers, RealKey(key).is_in)
        assert not headers


def test_answer_header_whose_name_has_the_key_is_left_out():
    """A name that shows the key does not pass either; all others keep order and number."""
    pairs = [("B", "1"), ("X-my-key", "2"), ("A", "3"), ("B", "4")]
    headers = CIMultiDict(pairs)
    assert leave_out(headers, RealKey("my-key").is_in)
    assert list(headers.items()) == [pairs[0], *pairs[2:]]


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], []),
        ([("Authorization", "Bearer abc")], ["abc"]),
        ([("authorization", "bearer  abc ")], ["abc"]),
        ([("Authorization", "Bearer")], []),
        ([("Authorization", "Digest abc")], []),
        # name:s3cret, :s3cret, s3cret: (curl -u s3cret:), name:a:b, s3cret with a line's end
        ([("Authorization", "Basic bmFtZTpzM2NyZXQ=")], ["s3cret"]),
        ([("Authorization", "basic OnMzY3JldA==")], ["s3cret"]),
        ([("Authorization", "Basic czNjcmV0Og==")], ["s3cret"]),
        ([("Authorization", "Basic bmFtZTphOmI=")], ["a:b"]),
        ([("Authorization", "Basic bmFtZTpzM2NyZXQK")], ["s3cret"]),
        ([("Proxy-Authorization", "Basic bmFtZTpzM2NyZXQ=")], ["s3cret"]),
        ([("Authorization", "Basic !")], []),
        ([("Authorization", "Basic abcde")], []),
        ([("Authorization", "Basic")], []),
        ([("X-Api-Key", " k\t")], ["k"]),
        ([("X-Api-Key", "k"), ("Authorization", "Bearer t")], ["t", "k"]),
        ([("X-Api-Key", "")], []),
    ],
)
def test_credentials_in_headers(headers, found):
    """Bearer tokens, Basic passwords and X-Api-Key are credentials, other schemes are not."""
    assert list(credentials_of(CIMultiDict(headers))) == found


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a", True), ("A.b_c-9", True), ("x" * 128, True), ("x" * 129, False), ("", False),
        ("a b", False), ("a\n", False), ("ä", False), ("a/b", False), ('"', False),
    ],
)  # fmt: skip
def test_request_id_of_the_callers(given, kept):
    """A caller's id is kept where it is 1 to 128 plain characters."""
    assert given_request_id(CIMultiDict({"X-Request-Id": given})) == (given if kept else "")


def test_no_request_id_of_the_callers():
    """Who gives no id has none to keep."""
    assert not given_request_id(CIMultiDict())


@pytest.mark.parametrize(("floor", "left"), [(10, 60), (70, 0), (90, 0), (-50, 120)])
def test_rate_limit_headers(floor, left):
    """RateLimit tells what is available above the floor, and whole seconds to the lump."""
    assert own_headers(make_record(floor=floor, request_id="id"), 5, BALANCE) == {
        "X-Request-Id": "id",
        "X-Keepa-Gateway-Reserved": "5",
        "RateLimit-Policy": '"keepa";q=1200;w=3600',
        "RateLimit": f'"keepa";r={left};t=2',
    }


def test_unknown_balance_is_not_told():
    """Without a balance there are no RateLimit headers."""
    assert own_headers(make_record(floor=10, request_id="id"), 0, UNKNOWN) == {
        "X-Request-Id": "id",
        "X-Keepa-Gateway-Reserved": "0",
    }


TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("given", "is_one"),
    [
        ([f"00-{TRACE}-{PARENT}-01"], True),
        ([f"cc-{TRACE}-{PARENT}-01"], True),
        ([f"cc-{TRACE}-{PARENT}-01-what-will-be"], True),
        ([f"00-{TRACE}-{PARENT}-01-more"], False),
        ([f"ff-{TRACE}-{PARENT}-01"], False),
        ([f"00-{'0' * 32}-{PARENT}-01"], False),
        ([f"00-{TRACE}-{'0' * 16}-01"], False),
        ([f"00-{TRACE.upper()}-{PARENT}-01"], False),
        ([f"00-{TRACE}-{PARENT}-1"], False),
        ([f"00-{TRACE}-{PARENT}"], False),
        ([f"cc-{TRACE}-{PARENT}-01-{'x' * 300}"], False),
        ([f"00-{TRACE}-{PARENT}-01"] * 2, False),
        (["key=secret"], False),
        ([], False),
    ],
)
def test_trace_contexts(given, is_one):
    """A trace context is read where it is one by the W3C's rule."""
    headers = CIMultiDict(("traceparent", value) for value in given)
    assert traceparent(headers) == (given[0] if is_one else "")
