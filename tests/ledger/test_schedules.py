"""Random schedules of a fleet: a file of its own for each kind, so that they run at once."""

import pytest
from support.fleet.homes import EmbeddedHome
from support.fleet.schedules import Schedule, play

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def test_no_schedule_crosses_the_floor(more: int) -> None:
    """In any order of events nothing is admitted that is not there, and the books agree."""
    # Some 90 s of processor time; longer by --schedules.
    play(lambda: Schedule(EmbeddedHome()), examples=100 * more, steps=60)
