"""A real gateway process under streams of bytes that are requests, nearly requests, or neither."""

from collections import Counter

import pytest
from support.gateways.processes import KEY
from support.measure.exploring import Longest
from support.measure.vitals import open_descriptors, resident_bytes

from fuzz.guarded import FLOOR, MOST_MS, Guarded
from fuzz.wire_answers import check_answer, read_answers, unpacked
from fuzz.wire_noise import CALLERS_KEY, streams

pytestmark = pytest.mark.e2e

MORE_MIB = 32
MORE_DESCRIPTORS = 8


@pytest.fixture
def guarded(tmp_path):
    guarded = Guarded(tmp_path)
    yield guarded
    guarded.end()


def check_stream(guarded, stream, longest, seen):
    """Send it, and see that nothing is amiss."""
    expected = answers_expected(stream)
    received = guarded.exchange(
        stream.pieces,
        stream.ending,
        lambda came: sum(answer.whole for answer in read_answers(came, stream.text)) >= expected,
    )
    assert KEY.encode() not in unpacked(received)
    answers = read_answers(received, stream.text)
    for answer in answers:
        if answer.whole and answer.body:
            seen[check_answer(answer)] += 1
    assert len(answers) >= expected
    guarded.check_alive()
    guarded.read_log()
    callback = guarded.longest_callback()
    for _ in range(2):
        if callback["ms"] < MOST_MS:
            break
        # What is to blame takes as long each time, a page fault or a cold cache does not.
        guarded.exchange(stream.pieces, stream.ending)
        guarded.check_alive()
        callback = min(callback, guarded.longest_callback(), key=lambda found: found["ms"])
    kinds = ", ".join(sorted(set(stream.kinds))) or "no change"
    longest.note(callback["ms"], f"{kinds}; {callback['what']}, {callback['gc_ms']} ms of it GC")
    assert callback["ms"] < MOST_MS, callback


def answers_expected(stream):
    """How many answers are sure to come: of genuine requests all.

    What follows one that ends the connection is no HTTP, for which the parser gives up all that it
    was given at once.
    """
    heads = [request.partition(b"\r\n\r\n")[0] for request in stream.requests]
    closing = [b"Connection: close" in head or b"HTTP/1.0" in head for head in heads]
    return 0 if stream.kinds or stream.ending != "wait" or any(closing[:-1]) else len(heads)


def spend_all(guarded, seen):
    """Make calls, the dearest first, until the floor is all that is left."""
    for target in ("/lightningdeal", "/bestsellers?category=7", "/product?asin=B0MAX00001"):
        verdict = ""
        while verdict != "429 floor":
            verdict = check_answer(guarded.ask(target))
            assert verdict in {"200 keepa", "429 floor"}
            seen[verdict] += 1


@pytest.mark.timeout(900)
def test_no_stream_of_bytes_does_harm(explorer, tell, guarded):
    """It lives on, answers in known shapes, tells no key, holds nobody up, and loses no token."""
    seen = Counter()
    longest = Longest()
    memory = descriptors = 0
    pid = guarded.gateway.process.pid

    def harmless(stream):
        nonlocal memory, descriptors
        check_stream(guarded, stream, longest, seen)
        if not memory and seen.total() > 60:
            guarded.be_quiet()
            memory, descriptors = resident_bytes(pid), open_descriptors(pid)

    explorer.explore(harmless, examples=200, longest=longest, shrink=False, stream=streams())
    spend_all(guarded, seen)
    guarded.be_quiet()
    guarded.read_log()
    truth = guarded.state()
    grown = (resident_bytes(pid) - memory) / (1 << 20)
    opened = open_descriptors(pid) - descriptors
    forwarded = truth["calls_total"] - truth["calls"].get("token", 0)
    tell(f"  answers: {dict(seen.most_common())}")
    tell(
        f"  at Keepa: {forwarded} calls, {truth['charged_total']} tokens, lowest balance "
        f"{truth['lowest_balance_by_charge']}; memory {grown:+.1f} MiB, descriptors {opened:+d}"
    )
    assert truth["lowest_balance_by_charge"] >= FLOOR
    assert truth["refused_total"] == 0
    assert guarded.outcomes["doubt"] == 0
    # Whatever a stream was cut into, it made no call of which the gateway does not know.
    assert forwarded == guarded.outcomes["settled"] > 0
    assert {"200 keepa", "400 bad_request", "429 floor"} <= seen.keys()
    assert memory
    assert grown < MORE_MIB
    assert opened <= MORE_DESCRIPTORS
    assert CALLERS_KEY not in str(truth["last_call_by_endpoint"])
