"""Products as Keepa describes them, in pieces.

Every product carries what has fooled readers of token fields: a nested object and strings with the
same names, quotes and backslashes at the end of a string, brackets in a title, other scripts.
"""

import functools
import random
from typing import Any, NamedTuple

import orjson

from gateway.simulator import catalogue
from gateway.simulator.pieces import Part, Piece

VARIANTS = 16
"""So many different products there are; an ASIN has the one its hash chooses."""
CSV_KINDS = 36
HISTORY_POINTS = 24
KEEPA_MINUTE = 7_000_000
"""A time in Keepa's minutes (since 2011), in 2024."""

DECOYS = {
    "tokensLeft": 999999,
    "parameters": {"tokensLeft": 999999, "tokensConsumed": 999999, "refillRate": 0, "refillIn": 0},
    "error": {"type": "decoy", "message": '{"tokensConsumed":999999}', "details": "\\"},
}
"""Fields inside a product that are not the answer's, whatever their names."""

NUMBERS_BYTES = 64 * 1024
PADDING_DECOY = orjson.dumps(["}]\\", '","tokensLeft":1,"', DECOYS])


class ProductOptions(NamedTuple):
    """Which optional fields of a product were asked for, and how many offers it has to show."""

    history: bool = True
    stats: bool = False
    rating: bool = False
    buybox: bool = False
    offers: int = 0


def describe_product(
    asin: str, domain: int, options: ProductOptions, padding: int = 0
) -> list[Part]:
    """Write one product object, with a history of about `padding` bytes more than usual."""
    head = b'{"asin":%s,"domainId":%d' % (orjson.dumps(asin), domain)
    rest = _write_rest(catalogue.draw("variant", asin, VARIANTS), options)
    return [head + b',"padding":', *pad(padding), rest] if padding else [head, rest]


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


@functools.lru_cache(maxsize=1024)
def _write_rest(variant: int, options: ProductOptions) -> Piece:
    """Write all of a product that does not depend on its ASIN."""
    offers = options.offers
    chance = random.Random(variant)  # noqa: S311 - made-up prices, the same on every run
    rest: dict[str, Any] = {
        "productType": 0,
        "title": f'Fön №{variant} "tokensLeft":1,"refillIn":2}}]}} \\"tokensLeft\\":1 · 漢字 🦁 \\',
        "brand": "Löwe & Söhne </script>",
        "rootCategory": 1 + variant,
        "imagesCSV": "51Lw4DnK1zL.jpg,41Qd5rG7GQL.jpg",
        "lastUpdate": KEEPA_MINUTE + variant,
        "lastRatingUpdate": KEEPA_MINUTE + variant,
        "features": ["[", "{", "}", '"', "\\", "tokensConsumed", '"tokensLeft":1'],
        "eanList": [f"{4_000_000_000_000 + variant}"],
        "packageWeight": chance.randrange(50, 5_000),
        "isAdultProduct": False,
        **DECOYS,
        "csv": _invent_csv(chance, with_rating=options.rating) if options.history else None,
    }
    if options.stats:
        rest["stats"] = _invent_stats(chance)
    if options.buybox or offers:
        rest["buyBoxSellerIdHistory"] = [str(KEEPA_MINUTE), "ATVPDKIKX0DER"]
    if offers:
        rest["offers"] = [_invent_offer(chance, place) for place in range(offers)]
        rest["liveOffersOrder"] = list(range(offers))
        rest["offersSuccessful"] = True
    return Piece(b"," + orjson.dumps(rest)[1:])


def _invent_history(chance: random.Random, values: int) -> list[int]:
    """Invent Keepa's flat list: a time in minutes, then `values` integers; -1 for out of stock."""
    history: list[int] = []
    for point in range(HISTORY_POINTS):
        history.append(KEEPA_MINUTE + point * 1440 + chance.randrange(1440))
        history += [-1 if chance.random() < 0.1 else chance.randrange(100, 99_999)] * values  # noqa: PLR2004
    return history


def _invent_csv(chance: random.Random, *, with_rating: bool) -> list[list[int] | None]:
    csv: list[list[int] | None] = [None] * CSV_KINDS
    for kind in (0, 1, 3):  # Amazon, new, sales rank
        csv[kind] = _invent_history(chance, 1)
    csv[18] = _invent_history(chance, 2)  # buy box, with its shipping
    if with_rating:
        csv[16] = [KEEPA_MINUTE, 10 + chance.randrange(40)]
        csv[17] = [KEEPA_MINUTE, chance.randrange(10_000)]
    return csv


def _invent_stats(chance: random.Random) -> dict[str, Any]:
    current = [chance.randrange(-1, 9_999) for _ in range(CSV_KINDS)]
    return {
        "current": current,
        "avg": current,
        "avg30": current,
        "min": [None if value < 0 else [KEEPA_MINUTE, value] for value in current],
        "totalOfferCount": chance.randrange(50),
    }


def _invent_offer(chance: random.Random, place: int) -> dict[str, Any]:
    return {
        "offerId": place,
        "sellerId": f"A{chance.randrange(10**12):013d}",
        "condition": 1,
        "isPrime": chance.random() < 0.5,  # noqa: PLR2004
        "isFBA": chance.random() < 0.5,  # noqa: PLR2004
        "lastSeen": KEEPA_MINUTE,
        "offerCSV": [KEEPA_MINUTE, chance.randrange(100, 99_999), 0],
    }


@functools.cache
def _make_numbers() -> Piece:
    """Make 64 KiB of `,time,price` pairs: random, so that they deflate no better than real ones."""
    chance = random.Random(0)  # noqa: S311 - made-up prices, the same on every run
    numbers = bytearray()
    while len(numbers) < NUMBERS_BYTES:
        numbers += b",%d,%d" % (KEEPA_MINUTE + len(numbers), chance.randrange(100, 99_999))
    return Piece(bytes(numbers))


@functools.cache
def _make_decoy() -> Piece:
    return Piece(b"," + PADDING_DECOY)
