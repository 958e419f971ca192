"""`python -m simulation.hunt`: puts in each mutant, and says how soon a story finds it."""

import argparse
import re
import subprocess
import sys
import time

from simulation.mutants import MUTANTS


def main() -> int:
    """Return 0 where each mutant was found."""
    parser = argparse.ArgumentParser(prog="simulation.hunt")
    parser.add_argument("names", nargs="*", default=list(MUTANTS))
    parser.add_argument("--seeds", type=int, default=40, help="stories for each at most")
    parser.add_argument("--seconds", type=float, default=20.0, help="of trouble in each story")
    options = parser.parse_args()
    lives = [name for name in options.names or MUTANTS if not _hunt(name, options)]
    print(f"live on: {', '.join(lives) or 'none'}")
    return 1 if lives else 0


def _hunt(name: str, options: argparse.Namespace) -> bool:
    mutant = MUTANTS[name]
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-m", "simulation", "--mutant", name, "--profile", mutant.profile,
         "--seeds", str(options.seeds), "--seconds", str(options.seconds), "--no-shrink"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"^BROKEN: (.*)$", run.stdout, re.MULTILINE)
    figures = re.search(r"(\d+) stories, .*?; (\d+) s of processor", run.stdout)
    stories, cpu = figures.groups() if figures else ("?", "?")
    took = time.monotonic() - began
    if found:
        told = f"found in story {stories}, {cpu} s of processor time, {took:.0f} s: {found[1]}"
    elif run.returncode == 0:
        told = f"NOT FOUND in {stories} stories, {cpu} s of processor time"
    else:
        told = f"DOES NOT RUN: {run.stderr.strip().splitlines()[-1:]}"
    print(f"{name} ({mutant.why}): {told}"[:300], flush=True)
    return found is not None


if __name__ == "__main__":
    sys.exit(main())
