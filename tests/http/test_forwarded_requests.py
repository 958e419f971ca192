"""What of a caller's request reaches Keepa: all but the key and the gateway's own headers."""

import gzip
import hashlib
import json

import orjson
import pytest
from support.callers.wire import Caller, write_request
from support.gateways.served import REAL_KEY

# The gateway's own towards Keepa, whatever the caller sent.
OWN = {"host", "content-length"}


def read(request):
    """Split what Keepa received into request line, headers and body."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    return line, [tuple(line.split(": ", 1)) for line in lines], body


def target_of(request):
    return read(request)[0].split(" ")[1]


QUERIES = {
    "escaped commas": "key=%s&domain=1&asin=B000000001%%2CB000000002",
    "bare commas": "key=%s&domain=1&asin=B000000001,B000000002",
    "plus and %20": "key=%s&term=blue+shoes%%20red&domain=1",
    "lower-case escapes": "key=%s&selection=%%7b%%22a%%22%%3a1%%7d",
    "blank value": "key=%s&asin=&domain=1",
    "name only": "key=%s&history&domain=1",
    "repeated": "asin=B1&key=%s&asin=B2&asin=B1",
    "key in the middle": "domain=1&key=%s&asin=B1",
    "key last": "domain=1&asin=B1&key=%s",
    "trailing ampersand": "domain=1&key=%s&",
    "empty pairs": "&&domain=1&&key=%s&&",
    "equals in a value": "key=%s&a==b&c=d=e=",
    "unescaped JSON": 'key=%s&selection={"title":"a|b^c`d"}',
    "question mark": "key=%s&a=?b?&c=/d/",
    "semicolons": "key=%s&a=b;c=d",
    "escaped newline": "key=%s&term=a%%0D%%0Ab%%00c",
    "names that only look like it": "key=%s&keys=1&monkey=2&key2=3&Key=4",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
async def test_query_leaves_byte_for_byte_but_for_the_key(serve, keepa, query):
    """A query reaches Keepa byte for byte, with the real key in the place of the caller's."""
    gateway = await serve(keepa)
    assert (await gateway.ask("/product?" + query % "callers")).status == 200
    line = keepa.requests[-1].split(b"\r\n")[0]
    assert line == f"GET /product?{query % REAL_KEY} HTTP/1.1".encode()


@pytest.mark.parametrize("path", ["/product", "/product/", "/product?"])
async def test_a_form_with_the_key_leaves_its_target_alone(serve, keepa, path):
    """Where the key is in the body, the target gets no question mark, and keeps the one it has."""
    gateway = await serve(keepa)
    form = b"key=callers&domain=1&asin=B000000001"
    assert (await gateway.ask(path, method="POST", body=form)).status == 200
    assert target_of(keepa.requests[-1]) == path


async def test_raw_utf8_in_a_target_is_no_http(serve, keepa):
    """A target with bytes that no URL may have is refused in the one shape, and goes nowhere."""
    gateway = await serve(keepa)
    answer = await gateway.ask("/product?key=callers&term=schön")
    assert (answer.status, answer.json()["reason"]) == (400, "bad_request")
    assert keepa.requests == []


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", f"?key={REAL_KEY}"),
        ("?", f"?key={REAL_KEY}"),
        ("?asin=B1", f"?asin=B1&key={REAL_KEY}"),
        ("?asin=B1&", f"?asin=B1&key={REAL_KEY}"),
        ("?key=", f"?key={REAL_KEY}"),
        ("?key", f"?key={REAL_KEY}"),
        ("?a=1&key=x&key=y", f"?a=1&key={REAL_KEY}&key={REAL_KEY}"),
        ("?%6Bey=x&a=1", f"?key={REAL_KEY}&a=1"),
        ("?a=1&k%65%79=x", f"?a=1&key={REAL_KEY}"),
        ("?key=%73ecret%26x&a=1", f"?key={REAL_KEY}&a=1"),
    ],
)
async def test_real_key_takes_the_place_of_each_key_or_is_added(serve, keepa, query, wanted):
    """The real key replaces every `key` of the query however it is spelt, or is added."""
    gateway = await serve(keepa)
    assert (await gateway.ask("/deal" + query)).status == 200
    assert target_of(keepa.requests[-1]) == "/deal" + wanted


@pytest.mark.parametrize("path", ["/product", "/product/", "/Product", "/new_endpoint-7"])
async def test_path_leaves_as_it_was_written(serve, keepa, path):
    """A path keeps its slash at the end, or its lack of one, and its letters' case."""
    gateway = await serve(keepa)
    assert (await gateway.ask(path + "?asin=B1")).status == 200
    assert target_of(keepa.requests[-1]) == f"{path}?asin=B1&key={REAL_KEY}"


