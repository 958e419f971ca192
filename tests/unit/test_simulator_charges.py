"""How the simulator charges, beside the shapes of calls in test_call_shapes.py."""

import gzip
from urllib.parse import quote

import orjson
import pytest

from gateway.simulator.call import RejectedCallError, read_call
from gateway.simulator.charge import Charge
from gateway.simulator.charges import price
from gateway.simulator.checks import check
from gateway.simulator.pictures import Pictures
from gateway.simulator.shelf import Shelf

MANY = ",".join(f"B0{n:08d}" for n in range(100))
SELLERS = ",".join(f"A{n:013d}" for n in range(100))
NOW_MS = 1_795_347_000_000
HOUR_MS = 3_600_000


class Keepa:
    """A shelf, and what calls do to it."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.shelf = Shelf(lambda: self.now_ms)

    def ask(self, target: str) -> Charge:
        endpoint, _, query = target.partition("?")
        charge = price(read_call(endpoint, query), self.shelf)
        for product in charge.products:
            self.shelf.put(1, product.asin, product.copy)
        return charge


def cost(target: str, body: bytes = b"") -> int:
    endpoint, _, query = target.partition("?")
    return price(read_call(endpoint, query, body), Shelf(lambda: NOW_MS)).tokens


def selection(**fields) -> str:
    return quote(orjson.dumps(fields).decode())


@pytest.mark.parametrize(
    ("target", "body", "tokens"),
    [
        ("product?key=k", gzip.compress(b"asin=B0MAX00001", mtime=0), 1),
        ("query?key=k", b' {"simMatches":1000000,"perPage":1000}', 20),
        ("deal?key=k&", gzip.compress(b'{"page":0}', mtime=0), 5),
    ],
)
def test_charge_of_a_post(target, body, tokens):
    """A form is read as a query is, JSON is known by its look, and either may be packed."""
    assert cost(target, body) == tokens


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("product?", 400),
        ("product?asin=", 400),
        ("product?asin=B000000001&code=1", 400),
        ("product?asin=B000000001&domain=com", 400),
        ("product?asin=B000000001&offers=many", 400),
        ("product?asin=B000000001&offers=2_0", 400),
        ("product?asin=B000000001&update=now", 400),
        ("product?asin=B000000001&offers=19", 405),
        ("product?asin=B000000001&offers=101", 405),
        ("product?code=1&code-limit=0", 405),
        (f"product?asin={MANY},B0MAX00001", 405),
        ("query?", 400),
        ("query?selection=%7B", 400),
        ("query?selection=%5B%5D", 400),
        (f"query?selection={selection(perPage='many')}", 400),
        (f"query?selection={selection(perPage=True)}", 400),
        (f"query?selection={selection(perPage=10_001)}", 405),
        (f"query?selection={selection(page=-1)}", 405),
        ("deal?selection=x", 400),
        ("search?type=product", 400),
        ("search?term=x", 400),
        ("category?", 400),
        ("category?category=books", 400),
        ("category?category=1,2,3,4,5,6,7,8,9,10,11", 405),
        ("bestsellers?", 400),
        ("seller?", 400),
        (f"seller?seller={SELLERS},A1", 405),
        ("seller?seller=A1,A2&storefront=1", 405),
        (f"lightningdeal?asin={MANY},B0MAX00001", 405),
        ("graphimage?", 400),
        ("tracking?", 400),
        ("tracking?type=add", 400),
        ("tracking?type=listnames", 400),
        ("sellerquery?", 400),
        (f"sellerquery?selection={selection(perPage=10_001)}", 405),
        ("tracking?type=add&tracking=%5B%5D", 400),
        (f"tracking?type=add&tracking={quote(str([{}] * 2))}", 400),
        ("elsewhere?", 404),
    ],
)
def test_rejection(target, status):
    """A malformed call is a 400 and one beyond Keepa's limits a 405, so that neither costs."""
    with pytest.raises(RejectedCallError) as rejection:
        cost(target)

    assert rejection.value.status == status


