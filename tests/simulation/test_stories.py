"""Stories by their seeds: fixed ones, fresh ones, the same one twice, and ones that must fail."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulation.faults import KINDS, PROFILES
from simulation.mutants import MUTANTS
from simulation.play import play
from simulation.shrink import shrink, tell
from simulation.story import draw_story

# Of processor time; `make simulate` goes on for as long as it is told.
FRESH_SECONDS = float(os.environ.get("SIMULATION_SECONDS", "20"))
HERE = Path(__file__).parent


def _fixed():
    for line in (HERE / "seeds.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            profile, seed, seconds, why = line.split(maxsplit=3)
            yield pytest.param(profile, int(seed), float(seconds), id=f"{profile}-{seed}: {why}")


def _expect_kept(outcome):
    assert not outcome.found, tell(shrink(outcome))


@pytest.mark.parametrize(("profile", "seed", "seconds"), list(_fixed()))
def test_seeds_that_once_showed_a_fault(profile, seed, seconds):
    """Each fault that a story found stays mended."""
    _expect_kept(play(draw_story(seed, seconds, profile)))


def test_fresh_seeds(record_property, capsys):
    """Stories that nobody has played yet keep all promises."""
    # In CI a failure is played again by its seed; on no two days are they the same.
    seed = first = int(os.environ.get("SIMULATION_SEED", time.time_ns() // 1_000_000_000))
    began = time.process_time()
    calls = 0
    while time.process_time() - began < FRESH_SECONDS:
        outcome = play(draw_story(seed, 20, "mixed"))
        calls += outcome.calls
        _expect_kept(outcome)
        seed += 1
    record_property("seeds", f"{first} to {seed - 1}")
    with capsys.disabled():
        print(f" fresh seeds {first} to {seed - 1}, {calls} calls ", end="")


def test_one_seed_is_one_trace(tmp_path):
    """Two processes play one seed, whatever their hashes: byte for byte the same."""
    traces = []
    for hash_seed in ("0", "4711"):
        trace = tmp_path / hash_seed
        subprocess.run(
            [sys.executable, "-m", "simulation", "--seed", "11", "--seconds", "6", "--profile",
             "all", "--no-shrink", "--trace", str(trace)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(HERE.parent)},
            check=False, capture_output=True,
        )  # fmt: skip
        traces.append(trace.read_bytes())
    assert len(traces[0]) > 50_000
    assert traces[0] == traces[1]


def test_two_seeds_are_two_traces():
    """Another seed is another story."""
    first, second = (play(draw_story(seed, 3, "calm")) for seed in (1, 2))
    assert first.digest != second.digest


def test_there_are_enough_kinds():
    """More than forty kinds of faults, most of which break no assumption."""
    assert len(KINDS) >= 60
    assert sum(not kind.breaks for kind in KINDS.values()) >= 50
    assert all(any(fits(kind) for fits in PROFILES.values()) for kind in KINDS.values())


_FIND = """
import sys
from simulation.mutants import MUTANTS
from simulation.play import play
from simulation.story import draw_story
mutant = MUTANTS[sys.argv[1]]
mutant.put_in()
for seed in range(1, 16):
    outcome = play(draw_story(seed, 15, mutant.profile))
    if outcome.found:
        print(seed, outcome.found[0])
        break
"""


@pytest.mark.parametrize("name", ["neighbours_answer"])
def test_a_mutant_is_found(name):
    """A fault put into the product breaks a promise within a few stories."""
    found = subprocess.run(
        [sys.executable, "-c", _FIND, name],
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert name in MUTANTS
    assert found