async def test_upstream_with_a_path_of_its_own_is_kept(serve, keepa):
    """A KEEPA_BASE_URL with a path stands before the caller's path."""
    gateway = await serve(f"{keepa.url}/keepa/")
    # Its balance comes from the same place, which this script does not know.
    assert (await gateway.ask("/tracking?type=list&key=a")).status == 200
    assert target_of(keepa.requests[-1]) == f"/keepa/tracking?type=list&key={REAL_KEY}"


@pytest.mark.parametrize("escaped", [True, False])
async def test_finder_selection_of_100_kib_fits_in_a_get(gateway, simulator, escaped):
    """A selection of 100 KiB in the query of a GET reaches Keepa whole."""
    title = ("%22" if escaped else '"') + "x" * (100 * 1024) + ("%22" if escaped else '"')
    brace, end, colon = ("%7B", "%7D", "%3A") if escaped else ("{", "}", ":")
    quote = "%22" if escaped else '"'
    selection = f"{brace}{quote}title{quote}{colon}{title}{end}"
    answer = await gateway.ask(f"/query/?domain=1&key=mine&selection={selection}")
    assert answer.status == 200, answer.plain
    sent = simulator.state()["last_call"]
    assert sent["raw_path"] == f"/query/?domain=1&key={REAL_KEY}&selection={selection}"


async def test_longest_url_reaches_keepa(serve, keepa):
    """A target of 128 KiB is forwarded."""
    gateway = await serve(keepa)
    start = "/product?asin=B1&key=x&term="
    target = start + "y" * (128 * 1024 - len(start))
    assert (await gateway.ask(target)).status == 200
    assert target_of(keepa.requests[-1]) == target.replace("key=x", f"key={REAL_KEY}")


JSON_BODY = orjson.dumps({"perPage": 50, "title": "schön & key=abc", "x": [1, 2]})


@pytest.mark.parametrize(
    "label",
    ["application/json", "application/x-www-form-urlencoded", "text/plain; charset=utf-8", None],
)
async def test_json_body_is_never_touched(serve, keepa, label):
    """A JSON body reaches Keepa byte for byte however it is labelled (PHP calls it a form)."""
    gateway = await serve(keepa)
    headers = [f"Content-Type: {label}"] if label else []
    answer = await gateway.ask("/query/?key=mine", *headers, method="POST", body=JSON_BODY)
    assert answer.status == 200
    line, got, body = read(keepa.requests[-1])
    assert body == JSON_BODY
    assert line == f"POST /query/?key={REAL_KEY} HTTP/1.1"
    assert [value for name, value in got if name == "Content-Type"] == ([label] if label else [])


async def test_post_as_the_java_client_sends_it(serve, keepa):
    """`POST /deal?key=K&` with JSON keeps its trailing ampersand."""
    gateway = await serve(keepa)
    body = b'{"page":0,"domainId":1}'
    answer = await gateway.ask(
        "/deal?key=mine&", "Content-Type: application/json", method="POST", body=body
    )
    assert answer.status == 200
    line, _, got = read(keepa.requests[-1])
    assert (line, got) == (f"POST /deal?key={REAL_KEY}& HTTP/1.1", body)


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("key=mine&asin=B1&domain=1", f"key={REAL_KEY}&asin=B1&domain=1"),
        ("asin=B1%2cB2&key=mine&x=+&&", f"asin=B1%2cB2&key={REAL_KEY}&x=+&&"),
        ("asin=B1&%4bey=x&%6bey=mine", f"asin=B1&%4bey=x&key={REAL_KEY}"),
    ],
)
async def test_form_with_the_key_inside_keeps_all_else(serve, keepa, form, wanted):
    """A form's own key is replaced in the form, and no other byte of it changes."""
    gateway = await serve(keepa)
    answer = await gateway.ask(
        "/product",
        "Content-Type: application/x-www-form-urlencoded",
        method="POST",
        body=form.encode(),
    )
    assert answer.status == 200
    line, headers, body = read(keepa.requests[-1])
    assert body == wanted.encode()
    assert line.startswith("POST /product")
    assert dict(headers)["Content-Length"] == str(len(wanted))
    assert b"mine" not in keepa.requests[-1]


async def test_form_without_a_key_gets_it_in_the_query(serve, keepa):
    """A form that carries no key is forwarded byte for byte, with the real key in the query."""
    gateway = await serve(keepa)
    assert (await gateway.ask("/product", method="POST", body=b"asin=B1&domain=1")).status == 200
    line, _, body = read(keepa.requests[-1])
    assert (line, body) == (f"POST /product?key={REAL_KEY} HTTP/1.1", b"asin=B1&domain=1")


