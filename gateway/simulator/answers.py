"""What Keepa answers: the data of each endpoint, error envelopes, a picture."""

import functools
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from gateway.simulator import catalogue, decoys
from gateway.simulator.call import Call
from gateway.simulator.charge import Charge
from gateway.simulator.config import Oddity
from gateway.simulator.fetching import Fetched
from gateway.simulator.goods import GOODS, SHOPS
from gateway.simulator.pieces import Part, Piece
from gateway.simulator.products import ProductOptions, describe_product, title_of

Data = Mapping[str, Sequence[Part]]
"""The data of an answer: JSON values by top-level key, in parts; without the token fields."""
UNASKED = "B0UNASKED1"
LIST_MINUTE = 7_000_000
"""A time in Keepa minutes, in 2024: of all that is no product."""


class Manner(NamedTuple):
    """How an answer is given.

    Attributes:
        began: when the histories of all products end, in Keepa minutes.
        padding: bytes of product data to add: in the first product, else under a key of its own.
        decoys: whether the data has fields that are named like token fields.
        odd: what is wrong with the answer, a list of products for the most part.
    """

    began: int
    padding: int = 0
    decoys: bool = False
    odd: Oddity | None = None


def describe(call: Call, charge: Charge, manner: Manner) -> Data:
    """Describe what a call found."""
    if call.endpoint == "product" or (
        call.endpoint == "search" and call.params["type"] == "product"
    ):
        data: dict[str, Sequence[Part]] = {"products": _list_products(call, charge, manner)}
    else:
        described = DESCRIPTIONS[call.endpoint](call, charge)
        if manner.decoys:
            for found in _objects_in(described):
                decoys.hide_in(found)
        data = {key: [Piece(orjson.dumps(value))] for key, value in described.items()}
        if manner.padding:
            data["padding"] = decoys.pad(manner.padding)
    if manner.odd == "unknown_member":
        data["simUnknown"] = [b"{}"]
    return data


def describe_error(kind: str, message: str, details: str = "") -> Data:
    """Describe a failure in Keepa's shape: an object of strings."""
    return {"error": [orjson.dumps({"type": kind, "message": message, "details": details})]}


def _objects_in(described: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects that an answer lists: deals, categories, sellers."""
    found: list[dict[str, Any]] = []
    for value in described.values():
        values = value.values() if isinstance(value, dict) else [value]
        for inner in values:
            found += [
                one
                for one in (inner if isinstance(inner, list) else [inner])
                if isinstance(one, dict)
            ]
    return found


def _list_products(call: Call, charge: Charge, manner: Manner) -> list[Part]:
    domain = call.integer("domain") or 1
    options = ProductOptions(
        history=call.params.get("history") != "0",
        stats="stats" in call.params,
        rating=call.asks_for("rating"),
        buybox=call.asks_for("buybox"),
        decoys=manner.decoys,
    )
    told: list[list[Part]] = []
    for product in _make_odd(charge.products, manner.odd):
        padding = 0 if told else manner.padding
        told.append(describe_product(product, domain, options, manner.began, padding))
    if manner.odd == "null":
        told.append([b"null"])
    parts: list[Part] = [b"["]
    for place, product_parts in enumerate(told):
        if place:
            parts.append(b",")
        parts += product_parts
    return [*parts, b"]"]


def _make_odd(products: Sequence[Fetched], odd: Oddity | None) -> Sequence[Fetched]:
    """Return products as no caller expects them, where the oddity is one of the list's."""
    if not products:
        return products
    match odd:
        case "reordered":
            return products[::-1]
        case "double":
            return [*products, products[0]]
        case "unasked":
            return [*products, products[0]._replace(asin=UNASKED)]
    return products


def _describe_query(_call: Call, charge: Charge) -> dict[str, Any]:
    return {"asinList": charge.items, "totalResults": charge.total}


def _describe_sellerquery(_call: Call, charge: Charge) -> dict[str, Any]:
    return {"sellerIdList": charge.items, "totalResults": charge.total}


def _describe_deal(_call: Call, charge: Charge) -> dict[str, Any]:
    deals = [{"asin": asin, "title": title_of(asin)} for asin in charge.items]
    return {"deals": {"dr": deals, "categoryIds": [], "categoryNames": [], "categoryCount": []}}


def _describe_categories(_call: Call, charge: Charge) -> dict[str, Any]:
    categories = {
        text: {
            "catId": int(text),
            "domainId": 1,
            "name": f"{GOODS[catalogue.draw('category', text, len(GOODS))].root[0]} {text}",
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
            "lastUpdate": LIST_MINUTE,
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
        place = catalogue.draw("seller", seller, 1_000)
        sellers[seller] = {
            "domainId": 1,
            "trackedSince": LIST_MINUTE,
            "sellerId": seller,
            "sellerName": f"{SHOPS[place % len(SHOPS)]} {place}",
            "currentRating": 85 + place % 15,
            "currentRatingCount": 20 + 9 * place,
            "lastUpdate": LIST_MINUTE,
        }
        if storefront:
            sellers[seller]["asinList"] = [catalogue.name_asin(seller, n) for n in range(20)]
    return {"sellers": sellers}


def _describe_lightningdeal(_call: Call, charge: Charge) -> dict[str, Any]:
    deals = [{"asin": asin, "domainId": 1, "title": title_of(asin)} for asin in charge.items]
    return {"lightningDeals": deals}


def _describe_tracking(call: Call, charge: Charge) -> dict[str, Any]:
    if call.params["type"] == "listNames":
        return {"trackingListNames": []}
    return {"trackings": [{"asin": asin, "createDate": LIST_MINUTE} for asin in charge.items]}


def _describe_token(_call: Call, _charge: Charge) -> dict[str, Any]:
    return {}


DESCRIPTIONS: dict[str, Callable[[Call, Charge], dict[str, Any]]] = {
    "query": _describe_query,
    "sellerquery": _describe_sellerquery,
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
