"""The simulator's answers are well-formed in every order, encoding and length."""

import gzip
import random
import zlib

import orjson
import pytest

from gateway.simulator.answers import Manner, describe, describe_error, draw_picture
from gateway.simulator.call import read_call
from gateway.simulator.charges import price
from gateway.simulator.config import ODDITIES, SimulatorConfig
from gateway.simulator.decoys import pad
from gateway.simulator.delivery import JSON, Message, accepts_gzip, cut, gather
from gateway.simulator.fields import NAMES, TokenFields, compose
from gateway.simulator.pieces import Piece, write_gzip, write_plain
from gateway.simulator.shelf import Shelf
from gateway.simulator.steering import Fault, read_steering

FIELDS = TokenFields(1_795_347_000_000, -7, 18_815, 20, 0.0, 1, 3)


NOW_MS = 1_795_347_000_000


def answer(target: str, order="first", padding=0, **manner):
    endpoint, _, query = target.partition("?")
    call = read_call(endpoint, query)
    shelf = Shelf(lambda: NOW_MS)
    told = Manner(shelf.began, padding, **manner)
    return compose(describe(call, price(call, shelf), told), FIELDS, order)


def join(parts) -> bytes:
    return b"".join(write_plain(parts))


@pytest.mark.parametrize(
    ("target", "keys"),
    [
        ("token", ()),
        ("product?asin=B000000001,B000000002", ("products",)),
        ("product?asin=B000000001&offers=20&stats=1&rating=1", ("products",)),
        ("product?code=1500150015001", ("products",)),
        ("query?selection={}", ("asinList", "totalResults")),
        ("sellerquery?selection={}", ("sellerIdList", "totalResults")),
        ("deal?selection={}", ("deals",)),
        ("search?type=product&term=MAX", ("products",)),
        ("search?type=product&term=MIN", ("products",)),
        ("search?type=category&term=x", ("categories", "categoryParents")),
        ("category?category=5", ("categories", "categoryParents")),
        ("bestsellers?category=5", ("bestSellersList",)),
        ("bestsellers?category=0", ()),
        ("topseller?", ("sellerIdList",)),
        ("seller?seller=A1,A2", ("sellers",)),
        ("seller?seller=A1&storefront=1", ("sellers",)),
        ("lightningdeal?asin=B1", ("lightningDeals",)),
        ("tracking?type=list", ("trackings",)),
        ("tracking?type=listNames", ("trackingListNames",)),
    ],
)
def test_shape(target, keys):
    """Each endpoint answers with its own keys and the seven token fields, in either order."""
    first, by_name = (
        orjson.loads(join(answer(target, order).parts)) for order in ("first", "sorted")
    )

    assert first == by_name
    assert tuple(first) == (*NAMES, *keys)
    assert tuple(by_name) == tuple(sorted((*NAMES, *keys)))
    assert tuple(first[name] for name in NAMES) == FIELDS


def test_numbers_keep_their_kinds():
    """Counts are JSON integers and the flow reduction a double, as Keepa's Java client needs."""
    text = join(answer("token").parts)

    assert text == (
        b'{"timestamp":1795347000000,"tokensLeft":-7,"refillIn":18815,"refillRate":20,'
        b'"tokenFlowReduction":0.0,"tokensConsumed":1,"processingTimeInMs":3}'
    )


def test_sorted_fields_stand_around_the_data():
    """Sorted, the fields come after a product's data and on both sides of a seller's."""
    product, seller = (
        list(orjson.loads(join(answer(target, "sorted").parts)))
        for target in ("product?asin=B1", "seller?seller=A1")
    )

    assert product.index("products") == 1
    assert seller[:4] == ["processingTimeInMs", "refillIn", "refillRate", "sellers"]


def test_decoys():
    """A product may carry objects and strings that are named like token fields, and are not."""
    text = join(answer("product?asin=B1", decoys=True).parts)
    product = orjson.loads(text)["products"][0]

    assert b'"tokensLeft": 999999' in text or b'"tokensLeft":999999' in text
    assert rb"\"tokensLeft\":1" in text
    assert product["tokensLeft"] == product["parameters"]["tokensLeft"] == 999_999
    assert all(isinstance(value, int) for value in product["csv"][0])


TELLING = (
    "product?asin=B1&stats=1&offers=20", "deal?selection={}", "seller?seller=A1",
    "category?category=5", "lightningdeal?asin=B1", "search?type=product&term=MAX",
)  # fmt: skip


@pytest.mark.parametrize("target", TELLING)
@pytest.mark.parametrize("has_decoys", [False, True])
def test_decoys_are_a_choice(target, has_decoys):
    """No answer has a name of a token field below the root, unless decoys are asked for."""
    plain = join(answer(target, decoys=has_decoys).parts)

    assert (plain.count(b"tokensLeft") > 1) is has_decoys
    assert (plain.count(b"refillRate") > 1) is has_decoys


