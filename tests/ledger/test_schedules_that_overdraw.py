"""Random schedules of a fleet, with calls that overdraw."""

import pytest
from support.fleet.homes import EmbeddedHome
from support.fleet.schedules import Schedule, play

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def test_calls_that_overdraw_leave_the_others_their_floor(more: int) -> None:
    """They run alone and from a full bucket; nobody else's call leaves less than its floor."""
    play(lambda: Schedule(EmbeddedHome(), overdraft=True), examples=20 * more, steps=40)
