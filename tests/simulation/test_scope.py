"""Two gateways, some calls, one lump, one fault: orders of events, on the real Lua."""

import pytest

from simulation.scope import FAULTS, Walk


@pytest.mark.parametrize("fault", FAULTS)
def test_orders_of_two_calls_keep_the_promises(fault):
    """A part of what `python -m simulation.scope` walks: above the floor, and true in the end."""
    walk = Walk(fault, calls=2)
    walk.run(at_most=800)
    assert walk.states >= 800
    assert walk.ends