PLAIN = ",".join(f"B{n:09d}" for n in range(100))


def list_products(options="", asins=PLAIN, **manner):
    return orjson.loads(join(answer(f"product?asin={asins}{options}", **manner).parts))["products"]


def test_products_are_plausible():
    """Titles, prices, ratings and sales ranks are such as real products have."""
    products = list_products("&stats=30&rating=1&offers=20")

    assert len({product["title"] for product in products}) > 40
    for product in products:
        assert 15 < len(product["title"]) < 80
        assert product["title"].startswith(product["brand"])
        current = product["stats"]["current"]
        assert all(600 < price < 15_000 for price in product["csv"][1][1::2])
        assert 50 < current[3] < 100_000
        assert 30 <= current[16] <= 50
        assert current[17] >= 40
        assert product["stats"]["min"][1][1] <= current[1] <= product["stats"]["max"][1][1]
        assert current[4] > current[1]
        assert current[0] == -1 or abs(current[0] - current[1]) <= 150
        assert product["categoryTree"][0]["catId"] == product["rootCategory"]
        for offer in product.get("offers", ()):
            assert 400 < offer["offerCSV"][1] < 20_000


def test_times_of_a_product_agree():
    """A history goes forward, and ends before the product was last looked at."""
    began = NOW_MS // 60_000 - 21_564_000
    for product in list_products("&update=-1"):
        minutes = product["csv"][1][::2]
        assert minutes == sorted(set(minutes))
        assert product["lastPriceChange"] == minutes[-1] <= product["lastUpdate"] <= began
        assert began - 5 * 60 <= product["lastUpdate"]


def test_history_and_stats_only_where_asked_for():
    """`history=0` leaves null, `stats` and `offers` add theirs, with the times of them."""
    [bare], [full], [failed] = (
        list_products(options, asins)
        for options, asins in (
            ("&history=0", "B000000001"),
            ("&stats=1&offers=20", "B0MAX00001"),
            ("&stats=1&offers=20", "B0FAIL0001"),
        )
    )

    assert bare["csv"] is None
    assert "stats" not in bare
    assert "offers" not in bare
    assert bare["offersSuccessful"] is False
    assert full["offersSuccessful"] is True
    assert len(full["offers"]) == 20
    assert full["stats"]["lastOffersUpdate"] == full["lastUpdate"]
    assert full["lastStockUpdate"] < full["lastUpdate"]
    assert failed["offersSuccessful"] is False
    assert "offers" not in failed


@pytest.mark.parametrize(
    ("asin", "kind"), [("B000000001", 0), ("B0SHUT0001", 3), ("B0GONE0001", 4), ("B0PARE0001", 5)]
)
def test_product_types(asin, kind):
    """What is not accessible, or no product, has a type that says so, and nothing to tell."""
    [product] = list_products("&stats=1", asin)

    assert product["productType"] == kind
    assert (product["csv"] is None) is (kind != 0)
    assert (product["title"] is None) is (kind in {3, 4})


def test_odd_answers():
    """Products may come in another order, twice, with what nobody asked for or that is none."""
    asked = ["B000000001", "B000000002", "B000000003"]
    found = {
        odd: orjson.loads(join(answer(f"product?asin={','.join(asked)}", odd=odd).parts))
        for odd in (None, *ODDITIES)
    }
    asins = {
        odd: [product and product["asin"] for product in told["products"]]
        for odd, told in found.items()
    }

    assert asins == {
        None: asked,
        "reordered": asked[::-1],
        "null": [*asked, None],
        "double": [*asked, asked[0]],
        "unasked": [*asked, "B0UNASKED1"],
        "unknown_member": asked,
    }
    assert found["unknown_member"].keys() - found[None].keys() == {"simUnknown"}
    assert "simUnknown" in orjson.loads(join(answer("topseller?", odd="unknown_member").parts))
    assert (
        orjson.loads(join(answer("product?asin=B0NONE0001", odd="double").parts))["products"] == []
    )


def test_error_envelope():
    """An error is an object of strings beside the token fields."""
    parts = compose(describe_error("a", "b"), FIELDS, "sorted").parts

    assert orjson.loads(join(parts))["error"] == {"type": "a", "message": "b", "details": ""}


@pytest.mark.parametrize("asin", ['B"0\\', "Bé", "%ed%a0%80", "\udcff", "%00", "B0%a"])
def test_strange_names(asin):
    """Whatever is asked for comes back as JSON."""
    assert orjson.loads(join(answer(f"product?asin={asin}").parts))["products"][0]["asin"]


