"""Mixed calls of every kind, for storms; each costs at most what the gateway can know of it."""

import json
import random
from typing import Any, NamedTuple
from urllib.parse import quote

# Few names, so that pictures come again and are free then; some of them cost all they can.
_ASINS = [*(f"B0MAX{n:05}" for n in range(4)), *(f"B0ANY{n:05}" for n in range(8))]
_SELLERS = ["AMAX000000001", "A1B2C3D4E5F6G7", "A7G6F5E4D3C2B1"]
_STEERED = (
    ("X-Sim-Order: first",), ("X-Sim-Order: sorted",), ("X-Sim-Latency-Ms: 150",),
    ("X-Sim-Latency-Ms: 600",), ("X-Sim-Bytes: 400000",), ("X-Sim-Slow-Seconds: 0.4",),
    ("Accept-Encoding: gzip",), ("Accept-Encoding: gzip", "X-Sim-Bytes: 900000"),
)  # fmt: skip
# Beyond the storm's UPSTREAM_TIMEOUT_SECONDS: head, then body.
_TOO_SLOW = (
    ("X-Sim-Fault: slow_head", "X-Sim-Slow-Seconds: 3"),
    ("X-Sim-Fault: slow_body", "X-Sim-Slow-Seconds: 3"),
)


class Request(NamedTuple):
    """One call, ready to be asked."""

    target: str
    headers: tuple[str, ...] = ()
    method: str = "GET"
    body: bytes = b""


def mixed_request(chance: random.Random, secret: str) -> Request:
    """Draw a call; the service's secret goes where clients put it, in the query or the form."""
    make = chance.choice(_KINDS)
    request = make(chance, f"key={secret}")
    steered = chance.choice(_TOO_SLOW if chance.random() < 0.02 else ((), *_STEERED))
    return request._replace(headers=(*request.headers, *steered))


def _products(chance: random.Random, key: str) -> Request:
    asins = ",".join(chance.choices(_ASINS, k=chance.randint(1, 5)))
    options = chance.choice(
        ("", "&buybox=1", "&rating=1&update=0", "&offers=20", "&offers=60&stock=1", "&stats=90",
         "&historical-variations=1&history=0")
    )  # fmt: skip
    return Request(f"/product{chance.choice(('', '/'))}?{key}&domain=1&asin={asins}{options}")


def _form(chance: random.Random, key: str) -> Request:
    asins = "%2C".join(chance.choices(_ASINS, k=3))
    form = f"asin={asins}&{key}&domain=1&rating=1"
    kind = ("Content-Type: application/x-www-form-urlencoded",)
    return Request("/product", kind, "POST", form.encode())


def _codes(chance: random.Random, key: str) -> Request:
    codes = ",".join(str(4_000_000_000_000 + chance.randrange(9)) for _ in range(2))
    return Request(f"/product?{key}&domain=3&code={codes}&code-limit={chance.randint(1, 3)}")


def _sellers(chance: random.Random, key: str) -> Request:
    options = chance.choice(("", "&storefront=1", "&storefront=1&update=48"))
    return Request(f"/seller?{key}&domain=1&seller={chance.choice(_SELLERS)}{options}")


def _finder(chance: random.Random, key: str) -> Request:
    selection = {"perPage": chance.choice((50, 200)), "page": 0, "title": f"t{chance.randrange(5)}"}
    if chance.random() < 0.5:
        return _posted("/query", key, selection)
    return Request(f"/query?{key}&domain=1&selection={quote(json.dumps(selection))}")


def _finder_stats(chance: random.Random, key: str) -> Request:
    # More matches than a million are an overrun by design, which may cross the floor.
    selection = {"simMatches": chance.randrange(1_000_000), "perPage": 100}
    return _posted("/query", f"{key}&stats=1", selection)


def _deals(_: random.Random, key: str) -> Request:
    return _posted("/deal", key, {"page": 0, "domainId": 1})


def _trackings(chance: random.Random, key: str) -> Request:
    if chance.random() < 0.5:
        return Request(f"/tracking?{key}&type=list")
    asins = [{"asin": asin} for asin in chance.choices(_ASINS, k=chance.randint(1, 4))]
    return _posted("/tracking", f"{key}&type=add", asins)


def _search(chance: random.Random, key: str) -> Request:
    what = chance.choice(
        ("type=category&term=shoe", "type=product&term=MAX&page=1", "type=product&term=shoe")
    )
    return Request(f"/search?{key}&domain=1&{what}")


def _others(chance: random.Random, key: str) -> Request:
    target = chance.choice(
        (
            "/category?domain=1&category=1,2,3", "/bestsellers?domain=1&category=0",
            "/bestsellers?domain=1&category=7", "/lightningdeal?domain=1&asin=B0MAX00001",
            "/tomorrow?domain=1&x=1", "/product?domain=1&asin=",
            "/product?domain=x&asin=B0MAX00001",
        )
    )  # fmt: skip
    return Request(f"{target}&{key}")


def _pictures(chance: random.Random, key: str) -> Request:
    return Request(f"/graphimage?{key}&domain=1&asin={chance.choice(_ASINS)}")


def _balance(_: random.Random, key: str) -> Request:
    return Request(f"/token?{key}")


def _posted(path: str, key: str, document: Any) -> Request:
    kind = ("Content-Type: application/json",)
    return Request(f"{path}?{key}", kind, "POST", json.dumps(document).encode())


_KINDS = (
    _products, _products, _products, _form, _codes, _sellers, _finder, _finder_stats, _deals,
    _trackings, _search, _others, _others, _pictures, _balance,
)  # fmt: skip
