"""Whether the server takes writes: one that is full, or lacks replicas, answers all the same."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from gateway.ledger.redis.command import Command
from gateway.ledger.redis.link import Link


class Writes:
    """What the server last said of writes.

    Args:
        key: Of the ledger's; a sorted set, or none. Empty: nobody knows where in the cluster the
            ledger is, and the server is believed to take writes.
        on_news: Called when `refusal` has changed, with what it was.
    """

    def __init__(self, key: str, on_news: Callable[[str | None], None]) -> None:
        self._key = key
        self._on_news = on_news
        self.refusal: str | None = None
        """The code of the error that writes are refused with; empty: none; None: not heard yet."""

    def ask(self, link: Link) -> None:
        """Have the server say it, before whatever is sent after this."""
        reply: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        reply.add_done_callback(partial(self._hear, link))
        if self._key:
            link.send(_Probe(self._key, reply))
        else:
            reply.set_result("")

    def forget(self) -> None:
        """The connection has gone."""
        self.refusal = None

    def _hear(self, link: Link, reply: asyncio.Future[str]) -> None:
        # A connection that has gone has a better word for it.
        if reply.exception() is None and link.is_open and reply.result() != self.refusal:
            was, self.refusal = self.refusal, reply.result()
            self._on_news(was)


class _Probe(Command):
    """A write that changes nothing: the server refuses it where it would refuse every write.

    The reply is the error's code, empty where there is none. A PING tells nothing.
    """

    __slots__ = ()

    def __init__(self, key: str, reply: asyncio.Future[str]) -> None:
        super().__init__("ZADD", key, "XX", "0", "", reply=reply)

    def answer(self, reply: Any) -> None:  # noqa: ARG002 - it is always the same
        """Say that the server takes writes."""
        self.refuse("")

    def refuse(self, code: str) -> bool:
        """Say why the server takes none."""
        if not self.reply.done():
            self.reply.set_result(code)
        return True
