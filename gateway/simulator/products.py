"""Products as Keepa describes them, in pieces.

All that depends on an ASIN's copy (times, a counter) is written for each answer; the rest, which
depends on what was asked for, is kept. Fields that begin with `sim` are the simulator's own.
"""

import functools
import random
from typing import Any, NamedTuple

import orjson

from gateway.simulator import catalogue, decoys
from gateway.simulator.fetching import Fetched
from gateway.simulator.goods import BRANDS, COLOURS, GOODS, Good
from gateway.simulator.pieces import Part, Piece
from gateway.simulator.prices import Histories, invent_histories, sum_up

VARIANTS = 96
"""So many different products there are; an ASIN has the one its hash chooses."""


class ProductOptions(NamedTuple):
    """Which optional fields of a product were asked for, and how many offers it has to show."""

    history: bool = True
    stats: bool = False
    rating: bool = False
    buybox: bool = False
    offers: int = 0
    decoys: bool = False


def describe_product(
    product: Fetched, domain: int, options: ProductOptions, began: int, padding: int = 0
) -> list[Part]:
    """Write one product object, with a history of about `padding` bytes more than usual.

    Args:
        product: as it was fetched.
        domain: of the call.
        options: of the call.
        began: when the histories of all products end, in Keepa minutes.
        padding: in bytes.
    """
    copy, kind = product.copy, catalogue.find_product_type(product.asin)
    variant = catalogue.draw("variant", product.asin, VARIANTS)
    options = options._replace(offers=product.offers)
    head = b'{"asin":%s,"domainId":%d,"productType":%d,"title":%s' % (
        orjson.dumps(product.asin),
        domain,
        kind,
        _write_title(variant, options.decoys) if kind in {0, 5} else b"null",
    )
    times = b',"lastUpdate":%d,"lastRatingUpdate":%d,"simAnswers":%d,"offersSuccessful":%s' % (
        copy.updated,
        copy.rating_updated,
        copy.served,
        b"true" if product.has_offers else b"false",
    )
    if product.has_offers:
        times += b',"lastStockUpdate":%d' % copy.stock_updated
    parts: list[Part] = [head + times]
    if options.stats and kind == 0:
        newest = copy.offers_updated or copy.updated
        stats = b',"stats":{"lastOffersUpdate":%d,"lastBuyBoxUpdate":%d' % (newest, newest)
        parts += [stats, _write_stats(variant, began)]
    if padding:
        parts += [b',"padding":', *decoys.pad(padding)]
    return [*parts, _write_rest(variant, options, began) if kind == 0 else NOTHING_MORE]


NOTHING_MORE = Piece(b',"csv":null}')
"""Of what is not accessible, or is no product, Keepa tells hardly more than that."""


def describe_variant(variant: int) -> tuple[Good, str, str]:
    """Return a variant's kind, brand and whole title."""
    good = GOODS[variant % len(GOODS)]
    brand = BRANDS[variant % len(BRANDS)]
    return good, brand, f"{brand} {good.what}, {COLOURS[variant // len(GOODS)]}"


def title_of(asin: str) -> str:
    """Return a product's title."""
    return describe_variant(catalogue.draw("variant", asin, VARIANTS))[2]


@functools.cache
def _write_title(variant: int, has_decoys: bool) -> bytes:
    _, _, title = describe_variant(variant)
    return orjson.dumps(decoys.disguise(title) if has_decoys else title)


@functools.lru_cache(maxsize=VARIANTS)
def _histories(variant: int, began: int) -> Histories:
    return invent_histories(GOODS[variant % len(GOODS)], random.Random(variant), began)  # noqa: S311 - the same on every run


@functools.lru_cache(maxsize=VARIANTS)
def _write_stats(variant: int, began: int) -> Piece:
    """Write what stands in `stats` behind its times, which ends it."""
    return Piece(b"," + orjson.dumps(sum_up(_histories(variant, began)))[1:])


@functools.lru_cache(maxsize=1024)
def _write_rest(variant: int, options: ProductOptions, began: int) -> Piece:
    """Write all of a product that depends neither on its ASIN nor on its copy."""
    good, brand, _ = describe_variant(variant)
    histories = _histories(variant, began)
    root, root_id = good.root
    rest: dict[str, Any] = {
        "brand": brand,
        "manufacturer": brand,
        "productGroup": good.group,
        "rootCategory": root_id,
        "categoryTree": [{"catId": root_id, "name": root}],
        "imagesCSV": f"{variant:02d}Lw4DnK1zL.jpg,{variant:02d}Qd5rG7GQL.jpg",
        "lastPriceChange": histories.last_change,
        "trackingSince": histories.first_change,
        "features": [f"{brand} quality", good.what],
        "eanList": [f"{4_006_381_000_000 + variant}"],
        "packageWeight": 200 + 37 * variant,
        "isAdultProduct": False,
        "salesRankReference": root_id,
    }
    if options.decoys:
        decoys.hide_in(rest)
    rest["csv"] = histories.as_csv(with_rating=options.rating) if options.history else None
    if options.buybox or options.offers:
        rest["buyBoxSellerIdHistory"] = [str(histories.last_change), "ATVPDKIKX0DER"]
    if options.offers:
        rest["offers"] = [histories.offer(place) for place in range(options.offers)]
        rest["liveOffersOrder"] = list(range(options.offers))
    return Piece(b"," + orjson.dumps(rest)[1:])
