"""`python -m fuzz.serve_watched FILE`: `keepa-gateway serve`, its event loop watched.

At SIGUSR1, and at the end, what the watch has found since the last time goes into FILE as JSON.
"""

import sys
from pathlib import Path

from support.measure.loop_watch import LoopWatch, tell_into

from gateway.commands import cli


def main(file: Path) -> int:
    """Serve until told to stop; return the command's exit code."""
    watch = LoopWatch()
    tell = tell_into(file, watch)
    with watch:
        code = cli.main(["serve"])
    tell()
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