@pytest.mark.parametrize("size", [1, 10, 500, 65_535, 65_540, 66_000, 140_000, 5_000_000])
def test_padding(size):
    """An answer is padded to about the size asked for, whatever the size, and stays JSON."""
    text = join(pad(size))

    assert abs(len(text) - size) < 700
    assert orjson.loads(text)[0] == 0
    assert orjson.loads(join(answer("product?asin=B1", "first", size).parts))
    assert orjson.loads(join(answer("topseller?", "sorted", size).parts))


@pytest.mark.parametrize("sizes", [(), (0,), (5,), (65_535,), (65_536,), (200_000, 3), (0, 7, 0)])
def test_gzip(sizes):
    """Parts that are kept and parts that are not make one gzip member that any reader unpacks."""
    chance = random.Random(1)
    plain = [chance.randbytes(size) for size in sizes]
    parts = [part for text in plain for part in (text, Piece(text), Piece(text))]

    packed = b"".join(write_gzip(parts))

    assert gzip.decompress(packed) == join(parts)
    reader = zlib.decompressobj(wbits=31)
    assert reader.decompress(packed) == join(parts)
    assert reader.eof
    assert not reader.unused_data


@pytest.mark.parametrize("order", ["first", "sorted"])
@pytest.mark.parametrize(
    "target", ["product?asin=B1", "seller?seller=A1", "token", "product?asin=" + "B1," * 99]
)
@pytest.mark.parametrize(
    ("fault", "with_fields"), [(Fault.CUT_BODY_EARLY, False), (Fault.CUT_BODY_LATE, True)]
)
def test_cuts(order, target, fault, with_fields):
    """An early cut lacks `tokensConsumed`, a late one only the last byte; neither is the whole."""
    body = answer(target, order)
    message = Message(200, JSON, body.parts, body.fields_at)

    kept, whole = join(cut(message, fault)), join(body.parts)

    assert whole.startswith(kept)
    assert 0 < len(kept) < len(whole)
    assert (b'"tokensConsumed":1,' in kept) is with_fields


def test_cut_in_the_middle():
    """A plain cut leaves half of the body."""
    body = answer("product?asin=B1,B2,B3")
    message = Message(200, JSON, body.parts, body.fields_at)

    assert len(join(cut(message, Fault.CUT_BODY))) == len(join(body.parts)) // 2
    assert cut(Message(502, JSON, []), Fault.CUT_BODY) == []


def test_gather_joins_small_blocks_only():
    """Small blocks go out together, large ones as they are, and none is lost."""
    blocks = [b"a" * 10] * 20_000

    gathered = list(gather(blocks))

    assert b"".join(gathered) == b"".join(blocks)
    assert len(gathered) == 4


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("zstd, gzip, deflate", True),
        ("br;q=1.0, gzip;q=0.8", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("gzip;q=x", False),
        ("*", True),
        ("*;q=0", False),
        ("x-gzip", True),
        ("identity", False),
        ("deflate, br", False),
    ],
)
def test_accept_encoding(header, accepted):
    """Gzip is used only for those who accept it."""
    assert accepts_gzip(header) is accepted


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Sim-Fault": "gremlins"},
        {"X-Sim-Order": "last"},
        {"X-Sim-Odd": "sideways"},
        {"X-Sim-Latency-Ms": "soon"},
        {"X-Sim-Latency-Ms": "-1"},
        {"X-Sim-Bytes": "nan"},
        {"X-Sim-Bytes": "99999999999999"},
        {"X-Sim-Slow-Seconds": "601"},
    ],
)
def test_impossible_steering(headers):
    """A header that asks for what there is not is refused, lest a misspelt test pass."""
    with pytest.raises(ValueError):
        read_steering(headers)


@pytest.mark.parametrize(
    "wrong",
    [
        {"refill_rate": -1},
        {"flow_reduction": -0.5},
        {"flow_reduction": float("nan")},
        {"first_lump_in_ms": -1},
        {"field_order": "last"},
        {"latency_seconds": -1.0},
        {"fault_rate": 1.5},
        {"odd": "sideways"},
    ],
)
def test_impossible_configuration(wrong):
    """An account that there cannot be is refused, by the name of what is wrong."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SimulatorConfig(**wrong)


def test_picture():
    """The picture is a valid PNG: each chunk has its checksum, and the pixels unpack."""
    png = draw_picture()

    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(png):
        size = int.from_bytes(png[at : at + 4])
        name, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert int.from_bytes(png[at + 8 + size : at + 12 + size]) == zlib.crc32(name + data)
        chunks[name] = data
        at += 12 + size
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    assert len(zlib.decompress(chunks[b"IDAT"])) == 2
