"""A gateway process whose event loop is watched, as a test sees it."""

import os
import subprocess
import sys
from pathlib import Path

from support.loop_watch import Findings
from support.processes import KEY, Gateway

_TESTS = Path(__file__).parents[1]
_SYSTEM = ("PATH", "HOME", "TMPDIR")


class WatchedGateway(Gateway):
    """`keepa-gateway serve` under `support.serve_watched`."""

    def __init__(self, folder: Path, **settings: object) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        chosen = {"port": 0, "keepa_api_key": KEY, "rate_limit_per_minute": 0, **settings}
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "support.serve_watched", "findings.json"],
                cwd=folder,
                env={
                    **{name: os.environ[name] for name in _SYSTEM if name in os.environ},
                    "PYTHONPATH": str(_TESTS),
                    "PYTHONWARNINGS": "default",
                    **{name.upper(): str(value) for name, value in chosen.items()},
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.findings = Findings(self.process.pid, folder / "findings.json")
        print(f"watched gateway: process {self.process.pid}, output in {folder}")

    def memory_mib(self) -> float:
        """Return the memory it has now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise LookupError("VmRSS")

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))
