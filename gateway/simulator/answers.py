"""What Keepa answers: the data of each endpoint, error envelopes, a picture."""

import functools
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.simulator import catalogue
from gateway.simulator.call import Call
from gateway.simulator.charges import Charge
from gateway.simulator.pieces import Part, Piece
from gateway.simulator.products import KEEPA_MINUTE, ProductOptions, describe_product, pad

Data = Mapping[str, Sequence[Part]]
"""The data of an answer: JSON values by top-level key, in parts; without the token fields."""


def describe(call: Call, charge: Charge, padding: int = 0) -> Data:
    """Describe what a call found.

    Args:
        call: as priced.
        charge: what it found.
        padding: bytes of product data to add: in the first product, else under a key of its own.
    """
    if call.endpoint == "product" or (
        call.endpoint == "search" and call.params["type"] == "product"
    ):
        return {"products": _list_products(call, charge.items, padding)}
    described = DESCRIPTIONS[call.endpoint](call, charge)
    data: dict[str, list[Part]] = {
        key: [Piece(orjson.dumps(value))] for key, value in described.items()
    }
    if padding:
        data["padding"] = pad(padding)
    return data


def describe_error(kind: str, message: str, details: str = "") -> Data:
    """Describe a failure in Keepa's shape: an object of strings."""
    return {"error": [orjson.dumps({"type": kind, "message": message, "details": details})]}


def _list_products(call: Call, asins: Sequence[str], padding: int) -> list[Part]:
    domain = call.integer("domain") or 1
    offers = call.integer("offers") or 0
    options = ProductOptions(
        history=call.params.get("history") != "0",
        stats="stats" in call.params,
        rating=call.asks_for("rating"),
        buybox=call.asks_for("buybox"),
    )
    parts: list[Part] = [b"["]
    for place, asin in enumerate(asins):
        if offers:
            options = options._replace(offers=min(offers, catalogue.count_offers(asin)))
        if place:
            parts.append(b",")
        parts += describe_product(asin, domain, options, padding if place == 0 else 0)
    return [*parts, b"]"]


def _describe_query(_call: Call, charge: Charge) -> dict[str, Any]:
    return {"asinList": charge.items, "totalResults": charge.total}


def _describe_deal(_call: Call, charge: Charge) -> dict[str, Any]:
    deals = [{"asin": asin, "title": "Deal ]}", "tokensLeft": 999999} for asin in charge.items]
    return {"deals": {"dr": deals, "categoryIds": [], "categoryNames": [], "categoryCount": []}}


def _describe_categories(_call: Call, charge: Charge) -> dict[str, Any]:
    categories = {
        text: {
            "catId": int(text),
            "domainId": 1,
            "name": 'Küche & "tokensLeft":1',
            "children": [],
            "parent": 0,
            "productCount": 1 + catalogue.draw("category", text, 1_000_000),
        }
        for text in charge.items
    }
    return {"categories": categories, "categoryParents": {}}


def _describe_bestsellers(call: Call, charge: Charge) -> dict[str, Any]:
    if not charge.tokens:
        return {}
    return {
        "bestSellersList": {
            "domainId": 1,
            "lastUpdate": KEEPA_MINUTE,
            "categoryId": call.params["category"],
            "asinList": charge.items,
        }
    }


def _describe_topseller(_call: Call, charge: Charge) -> dict[str, Any]:
    return {"sellerIdList": charge.items}


def _describe_seller(call: Call, charge: Charge) -> dict[str, Any]:
    storefront = call.asks_for("storefront")
    sellers: dict[str, Any] = {}
    for seller in charge.items:
        sellers[seller] = {
            "domainId": 1,
            "trackedSince": KEEPA_MINUTE,
            "sellerId": seller,
            "sellerName": "Händler \\ GmbH",
            "tokensLeft": 999999,
            "lastUpdate": KEEPA_MINUTE,
        }
        if storefront:
            sellers[seller]["asinList"] = [catalogue.name_asin(seller, n) for n in range(20)]
    return {"sellers": sellers}


def _describe_lightningdeal(_call: Call, charge: Charge) -> dict[str, Any]:
    return {"lightningDeals": [{"asin": asin, "domainId": 1} for asin in charge.items]}


def _describe_tracking(_call: Call, charge: Charge) -> dict[str, Any]:
    return {"trackings": [{"asin": asin, "createDate": KEEPA_MINUTE} for asin in charge.items]}


def _describe_token(_call: Call, _charge: Charge) -> dict[str, Any]:
    return {}


DESCRIPTIONS: dict[str, Callable[[Call, Charge], dict[str, Any]]] = {
    "query": _describe_query,
    "deal": _describe_deal,
    "search": _describe_categories,
    "category": _describe_categories,
    "bestsellers": _describe_bestsellers,
    "topseller": _describe_topseller,
    "seller": _describe_seller,
    "lightningdeal": _describe_lightningdeal,
    "tracking": _describe_tracking,
    "token": _describe_token,
}
"""What each endpoint answers, but for products (made of pieces) and `/graphimage` (a picture)."""


@functools.cache
def draw_picture() -> bytes:
    """Draw the price graph of `/graphimage`: a valid PNG of one grey pixel."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\x00\x80")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
