"""Random schedules of a fleet, with somebody else who spends."""

import pytest
from support.fleet.homes import EmbeddedHome
from support.fleet.schedules import Schedule, play

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def test_an_outsider_leaves_the_books_in_order(more: int) -> None:
    """With somebody else spending, holds, C and the balance after quiet time are still right."""
    play(lambda: Schedule(EmbeddedHome(), outsider=True), examples=30 * more, steps=40)
