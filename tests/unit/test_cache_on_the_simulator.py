"""Answers as the simulator gives them, cut: what is kept of each endpoint's, and of odd ones."""

import json

import pytest
from support.keepa.call_shapes import SHAPES

from gateway.cache.cut import Oddity, Room
from gateway.cache.questions import read_question
from gateway.cache.splitter import Splitter
from gateway.simulator.account import Account
from gateway.simulator.config import SimulatorConfig
from gateway.simulator.fields import compose
from gateway.simulator.pieces import write_plain

NOW = 1_795_347_000
ASINS = "B000000001,B000000002,B000000003"


class Keepa:
    """The simulator without its sockets."""

    def __init__(self, **config):
        self.now = NOW
        self.account = Account(SimulatorConfig(tokens=10**6, **config), lambda: self.now)

    def split(self, target, *, body=b"", odd=None, padding=0):
        """Ask, cut the answer; return it as it was, too."""
        endpoint, _, query = target.partition("?")
        question = read_question("POST" if body else "GET", endpoint, query, body)
        reply = self.account.run(endpoint, query, body, padding, odd)
        order = self.account.choose_order(None)
        fields = self.account.read_fields(reply, self.account.now_ms())
        splitter = Splitter(question, Room())
        answer = b"".join(write_plain(compose(reply.data, fields, order).parts))
        for at in range(0, len(answer), 4096):
            splitter.see_text(answer[at : at + 4096])
        return splitter.finish(is_whole=True), json.loads(answer)


SHAREABLE = [
    shape
    for shape in SHAPES
    if shape.charged
    and shape.endpoint != "graphimage"
    and read_question("POST" if shape.body else "GET", shape.endpoint, shape.query, shape.body)
]


@pytest.mark.parametrize("shape", SHAREABLE, ids=lambda shape: shape.name[:50])
def test_every_shareable_shape_is_cut(shape):
    """Whatever Keepa answers to a question of the table, it is understood, decoys and all."""
    found, answer = Keepa(decoys=True).split(f"{shape.endpoint}?{shape.query}", body=shape.body)
    assert found.oddity is None
    assert found.consumed == shape.charged
    if found.whole:
        kept = json.loads(b"{%s}" % b"".join(found.whole.unpack()))
        assert kept.keys() == answer.keys() - {name.decode() for name in found.numbers}
    else:
        kept = [json.loads(b"".join(product.body.unpack())) for product in found.products]
        assert kept == answer["products"]


def test_the_table_is_tried_widely():
    """All endpoints with a JSON answer that are shared are among those shapes."""
    assert {shape.endpoint for shape in SHAREABLE} == {
        "product", "query", "sellerquery", "deal", "search", "category", "bestsellers",
        "topseller", "seller", "lightningdeal",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("odd", "oddity"),
    [
        (None, None),
        ("reordered", None),
        ("null", Oddity.NO_PRODUCT),
        ("double", Oddity.TWICE),
        ("unasked", Oddity.UNASKED),
        ("unknown_member", Oddity.UNKNOWN_MEMBER),
    ],
)
def test_odd_answers(odd, oddity):
    """Another order is none of our business; all else that nobody expects is."""
    found, _ = Keepa().split(f"product?domain=1&asin={ASINS}", odd=odd)
    assert found.oddity is oddity
    asins = [product.asin for product in found.products]
    assert asins == ([] if oddity else ASINS.split(",")[:: -1 if odd else 1])
    whole, _ = Keepa().split("topseller?domain=1", odd=odd)
    assert whole.oddity is (oddity if odd == "unknown_member" else None)


def test_what_is_left_out_or_has_no_offers():
    """An unknown ASIN is not there; offers that could not be fetched are told by the product."""
    target = "product?domain=1&asin=B0NONE0001,B0FAIL0001,B0MAX00001&offers=20"
    found, _ = Keepa().split(target)
    told = {product.asin: product.has_offers for product in found.products}
    assert told == {"B0FAIL0001": False, "B0MAX00001": True}


def test_an_error_is_kept_by_nobody():
    """What Keepa turns down has an error, no products and a cost of 0."""
    found, answer = Keepa().split("lightningdeal?domain=1&asin=" + ASINS)
    assert found.oddity is None
    found, answer = Keepa().split("seller?domain=1&storefront=1&seller=A00000001,A00000002")
    assert answer["error"]
    assert found.oddity is Oddity.ERROR


def test_the_data_ages_as_keepa_refreshes_it():
    """With `update=24` it is as old as it was; without, Keepa fetches what is over an hour old."""
    keepa = Keepa()
    target = "product?domain=1&asin=B000000001"
    ages = []
    for hours, update in ((0, "0"), (5, "24"), (0, None), (2, "-1")):
        keepa.now += hours * 3600
        found, _ = keepa.split(target + (f"&update={update}" if update else ""))
        ages.append(found.data_age(found.products[0]))
    assert [age // 3600 for age in ages] == [0, 5, 0, 2]


def test_a_large_answer_is_cut_like_a_small_one():
    """Two megabytes of history in one product are one entry."""
    found, answer = Keepa().split("product?domain=1&asin=B000000001", padding=2_000_000)
    (product,) = found.products
    assert product.body.length > 2_000_000
    assert json.loads(b"".join(product.body.unpack())) == answer["products"][0]
