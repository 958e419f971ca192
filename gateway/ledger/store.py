"""Where the scripts run."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gateway.errors import LedgerUnavailable
from gateway.ledger.scripts import Script

# Called when the command is written, so that ages among the arguments are true then.
Arguments = Callable[[], Sequence[str | int]]


class ReplyLost(LedgerUnavailable):
    """The script was sent and no reply came: it may have run."""


class Sink(Protocol):
    """What a reply is handed to, once: a future, or what needs no turn of the loop for it."""

    def done(self) -> bool:
        """Whether nobody wants it any more."""

    def set_result(self, result: Any, /) -> None:
        """The script ran."""

    def set_exception(self, exception: Exception, /) -> None:
        """No reply came: ReplyLost where the script may have run, else LedgerUnavailable."""


class Store(Protocol):
    """Runs scripts atomically. Every script may run twice: a lost reply is sent again."""

    learning_us: int
    """How long a new epoch admits nothing, so that every gateway can bring its live holds back."""
    kind: str
    on_connect: Callable[[], None]
    """Called each time the store became reachable, before anything else is written to it."""

    @property
    def up(self) -> bool:
        """Whether the store answers, and takes writes."""

    async def open(self) -> None:
        """Start; returns also when the store cannot be reached yet."""

    async def close(self) -> None:
        """Stop; calls under way fail."""

    def run(
        self, script: Script, keys: Sequence[str], arguments: Arguments
    ) -> asyncio.Future[list[Any]]:
        """Run one script.

        The future fails with LedgerUnavailable where the script surely did not run, with ReplyLost
        where it may have. Cancelling it does not take the script back.
        """

    def send(self, script: Script, keys: Sequence[str], arguments: Arguments, sink: Sink) -> None:
        """Run one script; `sink` gets its reply, or why there is none, as soon as it is there."""
