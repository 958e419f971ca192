"""Streams of bytes that begin as HTTP requests and end as anything, for hypothesis to draw."""

import gzip
import itertools
import re
from collections.abc import Callable
from typing import NamedTuple

from hypothesis import strategies as st

CALLERS_KEY = "callersOwnKey0123456789"
_HOST = b"Host: gateway\r\n"
_FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


def get(target: bytes, *headers: bytes, version: bytes = b"1.1") -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"GET %s HTTP/%s\r\n%s%s\r\n" % (target, version, _HOST, lines)


def post(target: bytes, body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST %s HTTP/1.1\r\n%s%s%s\r\n%s" % (target, _HOST, length, lines, body)


def post_in_chunks(target: bytes, *chunks: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"POST %s HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n%s" % (target, _HOST, framed)


_KEY = b"key=" + CALLERS_KEY.encode()
# Without `code` and finder `stats`: their cost has no bound, and may cross the floor by design.
REQUESTS = (
    get(b"/product?" + _KEY + b"&domain=1&asin=B0MIN00001,B0MAX00002"),
    get(b"/product/?domain=1&asin=B000000001&offers=20&stock=1", b"Accept-Encoding: gzip, zstd"),
    get(b"/product?%6bey=x&domain=1&asin=B0MIN00001", b"Authorization: Bearer callersOwnKey01234"),
    get(b"/product?domain=1&asin=B000000001", b"X-Sim-Bytes: 70000", b"X-Service-Name: fuzz"),
    get(b"/product?domain=1&asin=B000000001", b"Accept-Encoding: gzip", b"X-Sim-Bytes: 200000"),
    get(b"/query?domain=1&selection=%7B%22perPage%22%3A100%7D&" + _KEY, b"X-Request-Id: my.id-1"),
    get(b"/seller?seller=AMAX&storefront=1&" + _KEY, b"Connection: close, X-A", b"X-A: 1"),
    get(b"/graphimage?asin=B000000001&domain=1&" + _KEY, version=b"1.0"),
    get(b"/token?" + _KEY), get(b"/healthz"), get(b"/status"), get(b"/metrics"), get(b"/readyz"),
    get(b"/tracking?type=list&" + _KEY, b"X-Api-Key: " + CALLERS_KEY.encode()),
    b"HEAD /product?asin=B000000001 HTTP/1.1\r\n%s\r\n" % _HOST,
    post(b"/product", b"asin=B000000001%2CB0MAX00002&" + _KEY + b"&domain=1&rating=1", _FORM[:-2]),
    post(b"/query?" + _KEY, b'{"perPage":200,"title":"a \\" b"}', b"Content-Type: text/json"),
    post(b"/deal?" + _KEY + b"&", b'{"page":0,"domainId":1}', _FORM[:-2]),
    post(b"/tracking?type=add", b'[{"asin":"B1"},{"asin":"B2"}]', b"Expect: 100-continue"),
    post(
        b"/product", gzip.compress(b"asin=B000000001&" + _KEY, mtime=0), b"Content-Encoding: gzip"
    ),
    post_in_chunks(b"/query?" + _KEY, b'{"perPage":', b"100", b"}"),
    post_in_chunks(b"/product", b"asin=B0000", b"00001&ke", b"y=%s" % CALLERS_KEY.encode()),
)  # fmt: skip
# What stands at the seams of the grammar.
_WORDS = (
    b"\r\n", b"\n", b"\r", b"\0", b"\t", b" ", b"%", b"%00", b"&", b"key=", b"&key=x", b"?", b"#",
    b"//",
    b"\xff", b"\xc3\xa9", b"\x7f", b":", b",", b";", b'"', b"Content-Length: 5\r\n", b"0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: gzip\r\n", b"Connection: upgrade\r\n",
    b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"Host: x\r\n", b" HTTP/1.1",
    b"HTTP/0.9",
    b"Transfer-Encoding: gzip, chunked\r\n", b"ffffffffffffffff\r\n", b"-1", b"+5", b"0x5",
    b"1;a=b",
    b"Content-Length: 99999999999999999999\r\n", b" \r\n folded", b"\x1f\x8b", b"{", b"[[[[",
    b"GET ",
    b"CONNECT ", b"PRI * HTTP/2.0\r\n\r\n", b"X-Request-Id: \xff\r\n", b"Connection: close\r\n",
)  # fmt: skip
# What a target may hold, so that the call is carried further.
_TARGET_WORDS = (
    b"&", b"&&", b"=", b"%", b"%00", b"%0d%0aX-Injected:1", b"&key=%6b", b"&key", b"%26key=x",
    b"&KEY=x",
    b",B0MAX00003", b"%2CB0MAX00004", b"&offers=20", b"&offers=x", b"&rating=1", b"&update=0", b"+",
    b"&asin=" + b"B0MAX00005," * 30, b"&a=" + b"x" * 20_000, b";key=x", b"&%6b%65%79=%20", b"\\",
    b"'",
    b"&selection=%5B" + b"%5B" * 2000, b"&" * 300, b"{", b"|", b"&page=0",
    b"&type=product&term=MAX",
)  # fmt: skip
_HEADERS = (
    b"Connection: close", b"Connection: key, host, content-length", b"Expect: 100-continue",
    b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity",
    b"TE: trailers",
    b"Content-Encoding: gzip", b"Content-Encoding: identity", b"Accept-Encoding: *;q=0, gzip",
    b"Accept-Encoding: br", b"X-Api-Key: " + CALLERS_KEY.encode(), b"X-Request-Id: a b",
    b"X-A: \xff\xfe",
    b"Authorization: Bearer", b"Upgrade: h2c", b"Upgrade: websocket", b"Host: other",
    b"X-B: " + b"y" * 9000,
    b"X-Service-Name: \xc3\xa9", b"X-Service-Name: pricing", b"Range: bytes=0-1",
    b"If-None-Match: *",
    b"X-Sim-Bytes: 300000", b"X-Sim-Order: sorted", b"Content-Length : 5", b" folded: yes",
    b"X-Empty:",
)  # fmt: skip


class Change(NamedTuple):
    """One thing done to a request, at a place in ten-thousandths of its length."""

    kind: str
    place: int
    size: int
    word: bytes

    def apply(self, text: bytes) -> bytes:
        at = len(text) * self.place // 10_000
        return _CHANGES[self.kind](text, at, self.size, self.word)


def _flip(text: bytes, at: int, size: int, _: bytes) -> bytes:
    return (
        text[:at] + bytes([(text[at] ^ (size or 1)) & 255]) + text[at + 1 :] if text[at:] else text
    )


def _insert(text: bytes, at: int, _: int, word: bytes) -> bytes:
    return text[:at] + word + text[at:]


def _lose(text: bytes, at: int, size: int, _: bytes) -> bytes:
    return text[:at] + text[at + size :]


def _repeat_word(text: bytes, at: int, size: int, word: bytes) -> bytes:
    return text[:at] + word * min(size * size * 4, 150_000) + text[at:]


def _repeat_line(text: bytes, at: int, size: int, _: bytes) -> bytes:
    start = text.rfind(b"\n", 0, at) + 1
    end = text.find(b"\n", at) + 1 or len(text)
    return text[:end] + text[start:end] * size + text[end:]


def _move_line(text: bytes, at: int, size: int, _: bytes) -> bytes:
    lines = text.split(b"\r\n")
    line = lines.pop(text.count(b"\r\n", 0, at) % len(lines))
    lines.insert(size % (len(lines) + 1), line)
    return b"\r\n".join(lines)


def _cut(text: bytes, at: int, *_: object) -> bytes:
    return text[:at]


def _ask_more(text: bytes, at: int, size: int, _: bytes) -> bytes:
    """Put another word into the target, which stays one."""
    end = text.find(b" HTTP/")
    start = text.find(b"?", 0, end)
    if start < 0:
        return text
    at = start + 1 + at % (end - start)
    return text[:at] + _TARGET_WORDS[size % len(_TARGET_WORDS)] + text[at:]


def _say_more(text: bytes, at: int, size: int, _: bytes) -> bytes:
    """Add a header, which may say what another one denies."""
    line_ends = [found.end() for found in re.finditer(rb"\r\n", text.partition(b"\r\n\r\n")[0])]
    if not line_ends:
        return text
    at = line_ends[at % len(line_ends)]
    return text[:at] + _HEADERS[size % len(_HEADERS)] + b"\r\n" + text[at:]


_CHANGES: dict[str, Callable[[bytes, int, int, bytes], bytes]] = {
    "flip": _flip, "insert": _insert, "lose": _lose, "repeat word": _repeat_word,
    "repeat line": _repeat_line, "move line": _move_line, "cut": _cut, "ask more": _ask_more,
    "say more": _say_more,
}  # fmt: skip


class Stream(NamedTuple):
    """What is sent on one connection, and how."""

    requests: tuple[bytes, ...]
    cuts: tuple[int, ...]
    """Where it is sent in pieces, in ten-thousandths."""
    ending: str
    """`wait` for answers, `close` at once, or `reset`."""
    kinds: tuple[str, ...]
    """The kinds of change that made it."""

    @property
    def text(self) -> bytes:
        return b"".join(self.requests)

    @property
    def pieces(self) -> list[bytes]:
        text = self.text
        ends = sorted({len(text) * cut // 10_000 for cut in self.cuts} | {0, len(text)})
        return [text[start:end] for start, end in itertools.pairwise(ends)]

    def __repr__(self) -> str:
        # Long runs of one word are told as such: the example is to be read, and sent again.
        shown = re.sub(
            r"((?:\\x..|[^\\]|\\.){1,24}?)\1{20,}",
            lambda run: f"<{run[1]} x {len(run[0]) // len(run[1])}>",
            repr(self.text),
        )
        return f"Stream({shown}, cuts={self.cuts}, ending={self.ending!r}, kinds={self.kinds})"


_CHANGE_LISTS = st.lists(
    st.builds(
        Change,
        st.sampled_from([*_CHANGES, "ask more", "ask more", "say more", "say more"]),
        st.integers(0, 10_000),
        st.integers(0, 255),
        st.sampled_from(_WORDS) | st.binary(max_size=6),
    ),
    max_size=3,
)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """A few requests behind each other, each changed a little or not at all."""
    requests = []
    kinds = []
    for request in draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4)):
        text = request
        for change in draw(st.just([]) | _CHANGE_LISTS):
            text = change.apply(text)
            kinds.append(change.kind)
        requests.append(text)
    cuts = draw(st.lists(st.integers(0, 10_000), max_size=5))
    ending = draw(st.sampled_from(["wait", "wait", "wait", "close", "reset"]))
    return Stream(tuple(requests), tuple(cuts), ending, tuple(kinds))
