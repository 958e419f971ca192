"""The cost table on calls of any kind, judged by the simulator's own charges."""

import json
import random
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import strategies as st
from support.measure.exploring import Longest, measure_ms

from gateway.keepa.costs import CostTable, limit_codes
from gateway.simulator import charges
from gateway.simulator.call import RejectedCallError, read_call
from gateway.simulator.shelf import Shelf

TABLE = CostTable({})
SHELF = Shelf(lambda: 1_795_347_000_000)
CEILING = 65_000_000
KIBIBYTE, MEBIBYTE = 1024, 1024 * 1024
# Above a tenth of what a callback may take, so that a slow machine has room.
MOST_MS = 40

KNOWN = sorted(charges.ENDPOINTS)
ENDPOINTS = st.sampled_from(KNOWN)
ITEMS = st.one_of(
    st.sampled_from(
        [
            "B0MAX00001",
            "B0MIN00001",
            "B0FAIL0001",
            "B0KEPT0001",
            "B0NONE0001",
            "AMAX",
            "AMIN",
            "0",
            "1",
            "1500150015001",
        ]
    ),
    st.integers(0, 10**13).map(str),
    st.text("AB09 +,;|\n\t%\x00é", max_size=6),
)
LISTS = st.lists(ITEMS, max_size=12).map(",".join) | st.tuples(ITEMS, st.integers(90, 110)).map(
    lambda pair: ",".join([pair[0]] * pair[1])
)
NUMBERS = st.one_of(
    st.integers(-2, 120).map(str),
    st.sampled_from(
        [
            "0",
            "1",
            "20",
            "100",
            "false",
            "None",
            "050",
            "+20",
            "-0",
            "10000",
            "1e2",
            "20.0",
            " 20",
            "",
        ]
    ),
)
FLAGS = st.sampled_from(["0", "1", "true", "TRUE", "false", "", "2", "-1", "yes"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 20_000) | st.floats(allow_nan=False) | ITEMS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["perPage", "page", "asin", "simMatches", "title"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)
SELECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "perPage": st.integers(-1, 10_001) | st.sampled_from(["50", 200.0, "1000", None, 99.5]),
        "page": st.integers(0, 3),
        "simMatches": st.sampled_from([0, 49, 101, 999_999, 1_000_000]),
        "title": ITEMS,
    },
)
TRACKINGS = st.lists(st.fixed_dictionaries({"asin": ITEMS.filter(bool)}), max_size=5)
TEXTS = (DOCUMENTS | SELECTIONS | TRACKINGS).map(json.dumps)
PARAMETERS = st.one_of(
    st.tuples(st.sampled_from(["asin", "code", "seller", "category"]), LISTS),
    st.tuples(
        st.sampled_from(["offers", "update", "page", "code-limit", "domain", "perPage"]), NUMBERS
    ),
    st.tuples(
        st.sampled_from(["stock", "buybox", "rating", "historical-variations", "storefront"])
        | st.just("stats"),
        FLAGS,
    ),
    st.tuples(
        st.just("type"),
        st.sampled_from(["product", "category", "add", "list", "listNames", "get", ""]),
    ),
    st.tuples(st.just("term"), st.sampled_from(["MAX", "MIN", "shoe"]) | ITEMS),
    st.tuples(st.sampled_from(["selection", "tracking"]), TEXTS),
    st.tuples(st.text(max_size=5), st.text(max_size=5)),
)
CALLS = st.lists(PARAMETERS, max_size=8)
OWN_WORDS = {
    "product": ("asin", "B0MAX00001,B0MAX00002"),
    "seller": ("seller", "AMAX"),
    "search": ("type", "product"),
    "query": ("selection", "{}"),
    "sellerquery": ("selection", "{}"),
    "tracking": ("type", "add"),
}


def encode(pairs, spaces=quote_plus):
    return "&".join(f"{spaces(name)}={spaces(value)}" for name, value in pairs)


def tokens(endpoint, query="", body=b""):
    """Price a call, and see that the price is one."""
    price = TABLE.price(endpoint, query, body)
    assert type(price.tokens) is int
    assert 0 <= price.tokens <= CEILING
    assert price.tokens == price.fixed + (price.items or 0) * price.per_item
    parts = price.describe()
    assert parts
    assert sum(part.tokens for part in parts) == price.tokens
    assert all(part.tokens >= 0 and "{" not in part.what for part in parts)
    return price.tokens


