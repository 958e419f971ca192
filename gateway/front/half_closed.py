"""A caller who ended its sending side: it waits for its response, or it has left."""

import asyncio
from socket import SO_ERROR, SOL_SOCKET

from aiohttp import HttpVersion11

from gateway.front.request import Wire

# Nobody leaves so soon after its request.
_AT_ONCE_SECONDS = 0.0005
# How long it may wait before it is probed; how soon a reset is looked for then, and after that less
# and less often.
_PATIENCE_SECONDS = 1.0
_LOOK_SECONDS = 0.005
# RFC 9110, 15.2: a client reads past interim answers, also those that it did not ask for.
_PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HalfClosed:
    """Hangs up on a caller who has left.

    One who only ended its sending side looks the same, until it is sent a byte: then the system of
    who has left answers with a reset. Nobody leaves in one go with its request; any other is probed
    at once, but for those of HTTP/1.0, who cannot be sent a byte before their response.

    Args:
        came_at: When its newest request came, on the loop's clock.
    """

    def __init__(self, connection: Wire, came_at: float) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._is_probed = False
        self._timer: asyncio.TimerHandle | None = None
        request = connection.request
        is_at_once = self._loop.time() - came_at < _AT_ONCE_SECONDS
        if request is None or is_at_once or request.version < HttpVersion11:
            self._timer = self._loop.call_later(_PATIENCE_SECONDS, self._look, _LOOK_SECONDS)
        else:
            self._look(_LOOK_SECONDS)

    def end(self) -> None:
        """Look no more."""
        if self._timer:
            self._timer.cancel()

    def _look(self, after_seconds: float) -> None:
        """Hang up on a caller who has left; else look again."""
        connection, request = self._connection, self._connection.request
        wire = connection.transport
        if wire is None:
            return
        # Where nothing can be spared any more, nobody has to be probed.
        if connection.may_be_spared and request is not None and not connection.has_responded:
            if request.version >= HttpVersion11:
                if not self._is_probed:
                    self._is_probed = True
                    connection.write_interim(_PROBE)
            else:
                connection.abort()
                return
        if wire.get_extra_info("socket").getsockopt(SOL_SOCKET, SO_ERROR):
            connection.abort()
            return
        again_seconds = min(2 * after_seconds, _PATIENCE_SECONDS)
        self._timer = self._loop.call_later(after_seconds, self._look, again_seconds)
