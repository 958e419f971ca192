"""`python -m gateway` as real processes, each with an environment of its own and nothing else.

What a process prints goes to files, so that no pipe ever fills; where it listens is read there.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from support.callers.wire import Answer, ask
from support.measure.stopwatch import Stopwatch
from support.waiting import until

KEY = "e2eRealKey0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefgh"
START_SECONDS = 20
COMMAND = [sys.executable, "-m", "gateway"]
_SYSTEM = ("PATH", "PYTHONPATH", "HOME", "TMPDIR")
_METRIC = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")


class Process:
    """One `python -m gateway` process; ended by its own id."""

    command: Sequence[str] = COMMAND

    def __init__(self, folder: Path, *arguments: str, **environment: object) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        # A clean environment: no setting of the developer's decides a test. Warnings are printed,
        # so that a test may say that there were none.
        system = {name: os.environ[name] for name in _SYSTEM if name in os.environ}
        chosen = {name.upper(): str(value) for name, value in environment.items()}
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [*self.command, *arguments],
                cwd=folder,
                env={**system, "PYTHONWARNINGS": "default", **chosen},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        print(f"{' '.join(arguments)}: process {self.process.pid}, output in {folder}")

    @property
    def output(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def errors(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> float:
        """Ask it to stop; return when, on the monotonic clock."""
        self.process.send_signal(signal.SIGTERM)
        return time.monotonic()

    async def ended(self, seconds: float = 10) -> int:
        """Wait for its end; return the exit code."""
        await until(lambda: self.has_ended, seconds)
        return int(self.process.returncode)


class Simulator(Process):
    """A simulated Keepa that knows the real key only."""

    url = ""

    def __init__(self, folder: Path, **options: object) -> None:
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        # Whatever a test is about, answers are hard to read, and calls as short as they may be.
        hard = ("--decoys", "--lenient")
        super().__init__(folder, "simulate", "--port=0", f"--key={KEY}", *hard, *words)

    async def started(self) -> Self:
        await until(lambda: self.has_ended or "\n" in self.output, START_SECONDS)
        found = re.search(r"http://[\d.:]+", self.output)
        assert found, self.errors
        self.url = found[0]
        return self

    async def begin(self, tokens: int, lump_in_ms: int) -> None:
        """Begin anew, with a lump so long after now, and know the real key from now on."""
        for path, wanted in (
            ("/sim/reset", {"tokens": tokens, "first_lump_in_ms": lump_in_ms}),
            ("/sim/config", {"api_key": KEY}),
        ):
            body = json.dumps(wanted).encode()
            assert (await ask(self.url, path, method="POST", body=body)).status == 200

    async def state(self) -> dict[str, Any]:
        """The truth about the account."""
        return (await ask(self.url, "/sim/state")).json()

    async def balance(self) -> int:
        return int((await self.state())["tokens_left"])

    async def lowest(self) -> int:
        """The lowest balance that a call ever left behind."""
        return int((await self.state())["lowest_balance_by_charge"])


class Gateway(Process):
    """A gateway that serves."""

    url = ""

    def __init__(self, folder: Path, **settings: object) -> None:
        chosen = {"port": 0, "keepa_api_key": KEY, "rate_limit_per_minute": 0, **settings}
        super().__init__(folder, "serve", **chosen)

    async def started(self) -> Self:
        found = await until(lambda: self.has_ended or self.logged("listening"), START_SECONDS)
        assert found is not True, self.output + self.errors
        self.url = found[0]["url"]
        return self

    async def ask(self, target: str, *headers: str, **how: Any) -> Answer:
        return await ask(self.url, target, headers, **how)

    async def status(self) -> dict[str, Any] | None:
        """What `/status` tells; None where the store does not answer."""
        answer = await self.ask("/status")
        return answer.json() if answer.status == 200 else None

    async def tokens(self) -> dict[str, Any]:
        """What `/status` says of the tokens; empty where the store does not answer."""
        status = await self.status()
        return status["tokens"] if status else {}

    async def reserved(self) -> int | None:
        return (await self.tokens()).get("reserved")

    async def ready(self, seconds: float = 10) -> Self:
        """Wait for `/readyz`."""

        async def is_ready() -> bool:
            return (await self.ask("/readyz")).status == 200

        await until(is_ready, seconds)
        return self

    async def metrics(self) -> Counter[str]:
        """Every sample of `/metrics` by its name, summed over its labels."""
        totals: Counter[str] = Counter()
        for line in (await self.ask("/metrics")).body.decode().splitlines():
            sample = _METRIC.fullmatch(line)
            if sample:
                totals[sample[1].removeprefix("keepa_gateway_")] += float(sample[3])
        return totals

    def lines(self) -> list[dict[str, Any]]:
        """All that it has logged; each whole line has to be JSON."""
        whole = self.output.rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == event]


class Machines:
    """Starts processes, and ends all that are left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    def _next(self, name: str) -> Path:
        return self._folder / f"{len(self._started)}-{name}"

    def run(self, *arguments: str, **environment: object) -> Process:
        """Start a command."""
        process = Process(self._next("command"), *arguments, **environment)
        self._started.append(process)
        return process

    def simulate(self, **options: object) -> Simulator:
        simulator = Simulator(self._next("simulator"), **options)
        self._started.append(simulator)
        return simulator

    def serve(self, **settings: object) -> Gateway:
        gateway = Gateway(self._next("gateway"), **settings)
        self._started.append(gateway)
        return gateway

    async def before_a_lump(
        self, tokens: int, lump_in_ms: int, *headers: str, rate: int = 20, **settings: object
    ) -> tuple[Simulator, Gateway, Stopwatch]:
        """Return a pair whose account has its lump so long after now, and a watch that says when.

        The gateway starts in front of a Keepa that does not know its key yet: however long the
        start takes, no time of the lump's is lost.

        Args:
            tokens: Of the account.
            lump_in_ms: From the watch's zero.
            headers: With which the gateway answers `/token`.
            rate: Tokens of the lump.
            settings: The gateway's.
        """
        simulator = await self.simulate(key="not-known-yet", rate=rate).started()
        gateway = await self.serve(keepa_base_url=simulator.url, **settings).started()
        await until(lambda: gateway.logged("token_reading_missing"))
        watch = Stopwatch()
        await simulator.begin(tokens, lump_in_ms)

        async def knows() -> bool:
            return (await gateway.ask("/token", *headers)).status == 200

        await until(knows)
        assert watch.wall_seconds < lump_in_ms / 1000, "the machine is too busy for this lump"
        return simulator, gateway, watch

    def end_all(self) -> None:
        for process in self._started:
            if not process.has_ended:
                process.kill()
