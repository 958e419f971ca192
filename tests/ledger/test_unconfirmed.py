"""Resolutions that the store does not confirm: kept in order, not too many, not too long."""

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from support.ledger.calls import accounts, know, reserve
from support.redis.server import RedisServer
from support.waiting import until

import gateway.ledger.unconfirmed
from gateway.ledger import Ledger, Rules
from gateway.ledger.replies import read_reply
from gateway.ledger.scripts import OVERVIEW, RELEASE, SETTLE
from gateway.ledger.unconfirmed import AT_MOST, Unconfirmed

HOLD_SECONDS = 150
RULES = Rules(HOLD_SECONDS, 0, 1, 60, 300)


class Clock:
    """The module's clock, turned by hand."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    with mock.patch.object(gateway.ledger.unconfirmed, "time", clock):
        yield clock


def test_they_are_sent_in_the_order_they_were_raised() -> None:
    """Oldest first, each call once, whatever became of the others."""
    kept = Unconfirmed(HOLD_SECONDS)
    for name in "abcd":
        kept.add(name, SETTLE, tuple)
    kept.confirm("b")
    kept.add("a", RELEASE, tuple)
    assert kept.call_ids() == ["a", "c", "d"]
    assert kept["a"] == (RELEASE, tuple)
    assert len(kept) == 3


@pytest.mark.parametrize(("releases", "lost"), [(AT_MOST, 0), (0, 1000), (400, 600)])
async def test_they_are_not_too_many(releases: int, lost: int, capsys) -> None:
    """Above the bound the oldest releases go, then the oldest settles, and the log says so once."""
    kept = Unconfirmed(HOLD_SECONDS)
    for n in range(AT_MOST - releases):
        kept.add(f"settle{n}", SETTLE, tuple)
    for n in range(releases):
        kept.add(f"release{n}", RELEASE, tuple)
    assert len(kept) == AT_MOST
    assert "resolutions_dropped" not in capsys.readouterr().out
    kept.add("one more", SETTLE, tuple)
    left = kept.call_ids()
    assert len(left) == AT_MOST - 999
    assert left[-1] == "one more"
    settles = [name for name in left if name.startswith("settle")]
    assert settles == [f"settle{n}" for n in range(lost, AT_MOST - releases)]
    gone = min(releases, 1000)
    assert [name for name in left if name.startswith("release")] == [
        f"release{n}" for n in range(gone, releases)
    ]
    told = capsys.readouterr().out
    assert told.count("resolutions_dropped") == 1
    assert f"releases={gone}" in told
    assert f"settles={lost}" in told


def test_they_are_not_too_old(clock: Clock) -> None:
    """Once hold and marker are gone, a copy that arrives could only charge a second time."""
    kept = Unconfirmed(HOLD_SECONDS)
    kept.add("old", SETTLE, tuple)
    clock.now += 1
    kept.add("young", RELEASE, tuple)
    clock.now += HOLD_SECONDS + 600 - 1.5
    assert kept.call_ids() == ["old", "young"]
    clock.now += 1
    assert kept.call_ids() == ["young"]


async def test_nothing_is_left_to_wait_for_when_the_last_is_dropped(clock: Clock) -> None:
    """Who waits for the store's word at the end does not wait for what will never be sent."""
    kept = Unconfirmed(HOLD_SECONDS)
    kept.add("old", SETTLE, tuple)
    clock.now += HOLD_SECONDS + 600
    assert kept.call_ids() == []
    await kept.confirmed()


async def test_all_are_delivered_before_a_new_call(
    own_server: RedisServer, open_store, account: str, ear
) -> None:
    """After an outage all go out on the first connection, ahead of the first new reserve."""
    ledger = Ledger(await open_store(), account, RULES, ear)
    await know(ledger, 1000)
    holds = [await reserve(ledger, f"h{n}", 1) for n in range(500)]
    own_server.command("CLIENT", "KILL", "TYPE", "normal")
    # In each turn of the loop: it comes back within a few.
    await until(lambda: not ledger.store.up, every=0)
    for hold in holds:
        ledger.settle(hold, 1)
    first: list[Any] = []
    # The earliest moment at which anything can find the store up.
    ledger.on_doubt = lambda: first.append(
        ledger.store.run(OVERVIEW, ledger._keys, lambda: ledger._rate)
    )
    # A machine with other things to do may lose that connection too: then there is another first.
    heard = await until(lambda: [look for look in first if look.done() and not look.exception()])
    assert read_reply(heard[0].result()).balance.consumed == 500
    await reserve(ledger, "new", 490)
    assert await ledger.delivered(1)
    assert await accounts(ledger) == (500, 490, 500)
