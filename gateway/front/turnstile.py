"""How many callers may be connected, and what the system lets a process have open."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog

_log: Any = structlog.get_logger(__name__)

Listen = Callable[[Callable[[], asyncio.Protocol], str, int], Awaitable[asyncio.Server]]

# More is no crowd of callers but an attack, or a balancer gone mad.
_CONNECTIONS_AT_MOST = 10_000
_CONNECTIONS_AT_LEAST = 16
# To so many there is one more that is told that there are too many.
_CONNECTIONS_TO_A_SURPLUS = 10
# For the log, the store, the listener, the loop.
_OWN_DESCRIPTORS = 64
# What the system keeps for the loop to accept.
_BACKLOG = 1024
# In one turn of the loop: a connection too many is closed a few turns later, and those of as many
# turns have to find room among the process' own descriptors.
_ACCEPTED_IN_A_TURN = 10
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TELL_AGAIN_SECONDS = 60


@dataclass(slots=True)
class Turnstile:
    """Counts the callers' connections of this process.

    Attributes:
        at_most: How many may make calls.
        surplus: How many more are told that they may not; further ones are hung up on.
        inside: How many there are.
        head_bytes: What has come of requests whose head is not whole yet.
        is_draining: Whether the gateway is to stop: each answer is the last on its connection, so
            that callers who keep connections go elsewhere.
    """

    at_most: int
    surplus: int
    inside: int = 0
    head_bytes: int = 0
    is_draining: bool = False


def make_turnstile(descriptors: int, max_concurrency: int) -> Turnstile:
    """Return a count of connections that leaves descriptors for calls to Keepa.

    Running out of them would fail those, and the store's connection, rather than a caller's.
    """
    # Each call has a connection, and the built-in simulator has its other end.
    left = descriptors - _OWN_DESCRIPTORS - 2 * max_concurrency
    at_most = left * _CONNECTIONS_TO_A_SURPLUS // (_CONNECTIONS_TO_A_SURPLUS + 1)
    at_most = min(_CONNECTIONS_AT_MOST, max(_CONNECTIONS_AT_LEAST, at_most))
    return Turnstile(at_most, at_most // _CONNECTIONS_TO_A_SURPLUS)


def raise_descriptor_limit() -> int:
    """Let this process have as many descriptors as it may; return how many those are."""
    # Windows has none, and the other commands run there.
    import resource  # noqa: PLC0415

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # "unlimited" may be more than the system allows
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


async def listen(make_door: Callable[[], asyncio.Protocol], host: str, port: int) -> asyncio.Server:
    """Let callers in: many may come at once, but few in each turn of the loop.

    asyncio takes one number for both: what the system keeps, and what one turn accepts.
    """
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make_door, host, port, backlog=_ACCEPTED_IN_A_TURN)
    for listener in server.sockets:
        with socket.fromfd(listener.fileno(), listener.family, listener.type) as same:
            same.listen(_BACKLOG)
    return server


@contextmanager
def calm_accepting() -> Iterator[None]:
    """Have the loop tell once a minute, in a line, that it is out of descriptors.

    asyncio tells it with a traceback up to a thousand times a second. It waits a second before it
    accepts again, so that nothing else is needed.
    """
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    tell_at = 0.0

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal tell_at
        fault = context.get("exception")
        if not isinstance(fault, OSError) or fault.errno not in _OUT_OF_DESCRIPTORS:
            (before or type(loop).default_exception_handler)(loop, context)
        elif loop.time() >= tell_at:
            tell_at = loop.time() + _TELL_AGAIN_SECONDS
            _log.error("out_of_descriptors", hint="raise the limit of open files (ulimit -n)")

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(before)
