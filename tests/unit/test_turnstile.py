"""How many callers may be connected, by the descriptors that a process may have."""

import asyncio
import errno

import pytest
from structlog.testing import capture_logs

from gateway.front.turnstile import calm_accepting, make_turnstile, raise_descriptor_limit


@pytest.mark.parametrize(
    ("descriptors", "max_concurrency", "at_most", "surplus"),
    [
        (1 << 20, 100, 10_000, 1_000),
        (1024, 100, 690, 69),
        (256, 10, 156, 15),
        (64, 100, 16, 1),
    ],
)
def test_callers_leave_descriptors_to_keepa(descriptors, max_concurrency, at_most, surplus):
    """Callers get what calls to Keepa, twice, and the process itself leave; a few at the least."""
    turnstile = make_turnstile(descriptors, max_concurrency)
    assert (turnstile.at_most, turnstile.surplus) == (at_most, surplus)


def test_descriptor_limit_is_raised_once():
    """The limit is what it was raised to, however often."""
    assert raise_descriptor_limit() == raise_descriptor_limit() > 0


async def test_lack_of_descriptors_is_told_once():
    """A thousand failed accepts are one line; any other fault is told as ever."""
    loop = asyncio.get_running_loop()
    others = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: others.append(context["message"]))
    with capture_logs() as lines, calm_accepting():
        for _ in range(1000):
            loop.call_exception_handler(
                {"message": "accept", "exception": OSError(errno.EMFILE, "too many")}
            )
        loop.call_exception_handler({"message": "another", "exception": ValueError()})
        loop.call_exception_handler({"message": "no fault"})
    assert [line["event"] for line in lines] == ["out_of_descriptors"]
    assert others == ["another", "no fault"]
    loop.call_exception_handler({"message": "after"})
    assert others[-1] == "after"
    loop.set_exception_handler(before)
