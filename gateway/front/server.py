"""Every caller's connection, from the listener's opening to its quiet end."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gateway.front.bodies import Bodies
from gateway.front.connection import Connection, Handler, House
from gateway.front.turnstile import Turnstile

_LOOK_AGAIN_SECONDS = 0.02


class Server:
    """Makes a connection for each caller.

    Args:
        handle: Answers a request.
        bodies: Counts request bodies.
        turnstile: Counts connections.
        stall_seconds: How long a response may wait for its caller to take more of it.
        keepalive_seconds: How long an idle connection lives.
        new_id: Makes request ids, one gateway's own.
    """

    def __init__(
        self,
        handle: Handler,
        bodies: Bodies,
        turnstile: Turnstile,
        *,
        stall_seconds: float,
        keepalive_seconds: float,
        new_id: Callable[[], str],
    ) -> None:
        self._connections: set[Connection] = set()
        self._house = House(
            handle, bodies, turnstile, stall_seconds, keepalive_seconds, new_id, self._connections
        )

    def connect(self) -> Connection:
        """Return a new caller's connection."""
        return Connection(self._house)

    async def last_responses(self, at_most_seconds: float) -> None:
        """Wait until no caller waits for a response any more; idle connections are left open."""
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most_seconds):
                # No connection tells when it becomes idle.
                while any(connection.is_busy for connection in self._connections):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def close(self) -> None:
        """Close all connections, and end what is under way on them."""
        for connection in list(self._connections):
            connection.shut()
        # They are closed in the loop's next turn.
        await asyncio.sleep(0)
