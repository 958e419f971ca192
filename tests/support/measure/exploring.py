"""Properties tried on as many examples as there is time for, and what came of it."""

import random
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

# A failing example is printed as it was found and shrunk; explaining it takes longer than that.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)


class Longest:
    """The most processor time that any input took, and what that input was."""

    def __init__(self) -> None:
        self.ms = 0.0
        self.what = ""

    def note(self, ms: float, what: str) -> None:
        if ms > self.ms:
            self.ms, self.what = ms, what

    def __str__(self) -> str:
        return f"{self.ms:.1f} ms CPU ({self.what})"


class Explorer:
    """Tries properties; tells what it did.

    Args:
        seconds: How long each property is tried; 0: for its own number of examples.
        tell: Takes one line for people.
    """

    def __init__(self, seconds: float, tell: Callable[[str], None]) -> None:
        self.seconds = seconds
        self.tell = tell

    def explore(
        self,
        check: Callable[..., None],
        *,
        examples: int,
        longest: Longest | None = None,
        shrink: bool = True,
        **inputs: SearchStrategy[Any],
    ) -> None:
        """Try one property, in rounds of `examples`; each round of a long run has its own seed.

        Args:
            check: Asserts what must hold.
            examples: How many a round tries.
            longest: Told of besides.
            shrink: Whether a failing example is made small; no use where it needs those before it.
            inputs: What `check` is called with.
        """
        tried = 0

        def counted(**values: Any) -> None:
            nonlocal tried
            tried += 1
            check(**values)

        started = time.monotonic()
        while True:
            number = random.SystemRandom().getrandbits(32)
            run = settings(
                max_examples=examples,
                deadline=None,
                phases=_PHASES if shrink else _PHASES[:-1],
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            )(given(**inputs)(counted))
            try:
                # The usual, short run is left to hypothesis' profile: in CI the same each time.
                (seed(number)(run) if self.seconds else run)()
            except BaseException as failure:
                if self.seconds:
                    failure.add_note(f"in a round that began with @seed({number})")
                raise
            seconds = time.monotonic() - started
            if seconds >= self.seconds:
                break
        slowest = f", longest {longest}" if longest else ""
        self.tell(f"{check.__qualname__}: {tried} examples in {seconds:.1f} s{slowest}")


def measure_ms(work: Callable[[], Any], attempts: int = 3, enough_ms: float = 10.0) -> float:
    """Return the processor time of this thread that some work takes, in milliseconds.

    What takes long is done again, and the least counts: an input that is to blame takes it each
    time, a cold cache or a page fault does not.
    """
    least = float("inf")
    for _ in range(attempts):
        started = time.thread_time()
        work()
        least = min(least, (time.thread_time() - started) * 1000)
        if least < enough_ms:
            break
    return least
