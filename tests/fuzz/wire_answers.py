"""What came back on a connection, read as strictly as HTTP is written."""

import contextlib
import re
import zlib

from support.callers.refusals import read_refusal
from support.callers.wire import Answer

_HEAD = re.compile(
    rb"HTTP/1\.([01]) (\d{3}) ([^\r\n\0]*)\r\n((?:[!#-'*+.0-9A-Z^-z|~-]+:[^\r\n\0]*\r\n)*)\r\n"
)
TOKEN_FIELDS = {
    "timestamp", "tokensLeft", "refillIn", "refillRate", "tokenFlowReduction", "tokensConsumed",
    "processingTimeInMs",
}  # fmt: skip


def read_answers(received: bytes, sent: bytes) -> list[Answer]:
    """Return the answers that came; the last may lack its end, which `whole` tells.

    Raises:
        AssertionError: Something that is no HTTP answer.
    """
    answers = []
    has_head_request = b"HEAD " in sent
    while received:
        match = _HEAD.match(received)
        if not match:
            assert b"\r\n\r\n" not in received, received[:300]
            break
        received = received[match.end() :]
        status = int(match[2])
        if status == 100:
            continue
        answer = Answer(
            f"HTTP/1.{int(match[1])}", status, match[3].decode("latin-1"), _headers(match[4])
        )
        answer.head = match[0]
        answers.append(answer)
        received = _take_body(answer, received, may_lack=has_head_request)
    return answers


def check_answer(answer: Answer) -> str:
    """See that a whole answer has one of the shapes there are; return which."""
    kind = answer.get("Content-Type") or ""
    if kind.startswith("text/plain; version=0.0.4"):
        assert b"keepa_gateway_" in answer.plain
        return "metrics"
    if kind == "image/png":
        assert answer.plain.startswith(b"\x89PNG")
        return "picture"
    told = answer.json()
    if "reason" in told:
        read_refusal(answer, answer.status, told["reason"], told["error"]["type"])
        return f"{answer.status} {told['reason']}"
    if "status" in told or "tokens" in told:
        return "own path"
    assert told.keys() >= TOKEN_FIELDS, told.keys()
    assert answer.get("X-Request-Id")
    assert (answer.status == 200) == ("error" not in told)
    return f"{answer.status} keepa"


def _headers(lines: bytes) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in lines.decode("latin-1").split("\r\n") if line)
    return [(name, value.strip()) for name, _, value in pairs]


def _take_body(answer: Answer, received: bytes, *, may_lack: bool) -> bytes:
    """Take the answer's body off what was received; return what follows."""
    is_bare = not received or received.startswith(b"HTTP/1.")
    if answer.status in {204, 304} or (may_lack and is_bare):
        # An answer to HEAD tells the length of a body that it has not.
        answer.whole = True
        return received
    if answer.get("Transfer-Encoding") == "chunked":
        return _take_chunks(answer, received)
    length = answer.get("Content-Length")
    if length is None:
        # To its close: HTTP/1.0 callers get no chunks.
        answer.body, answer.whole = received, False
        return b""
    answer.body = received[: int(length)]
    answer.whole = len(answer.body) == int(length)
    return received[int(length) :]


def _take_chunks(answer: Answer, received: bytes) -> bytes:
    while True:
        size, line_end, rest = received.partition(b"\r\n")
        if not line_end:
            return b""
        length = int(size, 16)
        if len(rest) < length + 2:
            return b""
        assert rest[length : length + 2] == b"\r\n"
        received = rest[length + 2 :]
        answer.body += rest[:length]
        if not length:
            answer.whole = True
            return received


def unpacked(received: bytes) -> bytes:
    """Return all that came, and every gzip member in it unpacked: for a search of secrets."""
    texts = [received]
    at = received.find(b"\x1f\x8b\x08")
    while at >= 0:
        with contextlib.suppress(zlib.error):
            texts.append(zlib.decompressobj(wbits=31).decompress(received[at:]))
        at = received.find(b"\x1f\x8b\x08", at + 1)
    return b"\n".join(texts)
