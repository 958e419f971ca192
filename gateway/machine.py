"""The machine that a gateway runs on: a real one, or one that a test has made up."""

import secrets
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from gateway.front.turnstile import Listen, listen, raise_descriptor_limit


def make_threads() -> Executor:
    """Return a few threads."""
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="envelope")


def name_process() -> str:
    """Return a name that no other process has."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a gateway takes from outside, beside the event loop that it runs in.

    Attributes:
        listen: Lets callers in: what makes a protocol for each, host, port.
        descriptors: Returns how many descriptors this process may have.
        clock: Returns the time, seconds since 1970.
        name_process: Returns a name that no other process has.
        make_executor: Returns where large answers are read.
    """

    listen: Listen = listen
    descriptors: Callable[[], int] = raise_descriptor_limit
    clock: Callable[[], float] = time.time
    name_process: Callable[[], str] = name_process
    make_executor: Callable[[], Executor] = make_threads
