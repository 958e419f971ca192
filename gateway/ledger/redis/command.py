"""What waits for a reply on the shared connection."""

from collections.abc import Sequence
from typing import Any

import hiredis

from gateway.ledger.scripts import Script, words_of
from gateway.ledger.store import Arguments, Sink

# So many calls go at once: the rest of a crowd is read while the server works at these.
TOGETHER = 16


class Command:
    """One command under way."""

    __slots__ = ("due_at", "name", "reply", "sent_at", "words")

    def __init__(self, *words: str, reply: Sink) -> None:
        self.words = words
        self.name = words[0] if words else ""
        self.reply = reply
        self.sent_at: float | None = None
        self.due_at: float | None = None
        """Until when it may be sent again; None: it has not been."""

    def pack(self, run_id: str, learning_us: int) -> bytes:  # noqa: ARG002 - a script's needs them
        """Return the command as Redis reads it."""
        # hiredis' stub knows tuples of one element only.
        return hiredis.pack_command(self.words)  # type: ignore[no-any-return,arg-type]

    def take_in(self, other: "Command") -> bool:  # noqa: ARG002 - a script's can
        """Run the other in the same go; False: it has to go by itself."""
        return False

    def stand_alone(self) -> None:
        """Run in one go with no other from now on."""

    def apart(self, code: str) -> "Sequence[Command]":  # noqa: ARG002 - a script's can
        """Return what to send instead after an error of that code; empty: nothing."""
        return ()

    def answer(self, reply: Any) -> None:
        """Hand the reply on."""
        if not self.reply.done():
            self.reply.set_result(reply)

    def refuse(self, code: str) -> bool:  # noqa: ARG002 - a probe's can
        """Take an error of that code as the reply; False: it is none."""
        return False

    def fail(self, error: Exception) -> None:
        """Tell the caller why no reply came."""
        if not self.reply.done():
            self.reply.set_exception(error)


class ScriptCommand(Command):
    """One run of a script under way, and those that run in one go with it."""

    __slots__ = ("arguments", "followers", "is_alone", "keys", "script", "whole_text")

    def __init__(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Arguments,
        reply: Sink,
        *,
        is_alone: bool = False,
        whole_text: bool = False,
    ) -> None:
        self.name = script.name
        self.reply = reply
        self.sent_at = None
        self.due_at = None
        self.script = script
        self.keys = keys
        self.arguments = arguments
        self.followers: list[ScriptCommand] = []
        self.is_alone = is_alone or not script.is_of_batch
        self.whole_text = whole_text

    def take_in(self, other: Command) -> bool:
        """Run the other in the same go, where both are made for it."""
        if (
            self.is_alone
            or not isinstance(other, ScriptCommand)
            or other.is_alone
            or self.script.sha != other.script.sha
            or self.keys != other.keys
        ):
            return False
        self.followers.append(other)
        return True

    def stand_alone(self) -> None:
        """Run in one go with no other from now on; those that it has stay."""
        self.is_alone = True

    def words_now(self) -> Sequence[str | int]:
        """Return the scripts' own arguments, as they are now."""
        return words_of([(run.script, run.arguments()) for run in (self, *self.followers)])

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
                *self.words_now(),
            )
        )

    def apart(self, code: str) -> "Sequence[ScriptCommand]":
        """Return each by itself, with its text where the server does not have it.

        Nothing of them has run: scripts fail before they write anything, or not at all. Only one
        may be the reason, and it must not stop the others.
        """
        is_unknown = code == "NOSCRIPT"
        if not is_unknown and not self.followers:
            return ()
        return [
            ScriptCommand(
                run.script, run.keys, run.arguments, run.reply,
                is_alone=True, whole_text=is_unknown,
            )
            for run in (self, *self.followers)
        ]  # fmt: skip

    def answer(self, reply: list[Any]) -> None:
        """Hand each run its own."""
        replies = reply if self.script.is_of_batch else [reply]
        for run, one in zip((self, *self.followers), replies, strict=True):
            if not run.reply.done():
                run.reply.set_result(one)

    def fail(self, error: Exception) -> None:
        """Tell the callers why no reply came."""
        for run in (self, *self.followers):
            if not run.reply.done():
                run.reply.set_exception(error)
