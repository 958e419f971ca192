"""What has fooled readers of token fields: names, quotes and brackets where none would look.

A product may carry anything: a nested object and strings with the names of the token fields, quotes
and backslashes at the end of a string, brackets in a title, other scripts. Tests ask for it.
"""

import functools
import random
from typing import Any

import orjson

from gateway.simulator.pieces import Part, Piece

FIELDS: dict[str, Any] = {
    "tokensLeft": 999999,
    "parameters": {"tokensLeft": 999999, "tokensConsumed": 999999, "refillRate": 0, "refillIn": 0},
    "error": {"type": "decoy", "message": '{"tokensConsumed":999999}', "details": "\\"},
}
"""Fields of a part of an answer that are not the answer's, whatever their names."""
NUMBERS_BYTES = 64 * 1024
PADDING_DECOY = orjson.dumps(["}]\\", '","tokensLeft":1,"', FIELDS])


def disguise(text: str) -> str:
    """Return a text with all in it that ends strings and objects, and means nothing here."""
    return f'Fön {text} "tokensLeft":1,"refillIn":2}}]}} \\"tokensLeft\\":1 · 漢字 🦁 \\'


def hide_in(found: dict[str, Any]) -> None:
    """Add decoys to an object of an answer, a product or another."""
    found |= {
        "brand": "Löwe & Söhne </script>",
        "features": ["[", "{", "}", '"', "\\", "tokensConsumed", '"tokensLeft":1'],
        **FIELDS,
    }


def pad(size: int) -> list[Part]:
    """Write a JSON array of about `size` bytes, nearly all numbers, as price histories are."""
    numbers = _make_numbers()
    chunk = len(numbers.plain) + len(_make_decoy().plain)
    rest = numbers.plain[: min(size % chunk, len(numbers.plain))]
    return [
        b"[0",
        *[numbers, _make_decoy()] * (size // chunk),
        rest[: max(0, rest.rfind(b","))],
        b"]",
    ]


@functools.cache
def _make_numbers() -> Piece:
    """Make 64 KiB of `,time,price` pairs: random, so that they deflate no better than real ones."""
    chance = random.Random(0)  # noqa: S311 - made-up prices, the same on every run
    numbers = bytearray()
    while len(numbers) < NUMBERS_BYTES:
        numbers += b",%d,%d" % (7_000_000 + len(numbers), chance.randrange(100, 99_999))
    return Piece(bytes(numbers))


@functools.cache
def _make_decoy() -> Piece:
    return Piece(b"," + PADDING_DECOY)
