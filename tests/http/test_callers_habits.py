"""Requests as people send them: by a proxy's settings, a slash too many, to guessed paths."""

import orjson
import pytest
from support.callers.refusals import read_refusal
from support.callers.wire import Caller, write_request
from support.gateways.served import REAL_KEY

KEYS = "pricing:s3cret-of-pricing"
SECRET = "s3cret-of-pricing"
PRODUCT = "product?asin=B1&domain=1"


def line_of(request):
    return request.partition(b"\r\n")[0].decode()


@pytest.mark.parametrize(
    "target",
    [
        f"http://api.keepa.com/{PRODUCT}", f"https://api.keepa.com/{PRODUCT}",
        f"HTTP://user@10.0.0.1:8080/{PRODUCT}", f"http://[::1]:80/{PRODUCT}",
        f"http://evil.example//{PRODUCT}", f"//{PRODUCT}", f"///{PRODUCT}",
    ],
)  # fmt: skip
async def test_host_of_a_target_does_not_matter(serve, keepa, target):
    """A target as for an HTTP proxy, or with a slash too many, is taken by its path and query."""
    gateway = await serve(keepa)
    assert (await gateway.ask(target)).status == 200
    assert line_of(keepa.requests[-1]) == f"GET /{PRODUCT}&key={REAL_KEY} HTTP/1.1"


@pytest.mark.parametrize("target", ["http://gateway/healthz", "//healthz", "https://x//healthz?a"])
async def test_own_paths_are_found_the_same_way(gateway, target):
    """The gateway's own paths are its own in each form of target."""
    assert (await gateway.ask(target)).json() == {"status": "alive"}


async def test_there_is_no_tunnel(gateway):
    """CONNECT is a 405 that says so, and the connection is closed."""
    async with Caller(gateway.url) as caller:
        await caller.send(write_request("api.keepa.com:443", method="CONNECT"))
        told = read_refusal(await caller.receive(), 405, "method_not_allowed")
        assert "no tunnel" in told["error"]["message"]
        assert await caller.has_ended()


