"""The search for the token fields in a JSON text that comes in pieces."""

import re
from typing import Any, Final

from gateway.keepa.envelope.fields import FIELDS, Envelope, Field, check_value
from gateway.structure import Place, walk

# What the event loop searches at a time, and a search holds.
PIECE_BYTES: Final = 64 * 1024

# A key, and its number if one stands there whole: where the text is cut, `12` may have been `123`,
# so what ends a number has to be seen. All repeats are bounded, so that no match is longer than
# _LOOKAHEAD_BYTES. A key spelt with escapes is not recognised: no encoder escapes plain letters.
_FIELD: Final = re.compile(
    rb'"(' + rb"|".join(FIELDS) + rb')"[ \t\r\n]{0,16}:[ \t\r\n]{0,16}'
    rb"(?:(-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?)(?=[,}\s]))?"
)
_LOOKAHEAD_BYTES: Final = 128
# Text is gathered until a search is worth its fixed cost; a small answer is searched once, whole.
_WORTHWHILE_BYTES: Final = 4096

_BEFORE_THE_ROOT: Final = b" \t\r\n\xef\xbb\xbf"  # white space, and a byte order mark


class Scanner:
    """Finds the token fields at the top level of one JSON object; the first of each name counts.

    Holds at most a piece and 128 bytes. Never raises, whatever the text is: it finds nothing more.

    Attributes:
        done: nothing more will be looked for: all are found, or the object has ended, or is none.
        candidates: how many names of fields were looked at, most of them deeper than the root; each
            takes about as long as a KiB of other text.
    """

    __slots__ = ("_found", "_has_begun", "_pending", "_place", "candidates", "done")

    def __init__(self) -> None:
        self.done = False
        self.candidates = 0
        self._found: dict[str, Any] = {}
        self._has_begun = False
        self._pending = b""
        self._place = Place(depth=1, lowest=1)  # just inside the root's brace

    @property
    def envelope(self) -> Envelope:
        """What is found so far."""
        return Envelope(**self._found)

    def feed(self, piece: bytes) -> None:
        """Search a piece of the text, on the event loop of no more than `PIECE_BYTES`.

        Unless it all lies deeper than the root, its last 128 bytes are searched with the next
        piece: what starts there may end there.
        """
        if self.done:
            return
        # Nearly all of a large answer lies deeper, and is not copied.
        text = self._pending + piece if self._pending else piece
        if not self._has_begun:
            text = self._begin(text)
        if len(text) > _WORTHWHILE_BYTES:
            text = self._pass_over(text)
        self._pending = b"" if self.done else text

    def finish(self) -> Envelope:
        """Search what is left, for no more will come, and say what was found."""
        if not self.done:
            self._search(self._pending, len(self._pending), self._place)
            self.stop()
        return self.envelope

    def stop(self) -> None:
        """Look for nothing more."""
        self.done = True
        self._pending = b""

    def _begin(self, text: bytes) -> bytes:
        """What follows the root's opening brace; empty while that has not come."""
        text = text.lstrip(_BEFORE_THE_ROOT)
        if text.startswith(b"{"):
            self._has_begun = True
        elif text:
            self.stop()
        return text[1:]

    def _pass_over(self, text: bytes) -> bytes:
        """Search the text where it touches the root, and move on; what is to be searched again."""
        before = self._place
        after = walk(before, text)
        if after.lowest > 1:
            self._place = after
            return b""
        end = len(text) - _LOOKAHEAD_BYTES
        self._place = walk(before, text[:end])
        if self._place.lowest <= 1:
            self._search(text, end, before)
        if self._place.lowest < 1:
            self.stop()
        return text[end:]

    def _search(self, text: bytes, end: int, place: Place) -> None:
        """Look for fields that start before `end`; the text starts at `place`."""
        walked = 0
        for match in _FIELD.finditer(text):
            start = match.start()
            if start >= end:
                return
            self.candidates += 1
            field = FIELDS[match[1]]
            if field.attribute in self._found:
                continue
            place = walk(place, text[walked:start])
            walked = start
            if place.lowest < 1:
                return  # the root has ended; what follows is none of ours
            if place.depth == 1 and not place.in_string:
                self._keep(field, match[2])
                if self.done:
                    return

    def _keep(self, field: Field, number: bytes | None) -> None:
        """Note a field of the root; one without a good value takes its name all the same."""
        self._found[field.attribute] = None if number is None else check_value(field, float(number))
        if len(self._found) == len(FIELDS):
            self.stop()