def test_more_trackings_than_keepa_takes():
    """Three thousand trackings can be added at once, and no more."""
    with pytest.raises(RejectedCallError, match="3000"):
        cost("tracking?type=add", orjson.dumps([{"asin": "B000000001"}] * 3001))


@pytest.mark.parametrize(
    ("options", "least", "worst"),
    [
        ("", 1, 1),
        ("offers=100", 5, 60),
        ("offers=20&stock=1", 5, 14),
        ("rating=1", 1, 2),
        ("update=0", 1, 2),
        ("historical-variations=1", 2, 2),
    ],
)
def test_ordinary_products_cost_between_the_least_and_the_worst(options, least, worst):
    """Where Keepa may charge less than the worst case some products do, and none costs more."""
    costs = {cost(f"product?asin=B0{n:08d}&{options}") for n in range(200)}

    assert (min(costs), max(costs)) == (least, worst)


def test_codes_have_no_bound_of_their_own():
    """A code matches one to five products, each charged with its options; the same each time."""
    costs = [cost(f"product?code={n}&buybox=1") for n in range(100)]

    assert set(costs) == {3, 6, 9, 12, 15}
    assert costs == [cost(f"product?code={n}&buybox=1") for n in range(100)]
    assert all(cost(f"product?code={n}&code-limit=2") <= 2 for n in range(100))


def test_finder_matches_depend_on_the_question_only():
    """The pages of one finder question tell the same total; the page is no part of the question."""
    totals = {
        price(
            read_call("query", f"selection={selection(title='x', page=page, perPage=per_page)}"),
            Shelf(lambda: NOW_MS),
        ).total
        for page in range(3)
        for per_page in (50, 100)
    }

    assert len(totals) == 1


def test_pictures_are_free_for_ninety_minutes():
    """A picture is kept for 90 minutes since it was last asked for."""
    pictures, minute = Pictures(), 60_000

    assert not pictures.is_kept("p", 0)
    pictures.keep("p", 0)
    assert pictures.is_kept("p", 90 * minute)
    assert not pictures.is_kept("p", 90 * minute + 1)
    assert not pictures.is_kept("q", 0)
    pictures.keep("p", 90 * minute)
    assert pictures.is_kept("p", 180 * minute)


def test_pictures_differ_by_anything_but_the_key():
    """The same picture asked with another key is the same; another width is another picture."""
    one, same, other = (
        price(read_call("graphimage", query), Shelf(lambda: NOW_MS)).items
        for query in ("key=a&asin=B1&width=5", "width=5&asin=B1&key=b", "key=a&asin=B1&width=6")
    )

    assert one == same != other


def test_copies_age_and_are_refreshed():
    """A copy is fetched anew when it is older than `update` allows; 0: always, -1: never."""
    keepa = Keepa()

    def ask(update):
        product = keepa.ask(f"product?asin=B0MIN00001{update}").products[0]
        return product.copy.updated - keepa.shelf.began

    assert ask("&update=-1") == 0
    keepa.now_ms += HOUR_MS
    assert ask("") == 0  # an hour is not older than an hour
    keepa.now_ms += HOUR_MS // 2
    assert ask("&update=2") == 0
    assert ask("&update=-1") == 0
    assert ask("") == 90
    keepa.now_ms += HOUR_MS // 2
    assert ask("") == 90
    assert ask("&update=0") == 120


def test_an_update_of_what_is_young_costs_one():
    """`update=0` is charged for a copy younger than an hour, as this one is after the first."""
    keepa = Keepa()
    asin = next(
        asin for asin in MANY.split(",")
        if keepa.shelf.began - keepa.shelf.look(1, asin).updated > 60
    )  # fmt: skip

    costs = [keepa.ask(f"product?asin={asin}&update=0").tokens for _ in range(2)]
    keepa.now_ms += HOUR_MS
    costs.append(keepa.ask(f"product?asin={asin}&update=0").tokens)

    assert costs == [1, 2, 1]


