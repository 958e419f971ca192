"""The command: plays seeds one after the other, and says what it found."""

import argparse
import signal
import time
from collections import Counter
from pathlib import Path

from simulation.faults import KINDS, PROFILES
from simulation.play import Outcome, play
from simulation.shrink import shrink, tell
from simulation.story import draw_story


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulation", description="Play stories by their seeds.")
    parser.add_argument("--seed", type=int, default=1, help="the first")
    parser.add_argument("--seeds", type=int, default=1, help="how many; 0: until --hours are over")
    parser.add_argument("--hours", type=float, default=0.0, help="of simulated time, in all")
    parser.add_argument("--seconds", type=float, default=120.0, help="of trouble in each story")
    parser.add_argument("--profile", default="mixed", help="or one kind of fault")
    parser.add_argument("--reservations", type=int, default=0, help="play until so many were made")
    parser.add_argument("--mutant", help="a fault of the product to put in; see mutants.py")
    parser.add_argument("--trace", type=Path, help="write each event there")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--goes-on", action="store_true", help="after a broken promise, too")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Return 0 where no promise was broken."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.profile not in {*PROFILES, *KINDS}:
        parser.error(f"--profile is one of {', '.join((*PROFILES, *KINDS))}")
    if options.mutant:
        from simulation.mutants import MUTANTS  # noqa: PLC0415

        MUTANTS[options.mutant].put_in()
    total = Total()
    # Whoever ends a night wants its figures.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _play_all(options, total)
    except KeyboardInterrupt:
        print("interrupted")
    print(total)
    return 1 if total.failed else 0


def _play_all(options: argparse.Namespace, total: "Total") -> None:
    seed = options.seed
    while not total.is_enough(options):
        story = draw_story(seed, options.seconds, options.profile)
        if options.trace:
            with options.trace.open("w") as file:
                outcome = play(story, file)
        else:
            outcome = play(story)
        total.add(outcome)
        print(outcome, flush=True)
        if outcome.found:
            total.failed.append(seed)
            print(tell(outcome if options.no_shrink else shrink(outcome)), flush=True)
            if not options.goes_on:
                break
        seed += 1


class Total:
    """The figures of all stories."""

    def __init__(self) -> None:
        self.stories = self.calls = self.reservations = self.scripts = 0
        self.virtual_seconds = self.cpu_seconds = 0.0
        self.began = time.monotonic()
        self.outcomes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self.failed: list[int] = []
        self.crossed_excused = 0

    def add(self, outcome: Outcome) -> None:
        self.stories += 1
        self.calls += outcome.calls
        self.reservations += outcome.reservations
        self.scripts += outcome.scripts
        self.virtual_seconds += outcome.virtual_seconds
        self.cpu_seconds += outcome.cpu_seconds
        self.outcomes += outcome.outcomes
        self.faults += outcome.faults
        self.broken.update(outcome.broken)
        self.crossed_excused += outcome.lowest < 10 and bool(outcome.broken)

    def is_enough(self, options: argparse.Namespace) -> bool:
        if options.reservations:
            return self.reservations >= options.reservations
        if options.hours:
            return self.virtual_seconds >= options.hours * 3600
        return self.stories >= options.seeds

    def __str__(self) -> str:
        lines = [
            (
                f"{self.stories} stories, {self.virtual_seconds / 3600:.1f} simulated hours, "
                f"{self.calls} calls, {self.reservations} reservations, {self.scripts} scripts, "
                f"{self.faults.total()} faults of {len(self.faults)} kinds; "
                f"{self.cpu_seconds:.0f} s of processor time, "
                f"{self.calls / max(self.cpu_seconds, 0.001):.0f} calls a second"
            ),
            "answers: " + ", ".join(f"{what} {n}" for what, n in sorted(self.outcomes.items())),
            "faults: " + ", ".join(f"{what} {n}" for what, n in sorted(self.faults.items())),
        ]
        if self.broken:
            told = ", ".join(f"{what} {n}" for what, n in sorted(self.broken.items()))
            lines.append(f"assumptions broken: {told}; floor crossed then {self.crossed_excused}")
        failed = ", ".join(map(str, self.failed)) or "none"
        lines.append(f"broken promises: {failed}")
        return "\n".join(lines)
