"""Cuts an answer of Keepa's into what is kept of it, while the text streams past.

No parser reads the whole: the elements of the root's `products`, or the root's own members, are cut
out as bytes by following brackets and quotes (`structure`), each is validated by itself, then
deflated. One of them is held as text at a time. Whatever the text is, nothing here raises: an
answer that is not exactly as expected is odd, and nothing of it is kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.cache.cut import Cut, Oddity, Product, Room
from gateway.cache.entries import MAX_ENTRY_BYTES, MAX_WHOLE_BYTES, Packer, pack
from gateway.structure import Place, find_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cache.questions import Question

_TOKEN_FIELDS: Final = frozenset({
    b"timestamp", b"tokensLeft", b"refillIn", b"refillRate", b"tokenFlowReduction",
    b"tokensConsumed", b"processingTimeInMs",
})  # fmt: skip
# All of them are 0 in the answer to a wrong key.
_TELLING_FIELDS: Final = (b"tokensLeft", b"refillRate", b"tokensConsumed")
# Nothing that the root has itself, besides products and other members cut out, is that long.
_MOST_WAITING: Final = 64 * 1024

_MARK: Final = b"\xef\xbb\xbf"  # a byte order mark
# Repeats are possessive: what does not match is not tried in other ways.
_SPACE: Final = rb"[ \t\r\n]*+"
_ROOT: Final = re.compile(_SPACE + rb"\{")
# A name that is escaped, or long, is none of Keepa's. The value's first byte is seen, not taken.
_MEMBER: Final = re.compile(
    _SPACE + rb'"([A-Za-z]{1,64})"' + _SPACE + rb":" + _SPACE + rb'(?=([\[{"0-9tfn-]))'
)
_PART_OF_MEMBER: Final = re.compile(
    _SPACE + rb'(?:"(?:[A-Za-z]{1,64}(?:"' + _SPACE + rb"(?::" + _SPACE + rb")?)?)?)?"
)
_SCALAR: Final = re.compile(rb'("(?:[^"\\]|\\.)*+"|[0-9a-zA-Z.+-]++)(?=[ \t\r\n,}])', re.DOTALL)
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?")
_BETWEEN_MEMBERS: Final = re.compile(_SPACE + rb"([,}])")
_FIRST_ELEMENT: Final = re.compile(_SPACE + rb"([{\]])")
_BETWEEN_ELEMENTS: Final = re.compile(_SPACE + rb"([,\]])")
_NEXT_ELEMENT: Final = re.compile(_SPACE + rb"(\{)")
_NOT_SPACE: Final = re.compile(rb"[^ \t\r\n]")
_MORE: Final = -1


class _Fields(msgspec.Struct, gc=False):
    """What is read of a product; all else in it is validated and passed over."""

    asin: str
    lastUpdate: int | None = None  # noqa: N815 - Keepa's name
    offersSuccessful: bool | None = None  # noqa: N815


_read_fields: Final = msgspec.json.Decoder(_Fields).decode
_validate: Final = msgspec.json.Decoder(msgspec.Raw).decode


class _OddError(Exception):
    """The answer is odd."""

    def __init__(self, oddity: Oddity) -> None:
        super().__init__(oddity)
        self.oddity = oddity


class Splitter:
    """Takes an answer's text in pieces; to be used by one thread at a time.

    Args:
        question: what the answer is to.
        room: where what is held is claimed; `close` gives it back.
    """

    def __init__(self, question: Question, room: Room) -> None:
        self._question = question
        self._room = room
        self._cut = Cut()
        self._asked = frozenset(question.asins)
        self._members = frozenset(name.encode() for name in question.members)
        # Takes the text and a place in it, returns the place up to which it has taken it, or that
        # it needs more. None: the answer is odd, the rest makes no difference.
        self._step: Callable[[bytes, int], int] | None = self._begin
        self._waiting = b""
        self._taken = 0
        self._seen: set[bytes] = set()
        self._given: set[str] = set()
        self._name = b""
        self._place = Place()
        self._parts: list[bytes] = []
        self._part_bytes = 0
        self._frame: list[bytes] = []
        self._packer: Packer | None = None
        self._has_ended = False

    @property
    def is_done(self) -> bool:
        """Whether the rest of the text makes no difference: the answer is odd."""
        return self._step is None

    def see_wire(self, chunk: bytes) -> None:
        """Take no notice of what is still encoded."""

    def see_text(self, piece: bytes) -> None:
        """Take the next piece of the text."""
        if self._step is None:
            return
        text = self._waiting + piece if self._waiting else piece
        at = next_at = 0
        try:
            while at < len(text) and (next_at := self._step(text, at)) is not _MORE:
                at = next_at
            self._wait_with(text[at:])
        except _OddError as error:
            self._stop(error.oddity)

    def finish(self, *, is_whole: bool) -> Cut:
        """Say what the answer came to; what it holds stays claimed until `close`.

        Args:
            is_whole: the body came to its proper end.
        """
        if self._step is not None:
            try:
                self._conclude(is_whole=is_whole)
            except _OddError as error:
                self._stop(error.oddity)
        return self._cut

    def close(self) -> None:
        """Give back the room: what was cut is kept by now, or never will be."""
        self._step = None
        self._room.give_back(self._taken)
        self._taken = 0

    def _stop(self, oddity: Oddity) -> None:
        """Hold nothing more of this answer."""
        self._cut = Cut(oddity)
        self._packer = None
        self._parts = []
        self._frame = []
        self._waiting = b""
        self.close()

    def _wait_with(self, text: bytes) -> None:
        """Hold what is too short to be understood."""
        if len(text) > _MOST_WAITING:
            raise _OddError(Oddity.TOO_LARGE)
        self._waiting = text

    def _conclude(self, *, is_whole: bool) -> None:
        cut, numbers = self._cut, self._cut.numbers
        if not self._has_ended or not is_whole:
            raise _OddError(Oddity.CUT)
        if numbers.get(b"tokensConsumed", -1) < 0:
            raise _OddError(Oddity.NO_COST)
        if all(numbers.get(name) == 0 for name in _TELLING_FIELDS):
            raise _OddError(Oddity.WRONG_KEY)
        if self._question.is_of_products and b"products" not in self._seen:
            raise _OddError(Oddity.NO_PRODUCT)
        if self._packer:
            cut.whole = self._packer.finish()
        cut.after = b"".join(self._frame)

    def _begin(self, text: bytes, at: int) -> int:
        if text.startswith(_MARK):
            at = len(_MARK)
        elif _MARK.startswith(text):
            return _MORE
        match = self._expect(_ROOT, text, at)
        if match is None:
            return _MORE
        self._step = self._read_member
        return self._frame_up(text, at, match.end())

    def _read_member(self, text: bytes, at: int) -> int:
        match = _MEMBER.match(text, at)
        if match is None:
            if _PART_OF_MEMBER.fullmatch(text, at):
                return _MORE
            raise _OddError(Oddity.NOT_JSON)
        name, first = match.groups()
        if name in self._seen:
            raise _OddError(Oddity.TWICE)
        self._seen.add(name)
        self._name = name
        end = match.end()
        is_own = name in self._members
        if is_own and self._question.is_of_products:
            if first != b"[":
                raise _OddError(Oddity.NO_PRODUCT)
            end = self._frame_up(text, at, end + 1)
            self._cut.before = b"".join(self._frame)
            self._frame = [b"]"]
            self._step = self._read_first_element
            return end
        if not is_own and name not in _TOKEN_FIELDS and name != b"error":
            raise _OddError(Oddity.UNKNOWN_MEMBER)
        if is_own and first in b"[{":
            self._open()
        else:
            self._step = self._read_scalar
        return self._frame_up(text, at, end)

    def _read_scalar(self, text: bytes, at: int) -> int:
        if self._name == b"error" and text[at] != ord("n"):
            raise _OddError(Oddity.ERROR)
        match = _SCALAR.match(text, at)
        if match is None:
            return _MORE
        value = match[1]
        if self._name in _TOKEN_FIELDS:
            if not _NUMBER.fullmatch(value):
                raise _OddError(Oddity.NO_COST)
            self._cut.numbers[self._name] = float(value)
        elif self._name != b"error":
            self._keep_member(value)
        elif value != b"null":
            raise _OddError(Oddity.NOT_JSON)
        self._step = self._pass_between_members
        return self._frame_up(text, at, match.end())

    def _pass_between_members(self, text: bytes, at: int) -> int:
        match = self._expect(_BETWEEN_MEMBERS, text, at)
        if match is None:
            return _MORE
        self._has_ended = match[1] == b"}"
        self._step = self._pass_end if self._has_ended else self._read_member
        return self._frame_up(text, at, match.end())

    def _pass_end(self, text: bytes, at: int) -> int:
        if _NOT_SPACE.search(text, at):
            raise _OddError(Oddity.NOT_JSON)
        return self._frame_up(text, at, len(text))

    def _read_first_element(self, text: bytes, at: int) -> int:
        return self._enter(_FIRST_ELEMENT, text, at)

    def _read_element(self, text: bytes, at: int) -> int:
        return self._enter(_NEXT_ELEMENT, text, at)

    def _enter(self, form: re.Pattern[bytes], text: bytes, at: int) -> int:
        """Begin an element, or end the list of them; a null or a number is no product."""
        match = self._expect(form, text, at, Oddity.NO_PRODUCT)
        if match is None:
            return _MORE
        if match[1] == b"]":
            self._step = self._pass_between_members
            return match.end()
        self._open()
        return match.end() - 1

    def _pass_between_elements(self, text: bytes, at: int) -> int:
        match = self._expect(_BETWEEN_ELEMENTS, text, at)
        if match is None:
            return _MORE
        is_last = match[1] == b"]"
        self._step = self._pass_between_members if is_last else self._read_element
        return match.end()

    def _open(self) -> None:
        """Stand before the bracket of what is cut out next."""
        self._part_bytes = 0
        self._place = Place()
        self._step = self._cut_out

    def _cut_out(self, text: bytes, at: int) -> int:
        """Hold the text of an object or array up to its end, and keep it when it is there."""
        start = at
        if self._place.depth == 0:
            self._place = Place(1, 1)
            at += 1
        self._place, end = find_end(self._place, text, at)
        is_there = end >= 0
        stop = end if is_there else len(text)
        self._part_bytes += stop - start
        if self._part_bytes > MAX_ENTRY_BYTES:
            raise _OddError(Oddity.TOO_LARGE)
        self._parts.append(text[start:stop])
        if is_there:
            found = b"".join(self._parts)
            self._parts = []
            if self._question.is_of_products:
                self._keep_product(found)
                self._step = self._pass_between_elements
            else:
                self._keep_member(found)
                self._step = self._pass_between_members
        return stop

    def _keep_product(self, text: bytes) -> None:
        try:
            fields = _read_fields(text)
        except msgspec.ValidationError:
            raise _OddError(Oddity.NO_PRODUCT) from None
        except (msgspec.DecodeError, RecursionError):
            raise _OddError(Oddity.NOT_JSON) from None
        _check_utf8(text)
        if fields.asin in self._given:
            raise _OddError(Oddity.TWICE)
        if fields.asin not in self._asked:
            raise _OddError(Oddity.UNASKED)
        self._given.add(fields.asin)
        body = pack(text)
        self._claim(len(body.deflated))
        has_offers = fields.offersSuccessful is True
        self._cut.products.append(Product(fields.asin, fields.lastUpdate, body, has_offers))

    def _keep_member(self, value: bytes) -> None:
        """Add one of the root's own members to the text of the whole answer."""
        try:
            _validate(value)
        except (msgspec.DecodeError, RecursionError):
            raise _OddError(Oddity.NOT_JSON) from None
        _check_utf8(value)
        comma = b"," if self._packer else b""
        packer = self._packer = self._packer or Packer()
        if packer.length + len(value) > MAX_WHOLE_BYTES:
            raise _OddError(Oddity.TOO_LARGE)
        before = packer.deflated_bytes
        packer.add(b'%s"%s":' % (comma, self._name))
        packer.add(value)
        self._claim(packer.deflated_bytes - before)

    def _claim(self, size: int) -> None:
        if not self._room.take(size):
            raise _OddError(Oddity.BUSY)
        self._taken += size

    def _frame_up(self, text: bytes, at: int, end: int) -> int:
        """Hold what stands around the products, and go on behind it."""
        if self._question.is_of_products:
            self._frame.append(text[at:end])
        return end

    @staticmethod
    def _expect(
        form: re.Pattern[bytes], text: bytes, at: int, else_: Oddity = Oddity.NOT_JSON
    ) -> re.Match[bytes] | None:
        """Match a form; None: only white space is there yet."""
        match = form.match(text, at)
        if match is None and _NOT_SPACE.search(text, at):
            raise _OddError(else_)
        return match


def _check_utf8(text: bytes) -> None:
    """Look at what `msgspec` passes over: the bytes of strings."""
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            raise _OddError(Oddity.NOT_JSON) from None
