"""What waits for a reply on the shared connection."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import hiredis

from gateway.ledger.scripts import Script, words_of
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

    def take_in(self, other: "Command") -> bool:  # noqa: ARG002 - a script's can
        """Run the other in the same go; False: it has to go by itself."""
        return False

    def apart(self, code: str) -> "Sequence[Command]":  # noqa: ARG002 - a script's can
        """Return what to send instead after an error of that code; empty: nothing."""
        return ()

    def answer(self, reply: Any) -> None:
        """Hand the reply on."""
        if not self.reply.done():
            self.reply.set_result(reply)

    def fail(self, error: Exception) -> None:
        """Tell the caller why no reply came."""
        if not self.reply.done():
            self.reply.set_exception(error)


class ScriptCall(NamedTuple):
    """One run of a script."""

    script: Script
    keys: Sequence[str]
    arguments: Arguments
    reply: asyncio.Future[list[Any]]


class ScriptCommand(Command):
    """Script calls under way: one, or several that run in one go."""

    __slots__ = ("calls", "is_alone", "whole_text")

    def __init__(
        self, call: ScriptCall, *, is_alone: bool = False, whole_text: bool = False
    ) -> None:
        self.name = call.script.name
        self.sent_at = None
        self.calls = [call]
        self.is_alone = is_alone or not call.script.is_of_many
        self.whole_text = whole_text

    def take_in(self, other: Command) -> bool:
        """Run the other in the same go, where both are made for it."""
        if self.is_alone or not isinstance(other, ScriptCommand) or other.is_alone:
            return False
        mine, its = self.calls[0], other.calls[0]
        if (mine.script.sha, mine.keys) != (its.script.sha, its.keys):
            return False
        self.calls += other.calls
        return True

    def pack(self, run_id: str, learning_us: int) -> bytes:
        """Return the command as Redis reads it."""
        script, keys, _, _ = self.calls[0]
        by_text = self.whole_text
        return hiredis.pack_command(  # type: ignore[no-any-return]
            (  # type: ignore[arg-type] # the stub knows tuples of one element only
                "EVAL" if by_text else "EVALSHA",
                script.text if by_text else script.sha,
                len(keys),
                *keys,
                run_id,
                learning_us,
                *words_of([(call.script, call.arguments()) for call in self.calls]),
            )
        )

    def apart(self, code: str) -> Sequence[Self]:
        """Return each by itself, with its text where the server does not have it.

        Nothing of them has run: scripts fail before they write anything, or not at all. Only one
        may be the reason, and it must not stop the others.
        """
        is_unknown = code == "NOSCRIPT"
        if not is_unknown and len(self.calls) == 1:
            return ()
        make = type(self)
        return [make(call, is_alone=True, whole_text=is_unknown) for call in self.calls]

    def answer(self, reply: list[Any]) -> None:
        """Hand each call its own."""
        replies = reply if self.calls[0].script.is_of_many else [reply]
        for call, one in zip(self.calls, replies, strict=True):
            if not call.reply.done():
                call.reply.set_result(one)

    def fail(self, error: Exception) -> None:
        """Tell the callers why no reply came."""
        for call in self.calls:
            if not call.reply.done():
                call.reply.set_exception(error)
