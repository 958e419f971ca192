"""The simulator charges what the table in the project's page on Keepa says, row by row."""

import gzip
from urllib.parse import quote

import orjson
import pytest

from gateway.simulator.call import RejectedCallError, read_call
from gateway.simulator.catalogue import CODE_WITH_MANY_PRODUCTS
from gateway.simulator.charges import price
from gateway.simulator.pictures import Pictures

MANY = ",".join(f"B0{n:08d}" for n in range(100))
SELLERS = ",".join(f"A{n:013d}" for n in range(100))


def cost(target: str, body: bytes = b"") -> int:
    endpoint, _, query = target.partition("?")
    return price(read_call(endpoint, query, body)).tokens


def selection(**fields) -> str:
    return quote(orjson.dumps(fields).decode())


@pytest.mark.parametrize(
    ("target", "tokens"),
    [
        # /product: 1 for each
        ("product?asin=B0MAX00001", 1),
        ("product?asin=B0MAX00001,B0MAX00002", 2),
        ("product?asin=B0MAX00001%2CB0MAX00002", 2),
        ("product?asin=B0MAX00001,,B0MAX00002,", 2),
        ("product?asin=B0MAX00001,B0MAX00001", 2),
        (f"product?asin={MANY}", 100),
        # offers in place of it: 6 for each page that there is
        ("product?asin=B0MAX00001&offers=20", 12),
        ("product?asin=B0MAX00001&offers=21", 18),
        ("product?asin=B0MAX00001&offers=100", 60),
        ("product?asin=B0MIN00001&offers=100", 6),
        ("product?asin=B0MAX00001,B0MIN00001&offers=40", 24 + 6),
        ("product?asin=B0MAX00001&offers=20&buybox=1", 12),
        ("product?asin=B0MAX00001&offers=20&stock=1", 14),
        ("product?asin=B0MAX00001,B0MAX00002&offers=20&stock=1", 28),
        ("product?asin=B0MAX00001&stock=1", 1),
        ("product?asin=B0MAX00001&stock=0&offers=20", 12),
        # the other options
        ("product?asin=B0MAX00001&buybox=1", 3),
        ("product?asin=B0MAX00001&buybox=0", 1),
        ("product?asin=B0MAX00001&rating=1", 2),
        ("product?asin=B0MIN00001&rating=1", 1),
        ("product?asin=B0MAX00001&update=0", 2),
        ("product?asin=B0MIN00001&update=0", 1),
        ("product?asin=B0MAX00001&update=-1", 1),
        ("product?asin=B0MAX00001&update=48", 1),
        ("product?asin=B0MAX00001&historical-variations=1", 2),
        ("product?asin=B0MAX00001&buybox=1&rating=1&update=0&historical-variations=1", 6),
        (
            "product?asin=B0MAX00001&offers=100&stock=1&rating=1&update=0&historical-variations=1",
            65,
        ),
        (
            "product?asin=B0MAX00001&stats=180&history=1&days=90&videos=1&aplus=1&rental=1&domain=1",
            1,
        ),
        (
            "product?asin=B0MAX00001&only-live-offers=1&code-limit=3",
            1,
        ),
        # /product?code=
        (f"product?code={CODE_WITH_MANY_PRODUCTS}", 1_500),
        (f"product?code={CODE_WITH_MANY_PRODUCTS}&code-limit=10", 10),
        (f"product?code={CODE_WITH_MANY_PRODUCTS}&code-limit=10&buybox=1", 30),
        ("product?code=4006381333931,4006381333948&code-limit=1", 2),
        # /query
        (f"query?selection={selection(simMatches=0)}", 10),
        (f"query?selection={selection(simMatches=10**6)}", 11),
        (f"query?selection={selection(simMatches=10**6, perPage=50)}", 11),
        (f"query?selection={selection(simMatches=10**6, perPage=10)}", 11),
        (f"query?selection={selection(simMatches=10**6, perPage=101)}", 12),
        (f"query?selection={selection(simMatches=10**6, perPage='200')}", 12),
        (f"query?selection={selection(simMatches=10**6, perPage=10_000)}", 110),
        (f"query?selection={selection(simMatches=120, perPage=10_000)}", 12),
        (f"query?selection={selection(simMatches=120, perPage=100, page=1)}", 11),
        (f"query?selection={selection(simMatches=120, perPage=100, page=2)}", 10),
        (f"query?selection={selection(simMatches=10**6)}&stats=1", 42),
        (f"query?selection={selection(simMatches=10**6 + 1)}&stats=1", 43),
        (f"query?selection={selection(simMatches=7 * 10**6, perPage=10_000)}&stats=1", 147),
        # /deal
        (f"deal?selection={selection(page=0)}", 5),
        # /search
        ("search?type=product&term=MAX", 40),
        ("search?type=product&term=MAX&page=0", 10),
        ("search?type=product&term=MAX&page=3", 10),
        ("search?type=product&term=MIN", 10),
        ("search?type=product&term=MAX&rating=1", 45),
        ("search?type=product&term=MAX&page=0&rating=1", 15),
        ("search?type=product&term=MAX&update=0", 80),
        ("search?type=product&term=MAX&page=0&update=0", 20),
        ("search?type=product&term=MIN&rating=1&update=0", 10),
        ("search?type=category&term=books", 1),
        # lists
        ("category?category=1", 1),
        ("category?category=1,2,3,4,5,6,7,8,9,10", 1),
        ("bestsellers?category=281052", 50),
        ("bestsellers?category=Beauty", 50),
        ("bestsellers?category=0", 0),
        ("topseller?domain=1", 50),
        # /seller
        ("seller?seller=AMAX0000000001", 1),
        ("seller?seller=AMAX0000000001&update=1", 1),
        (f"seller?seller={SELLERS}", 100),
        ("seller?seller=AMAX0000000001&storefront=1", 10),
        ("seller?seller=AMAX0000000001&storefront=1&update=24", 50),
        ("seller?seller=AMIN0000000001&storefront=1&update=24", 10),
        # /lightningdeal
        ("lightningdeal?asin=B000000001", 1),
        ("lightningdeal?asin=B000000001,B000000002", 2),
        ("lightningdeal?domain=1", 500),
        ("lightningdeal?asin=", 500),
        # the rest
        ("graphimage?asin=B000000001", 1),
        (f"tracking?type=add&tracking={selection(asin='B000000001')}", 1),
        ("tracking?type=list", 0),
        ("tracking?type=removeAll", 0),
        ("token?", 0),
    ],
)
def test_charge(target, tokens):
    """A call of each row of the table costs what that row says."""
    assert cost(f"{target}&key=k") == tokens