@pytest.mark.parametrize(
    "path",
    [
        "/health", "/ready", "/live", "/livez", "/ping", "/version", "/mcp", "/Health", "/health/",
        "/favicon.ico", "/robots.txt", "/.well-known/oauth-protected-resource", "/actuator/health",
        "/", "/api", "/api/product", "/overrides", "/inflight", "/calls", "//ping",
        "http://gateway/ping",
    ],
)  # fmt: skip
async def test_probes_are_no_calls(serve, keepa, path):
    """What probes and crawlers ask for is a 404 that names the paths for that; it goes nowhere."""
    gateway = await serve(keepa)
    for method in ("GET", "POST"):
        told = read_refusal(await gateway.ask(path, method=method), 404, "not_found")
        assert {"/healthz", "/readyz"} <= set(told["error"]["message"].split())
    assert keepa.requests == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_browser_is_led_to_the_dashboard(gateway, method):
    """`GET /` of a browser leads to the dashboard, wherever a proxy has put the gateway."""
    got = await gateway.ask("/?x", "Accept: text/html,*/*;q=0.8", method=method)
    assert (got.status, got.get("Location")) == (303, "dashboard")
    posted = await gateway.ask("/", "Accept: text/html", method="POST")
    assert posted.status == 404


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("/healthz", "POST", "GET, HEAD"), ("/readyz", "PUT", "GET, HEAD"),
        ("/status", "DELETE", "GET, HEAD"), ("/metrics", "OPTIONS", "GET, HEAD"),
        ("/usage", "POST", "GET, HEAD"), ("/dashboard", "POST", "GET, HEAD"),
        ("/dashboard/events", "PATCH", "GET, HEAD"), ("/dashboard/login", "PUT", "GET, HEAD, POST"),
        ("/dashboard/logout", "DELETE", "GET, HEAD, POST"),
        ("/quote?path=token", "PUT", "GET, POST"), ("/quote?path=token", "HEAD", "GET, POST"),
        ("/product", "DELETE", "GET, POST"),
    ],
)  # fmt: skip
async def test_other_methods_are_told_which_there_are(gateway, path, method, allow):
    """A method that a path does not take is a 405 whose Allow is right, on own paths too."""
    got = await gateway.ask(path, method=method)
    assert (got.status, got.get("Allow")) == (405, allow)
    if method != "HEAD":
        read_refusal(got, 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/status", "/metrics", "/usage"])
async def test_head_is_answered_without_a_body(gateway, path):
    """HEAD of an own path is GET without the body; the connection goes on."""
    await gateway.until_ready()
    async with Caller(gateway.url) as caller:
        for _ in range(2):
            await caller.send(write_request(path, method="HEAD"))
            got = await caller.receive(to="HEAD")
            assert got.status == 200
            assert int(got.get("Content-Length")) > 0


@pytest.mark.parametrize(
    ("target", "headers", "form"),
    [
        (f"/{PRODUCT}&apikey={SECRET}", [], b""),
        (f"/{PRODUCT}&api_key={SECRET}", [], b""),
        (f"/product?apiKey={SECRET}&asin=B1&domain=1", [], b""),
        (f"/{PRODUCT}&key={SECRET}%0A", [], b""),
        (f"/{PRODUCT}&key=%20{SECRET}+", [], b""),
        ("/product", [], b"asin=B1&domain=1&api-key=" + SECRET.encode()),
        ("/product", [], b"key=" + SECRET.encode() + b"%0D%0A&asin=B1&domain=1"),
        (f"/{PRODUCT}", ["Authorization: Basic cHJpY2luZzpzM2NyZXQtb2YtcHJpY2luZw=="], b""),
        (f"/{PRODUCT}", ["Proxy-Authorization: Basic eDpzM2NyZXQtb2YtcHJpY2luZw=="], b""),
        (f"/{PRODUCT}", [f"X-Api-Key: {SECRET} "], b""),
    ],
)
async def test_each_place_where_people_put_a_key_names_the_service(
    serve, keepa, target, headers, form
):
    """A key is found where people put it, and is replaced there: it never reaches Keepa."""
    gateway = await serve(keepa, service_keys=KEYS)
    got = await gateway.ask(target, *headers, method="POST" if form else "GET", body=form)
    assert got.status == 200
    [sent] = keepa.requests
    assert SECRET.encode() not in sent
    assert b"cHJp" not in sent
    assert sent.count(REAL_KEY.encode()) == 1
    await gateway.at_rest()
    assert set((await gateway.ask("/status")).json()["services"]) == {"pricing"}


async def test_unknown_caller_is_told_where_a_key_is_looked_for(serve, keepa):
    """A 401 names each place where the gateway looks for a key."""
    gateway = await serve(keepa, service_keys=KEYS)
    told = read_refusal(await gateway.ask(f"/{PRODUCT}"), 401, "unauthorized")
    for place in ("`key`", "Bearer", "Basic", "X-Api-Key"):
        assert place in told["error"]["message"]


FORM_DATA = (
    b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\n'
    + SECRET.encode()
    + b"\r\n--x--\r\n"
)
JSON = orjson.dumps({"key": SECRET, "asin": "B1", "domain": 1})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *((f"/{path}", body) for path in ("product", "seller", "search", "bestsellers")
          for body in (JSON, FORM_DATA)),
        ("/product", b" \r\n" + FORM_DATA), ("/product", b"\xef\xbb\xbf" + JSON),
        ("/product", JSON.decode().encode("utf-16")), ("/Product/", JSON), ("/product", b'["B1"]'),
        ("/product", b'"B1"'), ("/product", b"<asin>B1</asin>"), ("/topseller", JSON),
        ("/lightningdeal", JSON), ("/category", JSON), ("/token", JSON),
        # These take JSON, but a key in it would pass to Keepa as it is.
        ("/query", JSON), ("/deal", JSON), ("/sellerquery", JSON), ("/new-one", JSON),
        ("/tracking?type=add", b"[" + JSON + b"]"), ("/query", b'{"perPage":50, "apiKey" : "x"}'),
        ("/deal", FORM_DATA), ("/new-one", FORM_DATA),
    ],
)  # fmt: skip
@pytest.mark.parametrize("label", ["application/x-www-form-urlencoded", "application/json"])
async def test_body_that_its_endpoint_does_not_read_goes_nowhere(serve, keepa, path, body, label):
    """JSON or form-data where a form is read is a 415, however it is labelled; it goes nowhere."""
    gateway = await serve(keepa)
    headers = [f"Content-Type: {label}", f"X-Api-Key: {SECRET}"]
    got = await gateway.ask(path, *headers, method="POST", body=body)
    read_refusal(got, 415, "unsupported_media_type")
    assert keepa.requests == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/query?domain=1", b'{"perPage":50,"title":"key","brand":["monkey"]}'),
        ("/deal", b'{"page":0,"domainId":1}'), ("/sellerquery", b'{"perPage":50}'),
        ("/tracking?type=add", b'[{"asin":"B1","metaData":"a \\"key\\" of mine"}]'),
        ("/new-one", b'{"a":1}'), ("/product", b"asin=B1&domain=1"), ("/product", b"&asin=B1"),
        ("/product", b"\r\nasin=B1&domain=1\r\n"), ("/product", b""), ("/product", b"-asin=B1"),
    ],
)  # fmt: skip
async def test_body_that_its_endpoint_reads_is_sent_on(serve, keepa, path, body):
    """JSON where Keepa reads JSON, labelled as PHP does, and forms pass byte for byte."""
    gateway = await serve(keepa)
    label = "Content-Type: application/x-www-form-urlencoded"
    assert (await gateway.ask(path, label, method="POST", body=body)).status == 200
    assert keepa.requests[-1].partition(b"\r\n\r\n")[2] == body