def test_offers_that_keepa_has_cost_five():
    """Offers are fetched live unless `update` allows those that were fetched before."""
    keepa = Keepa()
    asin = next(asin for asin in MANY.split(",") if keepa.ask(f"product?asin={asin}&offers=100"))
    keepa.now_ms += HOUR_MS
    live = cost(f"product?asin={asin}&offers=100")

    assert keepa.ask(f"product?asin={asin}&offers=100&update=1").tokens == 5
    assert keepa.ask(f"product?asin={asin}&offers=100").tokens == live
    keepa.now_ms += 2 * HOUR_MS
    assert keepa.ask(f"product?asin={asin}&offers=100&update=1").tokens == live
    assert live > 5


def test_a_stock_is_collected_once_a_week():
    """The stock's 2 tokens are charged where the last is older than seven days."""
    keepa = Keepa()
    target = "product?asin=B000000000&offers=20"
    began = keepa.ask(target).tokens
    keepa.now_ms += 15 * 24 * HOUR_MS
    costs = [keepa.ask(f"{target}&stock=1").tokens for _ in range(2)]

    assert costs == [began + 2, began]


def test_each_answer_counts():
    """A product says in how many answers it has been, of each domain for itself."""
    keepa = Keepa()

    assert [keepa.ask("product?asin=B000000001").products[0].copy.served for _ in range(3)] == [
        1, 2, 3
    ]  # fmt: skip
    assert keepa.shelf.look(3, "B000000001").served == 0


def test_what_nobody_has_is_left_out():
    """An ASIN that Keepa does not find is not answered, and free where it does not look."""
    keepa = Keepa()
    found = keepa.ask("product?asin=B0NONE0001,B000000001&update=-1")

    assert [product.asin for product in found.products] == ["B000000001"]
    assert found.tokens == 1
    assert keepa.ask("product?asin=B0NONE0001").tokens == 1


@pytest.mark.parametrize(
    ("target", "served"),
    [
        ("product?domain=1&asin=B000000001,NOTANASIN,B0000000021", "B000000001"),
        ("product?domain=1&asin=b000000001,B000000002", "B000000002"),
        ("lightningdeal?domain=1&asin=X,B000000001", "B000000001"),
        ("product?domain=12&asin=B000000001", "B000000001"),
        ("deal?selection=%7B%7D", ""),
        ("tracking?type=list", ""),
        ("token?", ""),
    ],
)
def test_what_is_none_is_left_out(target, served):
    """Of a batch the ASINs that are none are not served; deals and trackings need no domain."""
    endpoint, _, query = target.partition("?")

    assert check(read_call(endpoint, query)).params.get("asin", "") == served


@pytest.mark.parametrize(
    ("target", "status", "named"),
    [
        ("product?domain=1&asin=NOTANASIN", 400, "asin"),
        ("graphimage?domain=1&asin=B1", 400, "asin"),
        *(
            (f"{endpoint}?asin=B000000001", 400, "domain")
            for endpoint in ("product", "query", "sellerquery", "search", "category",
                             "bestsellers", "topseller", "seller", "lightningdeal", "graphimage")
        ),
        ("product?domain=&asin=B000000001", 400, "domain"),
        ("product?domain=0&asin=B000000001", 405, "domain"),
        ("product?domain=13&asin=B000000001", 405, "domain"),
    ],
)  # fmt: skip
def test_a_call_of_nothing(target, status, named):
    """A call without a domain, or without any ASIN that is one, is turned down by name."""
    endpoint, _, query = target.partition("?")
    with pytest.raises(RejectedCallError) as rejection:
        check(read_call(endpoint, query))

    assert (rejection.value.status, rejection.value.details) == (status, named)