def charge(endpoint, query, body=b""):
    """What the simulator charges, less what has no bound beforehand; 0 where it refuses."""
    call = read_call(endpoint, query, body)
    try:
        charged = charges.price(call, SHELF)
    except RejectedCallError:
        return 0
    if endpoint == "product" and call.listed("code") and call.integer("code-limit") is None:
        return 0
    if endpoint == "query" and call.asks_for("stats"):
        return charged.tokens - max(0, -(-charged.total // 1_000_000) - 1)
    return charged.tokens


def test_the_price_covers_the_charge(explorer):
    """Whatever a call is made of and wherever its parts stand, Keepa charges no more than that."""

    def covers(endpoint, pairs, in_body, document, where):
        own = [OWN_WORDS[endpoint]] if endpoint in OWN_WORDS else []
        pairs = [*own, *pairs] if where else [*pairs, *own]
        query, form = encode(pairs[in_body:]), encode(pairs[:in_body], quote).encode()
        body = document.encode() if where == 2 else form
        assert tokens(endpoint, query, body) >= charge(endpoint, query, body)

    explorer.explore(
        covers, examples=400, endpoint=ENDPOINTS, pairs=CALLS, in_body=st.integers(0, 8),
        document=TEXTS, where=st.integers(0, 2),
    )  # fmt: skip


def test_a_worst_case_is_charged_in_full(explorer):
    """Products that cost the most cost just what was reserved: the price is no blind guess."""

    def is_exact(count, options, pages):
        asins = ",".join(f"B0MAX{number:05d}" for number in range(count))
        pairs = [("asin", asins), *((name, "1") for name in sorted(options)), ("update", "0")]
        pairs += [("offers", str(pages))] if pages else []
        query = encode(pairs)
        assert tokens("product", query) == charge("product", query)

    explorer.explore(
        is_exact, examples=60, count=st.integers(1, 100),
        options=st.sets(st.sampled_from(["stock", "buybox", "rating", "historical-variations"])),
        pages=st.none() | st.integers(20, 100),
    )  # fmt: skip


def test_bytes_of_any_kind_have_a_price(explorer):
    """Nothing raises: any endpoint, any text as query, any bytes as body, parts of calls too."""
    anything = st.text(st.characters(exclude_categories=()))
    spliced = st.tuples(CALLS, st.binary(max_size=12), st.integers(0, 200)).map(
        lambda parts: (text := encode(parts[0]).encode())[: parts[2]] + parts[1] + text[parts[2] :]
    )

    def has_price(endpoint, query, body):
        tokens(endpoint, query, body)
        tokens(endpoint, query.encode("utf-8", "replace").decode("latin-1"), body)

    explorer.explore(
        has_price, examples=300, endpoint=ENDPOINTS | anything,
        query=anything | spliced.map(lambda raw: raw.decode("utf-8", "surrogateescape")),
        body=st.binary() | spliced,
    )  # fmt: skip


def test_more_is_never_cheaper(explorer):
    """Another item or option never lowers a price, but where the option asks for something else."""
    # A kind of search or of tracking, and named deals each ask for less.
    endpoints = sorted(set(KNOWN) - {"search", "tracking", "lightningdeal"})

    def grows(endpoint, pairs, more, at, name):
        fewer = tokens(endpoint, encode(pairs))
        assert tokens(endpoint, encode([*pairs[:at], more, *pairs[at:]])) >= fewer
        assert tokens(endpoint, encode(pairs), encode([more]).encode()) >= fewer
        for number, (given, value) in enumerate(pairs):
            if given == name:
                longer = [*pairs[:number], (name, value + ",B000000001"), *pairs[number + 1 :]]
                assert tokens(endpoint, encode(longer)) >= fewer

    explorer.explore(
        grows, examples=400, endpoint=st.sampled_from(endpoints), pairs=CALLS, more=PARAMETERS,
        at=st.integers(0, 8), name=st.sampled_from(["asin", "code", "seller", "category"]),
    )  # fmt: skip


def test_order_and_spelling_change_no_price(explorer):
    """A call costs the same in any order of its fields and with any of its letters encoded."""

    def is_same(endpoint, pairs, chance):
        usual = tokens(endpoint, encode(pairs))
        shuffled = chance.sample(pairs, len(pairs))
        assert tokens(endpoint, encode(shuffled)) == usual
        odd = "&".join(
            "".join(f"%{byte:02X}" for byte in name.encode()) + "=" + quote_plus(value)
            for name, value in pairs
            # Names longer than any of Keepa's are not decoded.
            if len(name.encode()) <= len("historical-variations")
        )
        assert tokens(endpoint, odd) == usual
        assert tokens(endpoint.upper(), encode(pairs)) == usual

    explorer.explore(
        is_same, examples=200, endpoint=ENDPOINTS, pairs=CALLS,
        chance=st.integers(0, 99).map(random.Random),
    )  # fmt: skip


def test_a_limited_lookup_is_never_unlimited(explorer):
    """Wherever and however its codes are written, a lookup costs what its new limit allows."""
    # `code` in any spelling that may be read as such, and words that only look like it.
    spelled = st.lists(st.booleans(), min_size=4, max_size=4).map(
        lambda escaped: "".join(
            f"%{ord(letter):02X}" if is_escaped else letter
            for letter, is_escaped in zip("cOdE", escaped, strict=True)
        )
    )
    names = spelled | st.sampled_from(["code", "CODE", "+code", "codes", "%2563ode", "asin", "{"])
    fields = st.lists(st.tuples(names, LISTS).map(lambda pair: f"{pair[0]}={quote(pair[1])}"))
    texts = st.tuples(
        st.sampled_from(["", "&", " ", "{&", "[&"]), fields, st.sampled_from(["", "&"])
    )

    def is_limited(query, form, limit, noise):
        query = query[0].strip() + "&".join(query[1]) + query[2]
        body = (form[0] + "&".join(form[1]) + form[2]).encode() + noise
        before = TABLE.price("product", query, body)
        if not before.is_unlimited:
            return
        new_query, new_body = limit_codes(query, body, limit)
        after = TABLE.price("product", new_query, new_body)
        assert not after.is_unlimited
        assert (after.code_limit, after.items) == (limit, before.items)
        assert after.per_item == before.per_item * limit
        field = f"code-limit={limit}"
        assert new_query in {query, query + field, f"{query}&{field}"}
        assert new_body in {body, body + field.encode(), body + f"&{field}".encode()}
        assert new_body == body or body.lstrip()[:1] not in {b"{", b"["}

    explorer.explore(
        is_limited, examples=300, query=texts, form=texts, limit=st.integers(1, 10_000),
        noise=st.binary(max_size=6),
    )  # fmt: skip


@pytest.mark.timeout(600)
def test_the_largest_calls_are_priced_in_no_time(explorer):
    """A URL of 128 KiB and a body of up to 16 MiB, whatever they repeat, hold nobody up."""
    signs = st.text('[]{},:%&=+"\\ 0a5Be-\u00e9', min_size=1, max_size=6)
    words = st.sampled_from(
        ["%5B", "%2C", "%", "asin=", "selection=[", "tracking={}&", "offers=9&", "type=add&", "a&",
         "perPage=", "[],", '{"a":', '"",', "1,", "9", "\\u1234", "1e9,", "\u4fa1", "code=,"]
    )  # fmt: skip
    longest = Longest()

    def is_quick(endpoint, start, piece, size, in_query):
        text = start + piece
        raw = text.encode()
        query = start + piece * (128 * KIBIBYTE // len(raw)) if in_query else ""
        body = start.encode() + piece.encode() * (size // len(piece.encode()))
        ms = measure_ms(lambda: tokens(endpoint, query, body))
        longest.note(ms, f"/{endpoint} {start + piece!r} x {size}")
        assert ms < MOST_MS

    explorer.explore(
        is_quick, examples=120, longest=longest,
        endpoint=st.sampled_from(["product", "query", "tracking", "search", "seller"]),
        start=st.sampled_from(["", "[", "{", "selection=", "tracking=", "asin=", "type=add&"]),
        piece=signs | words,
        # At the bounds of what is read and of what may come, and between.
        size=st.sampled_from(
            [0, KIBIBYTE, 100_000, 500_000, 900_000, MEBIBYTE, 3 * MEBIBYTE - 10, 16 * MEBIBYTE]
        ),
        in_query=st.booleans(),
    )  # fmt: skip
