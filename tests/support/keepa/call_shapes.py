"""Shapes of calls, each with what Keepa may charge: the one table that a change of Keepa's enters.

A change is one row here, one in gateway/costs, one in gateway/simulator; docs/keepa.md says which
of Keepa's changes these rows know. tests/unit/test_call_shapes.py holds costs and simulator to
them, tests/http/test_shapes_over_http.py a gateway that serves.
"""

import json
from typing import NamedTuple
from urllib.parse import quote

from gateway.simulator import catalogue

MANY = ",".join(f"B0MAX{n:05d}" for n in range(100))
SELLERS = ",".join(f"A{n:013d}" for n in range(100))
CODE = catalogue.CODE_WITH_MANY_PRODUCTS
CODES = "4006381333931,4006381333948"

_THRESHOLD = {"thresholdValue": 1500, "domain": 1, "csvType": 0, "isDrop": True}
RICH_TRACKING = {
    "asin": "B000000001",
    "mainDomainId": 1,
    "ttl": 0,
    "updateInterval": 1,
    "thresholdValues": [_THRESHOLD] * 3,
    "notifyIf": [{"domain": 1, "csvType": 0, "notifyIfType": 0}],
    "notificationType": [False] * 8,
    "metaData": "ours",
}


class Shape(NamedTuple):
    """One way to call Keepa.

    Attributes:
        target: endpoint and query; `domain` is added where there is none.
        charged: what Keepa charges, in tokens, on a simulator that nobody has called before.
        held: what the gateway holds; None: just that.
        body: of a POST; empty: a GET.
    """

    target: str
    charged: int
    held: int | None = None
    body: bytes = b""

    @property
    def name(self) -> str:
        """For a test's id."""
        body = f" {self.body[:40].decode(errors='replace')}" if self.body else ""
        return self.target[:100] + body

    @property
    def reserved(self) -> int:
        return self.charged if self.held is None else self.held

    @property
    def endpoint(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        query = self.target.partition("?")[2]
        return query if "domain=" in query else f"domain=1&{query}"

    @property
    def path(self) -> str:
        return f"/{self.endpoint}?{self.query}"


def select(**fields: object) -> str:
    """Write a finder's selection, or a tracking, into a query."""
    return quote(json.dumps(fields))


def post(*documents: object) -> bytes:
    return json.dumps(documents[0] if len(documents) == 1 else list(documents)).encode()


PRODUCTS = [
    Shape("product?asin=B0MAX00001", 1),
    Shape("product?asin=B0MAX00001,B0MAX00002", 2),
    Shape("product?asin=B0MAX00001%2CB0MAX00002", 2),
    Shape("product?asin=B0MAX00001,,B0MAX00002,", 2),
    Shape("product?asin=B0MAX00001,B0MAX00001", 2),
    Shape(f"product?asin={MANY}", 100),
    Shape("product?asin=B0MAX00001&buybox=1", 3),
    Shape("product?asin=B0MAX00001&buybox=0", 1),
    Shape("product?asin=B0MAX00001&historical-variations=1", 2),
    Shape("product?asin=B0MAX00001&only-live-offers=1&code-limit=3&days=9", 1),
    Shape("product?asin=B0MAX00001&stats=180&history=1&videos=1&aplus=1&rental=1", 1),
    Shape("product", 1, body=b"asin=B0MAX00001"),
    Shape("product", 6, body=b"asin=B0MAX00001,B0MAX00002&buybox=1"),
    # The first of a name counts at Keepa, as far as is known: all are held.
    Shape("product?asin=B0MAX00001", 1, 3, body=b"asin=B0MAX00001,B0MAX00002"),
    Shape("product?asin=B0MAX00001&asin=B0MAX00001,B0MAX00002", 1, 3),
    # Lists out of a file or a cell
    Shape("product?asin=B0MAX00001%0AB0MAX00002", 2),
    Shape("product?asin=B0MAX00001%0D%0AB0MAX00002%0D%0A", 2),
    Shape("product?asin=B0MAX00001+B0MAX00002", 2),
    Shape("product?asin=B0MAX00001%20B0MAX00002,%20B0MAX00003", 3),
    Shape("product?asin=B0MAX00001%09B0MAX00002", 2),
    Shape("product", 2, body=b"asin=B0MAX00001\r\nB0MAX00002"),
    # ASINs that nobody has
    Shape("product?asin=B0NONE0001", 1),
    Shape("product?asin=B0NONE0001&update=-1", 0, 1),
    Shape("product?asin=B0GONE0001", 1),
]
OFFERS = [
    # 6 for each page of ten that is found
    Shape("product?asin=B0MAX00001&offers=20", 12),
    Shape("product?asin=B0MAX00001&offers=21", 18),
    Shape("product?asin=B0MAX00001&offers=100", 60),
    Shape("product?asin=B0MAX00001,B0MAX00002&offers=40", 48),
    Shape("product?asin=B0MAX00001&offers=20&buybox=1", 12),
    # 5 where there are none, and where Keepa has them already and may say so
    Shape("product?asin=B0MIN00001&offers=100", 5, 60),
    Shape("product?asin=B0MAX00001,B0MIN00001&offers=40", 24 + 5, 48),
    Shape("product?asin=B0KEPT0001&offers=100&update=24", 5, 60),
    Shape("product?asin=B0MAX00001&offers=100&update=24", 60),
    Shape("product?asin=B0MAX00001&offers=100&update=-1", 5, 60),
    # 1 where fetching them failed
    Shape("product?asin=B0FAIL0001&offers=20&stock=1", 1, 14),
    # 2 for a stock that is old
    Shape("product?asin=B0MAX00001&offers=20&stock=1", 14),
    Shape("product?asin=B0MAX00001,B0MAX00002&offers=20&stock=1", 28),
    Shape("product?asin=B0MIN00001&offers=20&stock=1", 5, 14),
    Shape("product?asin=B0MAX00001&stock=1", 1),
    Shape("product?asin=B0MAX00001&stock=0&offers=20", 12),
    # No number at all: at most what Keepa's least number of offers costs
    Shape("product?asin=B0MAX00001&offers=", 12),
    Shape("product?asin=B0MAX00001&offers", 12),
    Shape("product?asin=B0MAX00001&offers=%20", 12),
    Shape("product?asin=B0MAX00001&offers=false", 12),
    Shape("product?asin=B0MAX00001&offers=True", 12),
    Shape("product?asin=B0MAX00001&offers=None", 12),
    Shape("product?asin=B0MAX00001&offers=undefined", 12),
    Shape("product?asin=B0MAX00001&offers=0", 0, 12),
    Shape("product?asin=B0MAX00001&offers=many", 0, 60),
]
OPTIONS = [
    Shape("product?asin=B0MAX00001&rating=1", 2),
    Shape("product?asin=B0MIN00001&rating=1", 1, 2),
    Shape("product?asin=B0MAX00001&update=0", 2),
    Shape("product?asin=B0MIN00001&update=0", 1, 2),
    Shape("product?asin=B0MAX00001&update=-1", 1),
    Shape("product?asin=B0MAX00001&update=48", 1),
    Shape("product?asin=B0MAX00001&buybox=1&rating=1&update=0&historical-variations=1", 6),
    Shape(
        "product?asin=B0MAX00001&offers=100&stock=1&rating=1&update=0&historical-variations=1", 65
    ),
    # Codes: without a limit there is no bound, and the rest is overrun.
    Shape(f"product?code={CODE}", 1_500, 1),
    Shape(f"product?code={CODE}&code-limit=10", 10),
    Shape(f"product?code={CODE}&code-limit=10&buybox=1", 30),
    Shape(f"product?code={CODES}&code-limit=1", 2),
    Shape("product?code=4006381333931%0A4006381333948&code-limit=1", 2),
]
FINDERS = [
    shape
    for finder in ("query", "sellerquery")
    for shape in (
        Shape(f"{finder}?selection={select(simMatches=0)}", 10, 11),
        Shape(f"{finder}?selection={select(simMatches=10**6)}", 11),
        Shape(f"{finder}?selection={select(simMatches=10**6, perPage=50)}", 11),
        Shape(f"{finder}?selection={select(simMatches=10**6, perPage=10)}", 11),
        Shape(f"{finder}?selection={select(simMatches=10**6, perPage=101)}", 12),
        Shape(f"{finder}?selection={select(simMatches=10**6, perPage='200')}", 12),
        Shape(f"{finder}?selection={select(simMatches=10**6, perPage=10_000)}", 110),
        Shape(f"{finder}?selection={select(simMatches=120, perPage=10_000)}", 12, 110),
        Shape(f"{finder}?selection={select(simMatches=120, perPage=100, page=1)}", 11),
        Shape(f"{finder}?selection={select(simMatches=120, perPage=100, page=2)}", 10, 11),
        Shape(finder, 20, body=b' {"simMatches":1000000,"perPage":1000}'),
        Shape(finder, 110, body=post({"simMatches": 10**6, "perPage": 10_000})),
        Shape(finder, 10, 11, body=b"selection=%7B%22simMatches%22%3A0%7D"),
        # A selection that cannot be read may hold the largest page.
        Shape(f"{finder}?selection=%7B%22perPage%22%3A10000", 0, 110),
        Shape(finder, 0, 110, body=b"[]"),
    )
] + [
    Shape(f"query?selection={select(simMatches=10**6)}&stats=1", 42),
    Shape("query?stats=1", 42, body=b'{"simMatches":1}'),
    # More than a million matches are an overrun.
    Shape(f"query?selection={select(simMatches=10**6 + 1)}&stats=1", 43, 42),
    Shape(f"query?selection={select(simMatches=7 * 10**6, perPage=10_000)}&stats=1", 147, 141),
    Shape(f"deal?selection={select(page=0)}", 5),
    Shape("deal?", 5, body=b'{"page":0}'),
]
SEARCHES = [
    Shape("search?type=product&term=MAX", 10),
    Shape("search?type=product&term=MAX&page=0", 10),
    Shape("search?type=product&term=MAX&page=3", 10),
    Shape("search?type=product&term=MIN", 10),
    Shape("search?type=product&term=MAX&rating=1", 30),
    Shape("search?type=product&term=MAX&update=0", 30),
    Shape("search?type=product&term=MAX&page=0&update=0", 30),
    Shape("search?type=product&term=MAX&update=24", 10),
    Shape("search?type=product&term=MAX&rating=1&update=0", 50),
    Shape("search?type=product&term=MIN&rating=1&update=0", 10, 50),
    Shape("search?type=category&term=books", 1),
]
LISTS = [
    Shape("category?category=1", 1),
    Shape("category?category=1,2,3,4,5,6,7,8,9,10&parents=1", 1),
    Shape("bestsellers?category=281052", 50),
    Shape("bestsellers?category=281052&range=90&variations=1&sublist=1", 50),
    Shape("bestsellers?category=281052&month=3&year=2026", 50),
    Shape("bestsellers?category=0", 0, 50),
    Shape("topseller", 50),
    Shape("seller?seller=A0000000000001", 1),
    Shape("seller?seller=A0000000000001&update=1", 1),
    Shape(f"seller?seller={SELLERS}", 100),
    Shape("seller?seller=A0000000000001%0AA0000000000002", 2),
    Shape("seller?seller=ANONE000000001,A0000000000001", 1, 2),
    Shape("seller?seller=A0000000000001&storefront=1", 10),
    # `update` is gone since February 2026, and clients still send it.
    Shape("seller?seller=A0000000000001&storefront=1&update=24", 10),
    Shape("seller?seller=ANONE000000001&storefront=1", 0, 10),
    # Refused by Keepa; held, should it be served one day.
    Shape("seller?seller=A0000000000001,A0000000000002&storefront=1", 0, 20),
    Shape("lightningdeal?asin=B000000001", 1),
    Shape("lightningdeal?asin=B000000001,B000000002", 2),
    Shape("lightningdeal?asin=B000000001%0AB000000002", 2),
    Shape("lightningdeal", 500),
    Shape("lightningdeal?asin=", 500),
    Shape("graphimage?asin=B0PICTURE1", 1),
    Shape("token", 0),
]
TRACKINGS = [
    Shape(f"tracking?type=add&tracking={select(asin='B000000001')}", 1),
    Shape("tracking?type=add", 1, body=post({"asin": "B000000001", "ttl": 0})),
    Shape("tracking?type=add", 2, body=post(RICH_TRACKING, RICH_TRACKING)),
    Shape("tracking?type=add", 3_000, body=post(*[{"asin": "B000000001"}] * 3_000)),
    Shape("tracking?type=add", 2_990, body=post(*[RICH_TRACKING] * 2_990)),
    # More than Keepa takes are held at what it takes.
    Shape("tracking?type=add", 0, 3_000, body=post(*[{"asin": "B000000001"}] * 3_001)),
    Shape("tracking?type=add", 0, 3_000, body=b'[{"asin":"B000000001"}'),
    *(
        Shape(f"tracking?type={kind}", 0)
        for kind in ("get", "list", "listNames", "notification", "remove", "removeAll", "webhook")
    ),
    Shape("tracking?type=remove", 0, body=b"[]"),
]
ELSEWHERE = [
    # An endpoint that this version does not know: Keepa may have added it.
    Shape("tomorrow", 0, 50),
    Shape("tomorrow", 0, 50, body=b'{"perPage":10000}'),
]
SHAPES = [
    *PRODUCTS, *OFFERS, *OPTIONS, *FINDERS, *SEARCHES, *LISTS, *TRACKINGS, *ELSEWHERE,
]  # fmt: skip
UNBOUNDED = {shape for shape in SHAPES if shape.charged > shape.reserved}
"""What has no worst case: codes without a limit, and `stats` over millions of products."""
