"""The one real key, and every spelling in which an answer might repeat it."""

import re
from typing import Final
from urllib.parse import quote

_SECRET_CHARS_AT_LEAST: Final = 6
# So many characters of the key are looked for as its beginning; no spelling of one is longer.
_BEGINNING: Final = 3
_SPELLING_BYTES: Final = 20
# A text has few backslashes, or else it is searched at once.
_FEW_BACKSLASHES: Final = 64
_JSON_ESCAPES: Final = {
    '"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r",
    "\t": "\\t",
}  # fmt: skip
_HTML_NAMES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
# What no encoder has to touch (RFC 3986, 2.3, less what HTML or JSON might).
_PLAIN: Final = re.compile(r"[A-Za-z0-9]+")


def encode_key(key: str) -> str:
    """Return the key as it stands in a query or form."""
    return quote(key, safe="")


class RealKey:
    """The one real key.

    Each of its characters may stand in an answer as it is, percent-encoded (twice, too), or escaped
    as JSON and HTML do: an error page repeats our URL, and nobody knows how.

    Attributes:
        encoded: As it stands in a query or form.
        is_secret: Whether it must not be shown. One as short as a word (Keepa's have 64 characters,
            a simulator takes any) would spoil answers that merely contain it.
    """

    def __init__(self, text: str) -> None:
        self.encoded = encode_key(text)
        self.is_secret = len(text) >= _SECRET_CHARS_AT_LEAST
        spellings = [_spell(character) for character in text]
        self._spellings = spellings
        # Where it may begin: its first characters, or at a text's very end the first byte.
        self._begun = re.compile(b"".join(map(_any_case, spellings[:_BEGINNING])))
        self._first = re.compile(_any_case([each[:1] for each in spellings[0]]))
        self._letters = [re.compile(_any_case(each)) for each in spellings]
        self._pattern = re.compile(b"".join(map(_in_own_case, spellings)))
        # Hardly any text contains the key's longest plain part, or any of that part's characters
        # in an encoding that it does not need: both are soon seen.
        plain = max(_PLAIN.findall(text), key=len, default="")
        self._plain_part = plain.encode()
        codes = _either_case("|".join(f"{ord(character):02x}" for character in sorted(set(plain))))
        # Two patterns, each of which begins with bytes that are its own: found as fast as such.
        self._in_url = re.compile(f"%(?:25)?(?:{codes})".encode())
        self._in_json = re.compile(rf"\\u00(?:{codes})".encode())
        self._longest = sum(max(map(len, each)) for each in spellings)

    def is_in(self, text: bytes) -> bool:
        """Say whether a text shows the key, in any spelling."""
        if not self.is_secret:
            return False
        if self._plain_part not in text:
            is_encoded = b"%" in text and self._in_url.search(text)
            if not is_encoded and not self._is_escaped_in(text):
                return False
        return self._pattern.search(text) is not None

    def is_plainly_in(self, text: bytes) -> bool:
        """Say whether bytes that are no text (compressed ones) show the key's longest plain part.

        Of a key without a long one this says nothing.
        """
        part = self._plain_part
        return self.is_secret and len(part) >= _SECRET_CHARS_AT_LEAST and part in text

    def hide_in(self, text: bytes) -> bytes:
        """Return the text with the key starred out; same length, the same object without it."""
        if not self.is_in(text):
            return text
        return self._pattern.sub(lambda match: b"*" * len(match[0]), text)

    def open_at_end(self, text: bytes) -> int:
        """Return how many bytes at the end of a text may be the beginning of the key."""
        if not self.is_secret:
            return 0
        if not text:
            return 0
        end = max(0, len(text) - _BEGINNING * _SPELLING_BYTES)
        longest = max(0, len(text) - self._longest + 1)
        for pattern, start in ((self._begun, longest), (self._first, max(longest, end))):
            for match in pattern.finditer(text, start):
                if self._is_open_from(text, match.start()):
                    return len(text) - match.start()
        return 0

    def _is_escaped_in(self, text: bytes) -> bool:
        """Say whether a character of the plain part is escaped as JSON can, and nobody does."""
        at = -1
        for _ in range(_FEW_BACKSLASHES):
            at = text.find(b"\\", at + 1)
            if at < 0:
                return False
            if text.startswith(b"\\u", at):
                break
        return self._in_json.search(text, at) is not None

    def _is_open_from(self, text: bytes, at: int) -> bool:
        for letter, spellings in zip(self._letters, self._spellings, strict=True):
            if len(text) - at < len(spellings[0]):
                rest = text[at:].lower()
                if any(spelling.lower().startswith(rest) for spelling in spellings):
                    return True
            match = letter.match(text, at)
            if match is None:
                return False
            at = match.end()
        return False


class KeyWatch:
    """Looks for the key in a text that comes in pieces.

    Attributes:
        is_found: Whether the text has shown it so far.
    """

    def __init__(self, key: RealKey) -> None:
        self.is_found = False
        self._key = key
        self._end = b""

    @property
    def open_bytes(self) -> int:
        """How many bytes at the end of the text so far may be the key's beginning."""
        return len(self._end)

    def see(self, piece: bytes) -> None:
        """Look through the next piece."""
        text = self._end + piece if self._end else piece
        if self._key.is_in(text):
            self.is_found = True
        open_bytes = self._key.open_at_end(text)
        self._end = text[len(text) - open_bytes :] if open_bytes else b""


def _spell(character: str) -> list[bytes]:
    """Return the spellings of one character, the longest first; hexadecimal digits in any case."""
    raw = character.encode()
    units = character.encode("utf-16-be")
    percent = "".join(f"%{byte:02x}" for byte in raw)
    spellings = {
        character,
        percent,
        percent.replace("%", "%25"),
        "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)),
        _JSON_ESCAPES.get(character, character),
    }
    if not _PLAIN.fullmatch(character):
        spellings |= {f"&#{ord(character)};", f"&#x{ord(character):x};"}
        spellings |= {f"&#0{ord(character)};", _HTML_NAMES.get(character, character)}
    if character == " ":
        spellings.add("+")
    return sorted((spelling.encode() for spelling in spellings), key=len, reverse=True)


def _either_case(codes: str) -> str:
    return re.sub("[a-f]", lambda letter: f"[{letter[0]}{letter[0].upper()}]", codes)


def _any_case(spellings: list[bytes]) -> bytes:
    return b"(?i:%s)" % b"|".join(map(re.escape, spellings))


def _in_own_case(spellings: list[bytes]) -> bytes:
    """Return a pattern for a character's spellings: in an escape letters have no case."""
    return b"(?:%s)" % b"|".join(
        re.escape(each) if len(each) == 1 else b"(?i:%s)" % re.escape(each) for each in spellings
    )