async def test_expect_100_continue_is_answered_here(serve, keepa):
    """`Expect: 100-continue` gets its 100 from the gateway and never reaches Keepa."""
    gateway = await serve(keepa)
    request = write_request(
        "/query?key=mine", ["Expect: 100-continue"], method="POST", body=JSON_BODY
    )
    head, _, body = request.partition(b"\r\n\r\n")
    async with Caller(gateway.url) as caller:
        await caller.send(head + b"\r\n\r\n")
        assert await caller.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await caller.send(body)
        assert (await caller.receive()).status == 200
    _, headers, got = read(keepa.requests[-1])
    assert got == JSON_BODY
    assert "expect" not in {name.lower() for name, _ in headers}


async def test_chunked_body_arrives_whole(gateway, simulator):
    """A body sent in chunks reaches Keepa with the same bytes."""
    async with Caller(gateway.url) as caller:
        await caller.send(
            b"POST /query?key=mine HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for piece in (JSON_BODY[:7], JSON_BODY[7:]):
            await caller.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await caller.send(b"0\r\n\r\n")
        assert (await caller.receive()).status == 200
    sent = simulator.state()["last_call"]
    assert sent["body_sha256"] == hashlib.sha256(JSON_BODY).hexdigest()


async def test_gzipped_json_body_leaves_gzipped(serve, keepa):
    """A gzipped JSON body leaves byte for byte with its Content-Encoding."""
    gateway = await serve(keepa)
    packed = gzip.compress(JSON_BODY)
    answer = await gateway.ask(
        "/query?key=mine", "Content-Encoding: gzip", method="POST", body=packed
    )
    assert answer.status == 200
    _, headers, body = read(keepa.requests[-1])
    assert body == packed
    assert dict(headers)["Content-Encoding"] == "gzip"


async def test_gzipped_form_with_a_key_inside_is_rewritten(serve, keepa):
    """The caller's key does not reach Keepa inside a gzipped form either."""
    gateway = await serve(keepa)
    packed = gzip.compress(b"key=mine&asin=B1")
    answer = await gateway.ask("/product", "Content-Encoding: gzip", method="POST", body=packed)
    assert answer.status == 200
    _, headers, body = read(keepa.requests[-1])
    sent = gzip.decompress(body) if dict(headers).get("Content-Encoding") else body
    assert sent == f"key={REAL_KEY}&asin=B1".encode()


async def test_gzip_that_is_not_labelled_is_priced_by_what_is_in_it(gateway, simulator):
    """A gzipped form without Content-Encoding is priced, and its key swapped, like any other."""
    packed = gzip.compress(b"key=mine&domain=1&asin=" + b",".join(b"B%09d" % n for n in range(7)))
    answer = await gateway.ask("/product", method="POST", body=packed)
    assert (answer.status, answer.get("X-Keepa-Gateway-Reserved")) == (200, "7")
    assert simulator.state()["charged_total"] == 7


@pytest.mark.parametrize("size", [65_535, 65_537, 1_000_000])
async def test_large_body_leaves_byte_for_byte(gateway, simulator, size):
    """A JSON body of any size reaches Keepa byte for byte, with its length."""
    body = json.dumps({"title": "x" * (size - 13)}).encode()
    assert len(body) == size
    answer = await gateway.ask("/query?key=mine", method="POST", body=body)
    assert answer.status == 200
    sent = simulator.state()["last_call"]
    assert (sent["body_bytes"], sent["body_sha256"]) == (size, hashlib.sha256(body).hexdigest())


async def test_largest_body_reaches_keepa(gateway, simulator):
    """A body of 16 MiB is the largest that is forwarded."""
    body = b'{"title":"%s"}' % (b"x" * (16 * 1024 * 1024 - 12))
    assert len(body) == 16 * 1024 * 1024
    answer = await gateway.ask("/deal?key=mine", method="POST", body=body)
    assert answer.status == 200, answer.plain[:300]
    assert simulator.state()["last_call"]["body_bytes"] == len(body)


FORWARDED = [
    "User-Agent: stock/1.0", "Accept: application/json, */*;q=0.1", "Accept: text/html",
    "Accept-Language: de", "Content-Type: text/json", "Content-Encoding: identity",
]  # fmt: skip


async def test_only_what_concerns_the_call_leaves(serve, keepa):
    """Five headers leave, as often and in the order as they came; nothing is added."""
    gateway = await serve(keepa)
    # Keepa is spoken to by http here, as a simulator is: what steers one passes.
    asked = await gateway.ask(
        "/query?key=x", *FORWARDED, "X-Sim-Fault: none", method="POST", body=b'{"page":0}'
    )
    assert asked.status == 200
    _, got, _ = read(keepa.requests[-1])
    passed = [f"{name}: {value}" for name, value in got if name.lower() not in OWN]
    assert passed == [*FORWARDED, "X-Sim-Fault: none"]


async def test_what_tells_of_the_house_stays_in_it(serve, keepa):
    """Cookies, addresses, identity tokens and traces of callers never reach Keepa."""
    gateway = await serve(keepa)
    house = [
        "Cookie: session=1", "Cookie: b=2", "Referer: https://intra/", "Origin: https://intra",
        "Via: 1.1 house", "Forwarded: for=10.0.0.1", "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-Host: intra", "X-Forwarded-Proto: https", "X-Real-IP: 10.0.0.1",
        "Cf-Access-Jwt-Assertion: jwt", "X-Goog-IAP-JWT-Assertion: jwt",
        "X-Goog-Authenticated-User-Email: a@b.example", "X-Amzn-Oidc-Data: jwt",
        "X-Amzn-Oidc-Identity: me", "X-Auth-Request-User: me", "X-Auth-Request-Access-Token: t",
        "X-Ms-Client-Principal-Name: me", "True-Client-IP: 10.0.0.1", "X-Request-Id: call-1",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate: a=b", "baggage: user=me", "B3: 1", "X-Whatever: 1", "Prefer: wait=1",
        "Range: bytes=0-1", "If-None-Match: *", "Cache-Control: no-cache", "DNT: 1",
    ]  # fmt: skip
    assert (await gateway.ask("/product?asin=B1", *house)).status == 200
    _, got, _ = read(keepa.requests[-1])
    assert [name for name, _ in got] == ["Host"]


async def test_no_header_is_made_up(serve, keepa):
    """A caller that sends no headers has none sent for it but Host."""
    gateway = await serve(keepa)
    assert (await gateway.ask("/product?asin=B1")).status == 200
    _, got, _ = read(keepa.requests[-1])
    assert got == [("Host", keepa.url.removeprefix("http://"))]


async def test_hop_by_hop_headers_stay_here(serve, keepa):
    """What Connection names is for this connection only, whatever it is."""
    gateway = await serve(keepa)
    headers = [
        "Connection: keep-alive, Accept",
        "Connection: user-agent",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic c2VjcmV0",
        "TE: trailers",
        "accept: 1",
        "User-Agent: 2",
        "Accept-Language: 3",
    ]
    assert (await gateway.ask("/product?asin=B1", *headers)).status == 200
    _, got, _ = read(keepa.requests[-1])
    assert [name for name, _ in got if name.lower() not in OWN] == ["Accept-Language"]


async def test_credentials_and_service_name_never_leave(serve, keepa):
    """Authorization, X-Api-Key and X-Service-Name are for the gateway only."""
    gateway = await serve(keepa)
    headers = ["Authorization: Bearer mine", "X-Api-Key: mine", "X-Service-Name: pricing"]
    assert (await gateway.ask("/product?asin=B1&key=mine", *headers)).status == 200
    assert b"mine" not in keepa.requests[-1]
    assert b"pricing" not in keepa.requests[-1]


@pytest.mark.parametrize(
    ("offered", "sent"),
    [
        (None, []),
        ("gzip", ["gzip"]),
        ("zstd, gzip, deflate", ["gzip"]),
        ("gzip;q=0.5, br", ["gzip"]),
        ("*", ["gzip"]),
        ("zstd, br", ["identity"]),
        ("identity", ["identity"]),
        ("gzip;q=0", ["identity"]),
        ("", ["identity"]),
    ],
)
async def test_accept_encoding_is_gzip_at_most(serve, keepa, offered, sent):
    """Keepa is offered gzip where the caller takes it, never what the gateway could not read."""
    gateway = await serve(keepa)
    headers = [] if offered is None else [f"Accept-Encoding: {offered}"]
    assert (await gateway.ask("/product?asin=B1", *headers)).status == 200
    _, got, _ = read(keepa.requests[-1])
    assert [value for name, value in got if name.lower() == "accept-encoding"] == sent


@pytest.mark.parametrize("header", ["User-Agent: caf\xe9", "Accept: \xff\xfe"])
async def test_header_bytes_that_are_no_utf8_pass(serve, keepa, header):
    """A header value of other bytes than UTF-8 reaches Keepa as it was sent."""
    gateway = await serve(keepa)
    assert (await gateway.ask("/product?asin=B1", header.encode("latin-1"))).status == 200
    assert header.encode("latin-1") in keepa.requests[-1]
