"""Two gateways, some calls, one lump, one fault: orders of events, on the real Lua."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.scope import FAULTS, Walk


@pytest.mark.parametrize("fault", FAULTS)
def test_orders_of_two_calls_keep_the_promises(fault):
    """A part of what `python -m simulation.scope` walks: above the floor, and true in the end."""
    walk = Walk(fault, calls=2)
    walk.run(at_most=800)
    assert walk.states >= 800


@pytest.mark.parametrize(
    ("mutant", "fault"), [("no_learning", "emptied"), ("available_is_balance", "none")]
)
def test_a_mutant_crosses_the_floor(mutant, fault):
    """A clause left out of the Lua: some order of events goes below the floor."""
    command = ["-m", "simulation.scope", "--mutant", mutant, "--fault", fault, "--states", "9000"]
    walked = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert walked.returncode == 1
    assert "BROKEN" in walked.stdout
