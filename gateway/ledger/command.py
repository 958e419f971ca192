"""What waits for a reply on the shared connection."""

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis

from gateway.ledger.scripts import Script
from gateway.ledger.store import Arguments


class Command:
    """One command under way."""

    __slots__ = ("name", "reply", "sent_at", "words")

    def __init__(self, *words: str, reply: asyncio.Future[Any]) -> None:
        self.words = words
        self.name = words[0] if words else ""
        self.reply = reply
        self.sent_at: float | None = None

    def pack(self, run_id: str, learning_us: int) -> bytes:  # noqa: ARG002 - a script's needs them
        """Return the command as Redis reads it."""
        # hiredis' stub knows tuples of one element only.
        return hiredis.pack_command(self.words)  # type: ignore[no-any-return,arg-type]

    def resend_whole(self) -> bool:
        """Say whether the server only has to be told the script's text."""
        return False

    def fail(self, error: Exception) -> None:
        """Tell the caller why no reply came."""
        if not self.reply.done():
            self.reply.set_exception(error)


class ScriptCommand(Command):
    """One script call under way."""

    __slots__ = ("arguments", "keys", "script", "whole_text")

    def __init__(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Arguments,
        reply: asyncio.Future[list[Any]],
    ) -> None:
        super().__init__(reply=reply)
        self.name = script.name
        self.script = script
        self.keys = keys
        self.arguments = arguments
        self.whole_text = False

    def pack(self, run_id: str, learning_us: int) -> bytes:
        """Return the command as Redis reads it."""
        by_text = self.whole_text
        return hiredis.pack_command(  # type: ignore[no-any-return]
            (  # type: ignore[arg-type] # the stub knows tuples of one element only
                "EVAL" if by_text else "EVALSHA",
                self.script.text if by_text else self.script.sha,
                len(self.keys),
                *self.keys,
                run_id,
                learning_us,
                *self.arguments(),
            )
        )

    def resend_whole(self) -> bool:
        """Have the text sent the next time."""
        self.whole_text = True
        return True