@pytest.mark.parametrize(
    ("target", "body", "tokens"),
    [
        ("product?key=k", b"asin=B0MAX00001,B0MAX00002&buybox=1", 6),
        ("product?key=k&asin=B0MAX00001", b"asin=B0MAX00001,B0MAX00002", 1),
        ("product?key=k", gzip.compress(b"asin=B0MAX00001", mtime=0), 1),
        ("product?asin=B0MAX00001&asin=B0MAX00001,B0MAX00002", b"", 1),
        ("query?key=k", b' {"simMatches":1000000,"perPage":1000}', 20),
        ("query?key=k", b"selection=%7B%22simMatches%22%3A0%7D", 10),
        ("query?key=k&stats=1", b'{"simMatches":1}', 42),
        ("deal?key=k&", b'{"page":0}', 5),
        ("deal?key=k&", gzip.compress(b'{"page":0}', mtime=0), 5),
        ("tracking?type=add", b'{"asin":"B000000001"}', 1),
        ("tracking?type=add", orjson.dumps([{"asin": "B000000001"}] * 1000), 1000),
        ("tracking?type=remove", b"[]", 0),
    ],
)
def test_charge_of_a_post(target, body, tokens):
    """A form is read as a query is, and JSON is known by its look, whatever its label."""
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
        ("product?asin=B000000001&offers=", 400),
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
        ("search?type=product&term=x&page=-1", 405),
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
    """A thousand trackings can be added at once, and no more."""
    with pytest.raises(RejectedCallError, match="1000"):
        cost("tracking?type=add", orjson.dumps([{"asin": "B000000001"}] * 1001))


@pytest.mark.parametrize(
    ("options", "least", "worst"),
    [
        ("", 1, 1),
        ("offers=100", 6, 60),
        ("offers=20&stock=1", 8, 14),
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
            read_call("query", f"selection={selection(title='x', page=page, perPage=per_page)}")
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
        price(read_call("graphimage", query)).items
        for query in ("key=a&asin=B1&width=5", "width=5&asin=B1&key=b", "key=a&asin=B1&width=6")
    )

    assert one == same != other
