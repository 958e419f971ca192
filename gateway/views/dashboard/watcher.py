"""One open dashboard, and the events that wait to be sent to it."""

import asyncio
from collections.abc import Awaitable, Callable

# A browser that is so many seconds behind does not read: its connection is cut; it may reconnect.
_BEHIND_AT_MOST = 10


class Watcher:
    """One open dashboard.

    Args:
        cut: Aborts its connection, whatever is still to be sent on it.
    """

    def __init__(self, cut: Callable[[], None]) -> None:
        self.is_new = True
        self.lacks_hour = True
        """Whether the samples of the last hour have yet to be sent to it."""
        self._cut = cut
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_BEHIND_AT_MOST)
        self._is_sending = False

    def give(self, chunk: bytes) -> None:
        """Queue a chunk to be sent; cut off a browser that is too far behind."""
        try:
            self._chunks.put_nowait(chunk)
        except asyncio.QueueFull:
            self._cut()

    def end(self) -> None:
        """Let its stream end; at once, where the browser does not read."""
        if self._is_sending:
            self._cut()
        else:
            self.give(b"")

    async def receive(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send the queued chunks until the stream ends."""
        while chunk := await self._chunks.get():
            self._is_sending = True
            await send(chunk)
            self._is_sending = False
