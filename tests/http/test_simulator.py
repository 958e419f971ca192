"""The simulator over real sockets: what a client of Keepa would see, and what steers it."""

import asyncio
import gzip
import hashlib
import resource
import time
import zlib
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest
from support.measure.stopwatch import Stopwatch
from support.waiting import within

from gateway.simulator import Fault, SimulatorConfig, start_simulator

FIELDS = [
    "timestamp",
    "tokensLeft",
    "refillIn",
    "refillRate",
    "tokenFlowReduction",
    "tokensConsumed",
    "processingTimeInMs",
]
JSON = "application/json;charset=utf-8"
HTML = "text/html;charset=utf-8"
PRODUCT = "/product?key=k&domain=1&asin=B000000001"


@pytest.fixture
async def simulator():
    # Calls as short as they may be; what Keepa checks is tested below.
    async with await start_simulator(SimulatorConfig(lenient=True)) as running:
        yield running


@pytest.fixture
async def session():
    # A fresh connection for each call, never sent twice: a fault is to be seen as it is.
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as client:
        client._retry_connection = False
        yield client


async def fetch(session, running, target, **how):
    """Return (status, headers, body as sent); accepts no gzip unless told to."""
    how["headers"] = {"Accept-Encoding": "identity", **how.get("headers", {})}
    method = how.pop("method", "GET")
    url = running.url + target if isinstance(target, str) else target
    async with session.request(method, url, **how) as response:
        return response.status, response.headers, await response.read()


async def fetch_json(session, running, target, **how):
    return orjson.loads((await fetch(session, running, target, **how))[2])


async def until(happened):
    async with within(5):
        while not happened():
            await asyncio.sleep(0.001)


async def talk(running, target, *lines, method="GET", body=b""):
    """Speak plain HTTP, once; return the head and all bytes until the connection closes."""
    parts = urlsplit(running.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = [f"{method} {target} HTTP/1.1", "Host: keepa", "Connection: close", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    received = await reader.read(-1)
    writer.close()
    await writer.wait_closed()
    return received.partition(b"\r\n\r\n")[::2]


# What Keepa answers


async def test_small_answer(simulator, session):
    """A product is JSON of a known length, not compressed for who does not ask."""
    status, headers, body = await fetch(session, simulator, PRODUCT)

    answer = orjson.loads(body)
    assert status == 200
    assert headers["Content-Type"] == JSON
    assert headers["Content-Length"] == str(len(body))
    assert "Content-Encoding" not in headers
    assert answer["products"][0]["asin"] == "B000000001"
    assert (answer["tokensLeft"], answer["tokensConsumed"]) == (99, 1)
    assert 0 < answer["refillIn"] <= 60_000
    assert abs(answer["timestamp"] - time.time() * 1000) < 60_000


async def test_field_orders(simulator, session):
    """By default answers take turns in where the fields stand; a header decides for one call."""
    orders = [list(await fetch_json(session, simulator, PRODUCT)) for _ in range(3)]
    first = list(await fetch_json(session, simulator, PRODUCT, headers={"X-Sim-Order": "first"}))

    assert orders[0] == orders[2] == first == [*FIELDS, "products"]
    assert orders[1] == sorted(first)


@pytest.mark.parametrize("order", ["first", "sorted"])
async def test_configured_order(session, order):
    """A simulator of one order keeps to it, errors included."""
    async with await start_simulator(SimulatorConfig(field_order=order)) as running:
        for target in (PRODUCT, "/product?key=k", "/token?key=k"):
            keys = list(await fetch_json(session, running, target))
            assert (keys == sorted(keys)) is (order == "sorted")


@pytest.mark.parametrize(
    ("target", "status"), [(PRODUCT, 200), ("/token/?key=k", 200), ("/product?key=k", 400)]
)
async def test_gzip(simulator, session, target, status):
    """Who accepts gzip gets it, errors too, with the length of what is sent."""
    headers = {"Accept-Encoding": "zstd, gzip, deflate"}
    answered, head, body = await fetch(session, simulator, target, headers=headers)

    assert answered == status
    assert head["Content-Encoding"] == "gzip"
    assert head["Content-Length"] == str(len(body))
    assert orjson.loads(gzip.decompress(body))["refillRate"] == 20


@pytest.mark.parametrize(
    ("target", "how", "consumed"),
    [
        ("/product/?key=k&asin=B000000001", {}, 1),
        ("/product", {"method": "POST", "data": {"key": "k", "asin": "B1,B2"}}, 2),
        ("/product/?key=k", {"method": "POST", "data": {"asin": "B1,B2"}}, 2),
        ("/deal?key=k&", {"method": "POST", "json": {"page": 0}}, 5),
        (
            "/query/?key=k",
            {
                "method": "POST",
                "data": b'{"simMatches":0}',
                "headers": {"Content-Type": "application/x-www-form-urlencoded"},
            },
            10,
        ),
        (
            "/query/?key=k",
            {
                "method": "POST",
                "data": gzip.compress(b'{"simMatches":0}'),
                "headers": {"Content-Encoding": "gzip"},
            },
            10,
        ),
        (f"/query?key=k&selection=%7B%22title%22:%22{'x' * 100_000}%22%7D", {}, 11),
        ("/tracking?key=k&type=list", {}, 0),
        ("/bestsellers?key=k&category=0", {}, 0),
    ],
)
async def test_ways_to_ask(simulator, session, target, how, consumed):
    """Slash or none, GET or POST, form or JSON under any label, short or very long: all do."""
    answer = await fetch_json(session, simulator, target, **how)

    assert answer["tokensConsumed"] == consumed
    assert simulator.state()["charged_total"] == consumed


async def test_other_methods(simulator, session):
    """Keepa knows GET and POST only."""
    status, _, _ = await fetch(session, simulator, PRODUCT, method="PUT")

    assert status == 405
    assert simulator.state()["charged_total"] == 0


async def test_expect_continue(simulator):
    """A client that waits to be told so before it sends its body is told so."""
    head, rest = await talk(
        simulator, "/deal?key=k", "Expect: 100-continue", method="POST", body=b'{"page":0}'
    )

    assert head.startswith(b"HTTP/1.1 100")
    assert rest.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("key", ["?key=other&", "?", "?key=&"])
async def test_wrong_key(session, key):
    """A wrong key is a 400 whose token fields are all zero, and costs nothing."""
    async with await start_simulator(SimulatorConfig(api_key="right")) as running:
        status, _, body = await fetch(session, running, f"/product{key}asin=B000000001")
        malformed = await fetch_json(session, running, f"/product{key}")
        right = await fetch_json(session, running, "/token?key=right")

    answer = orjson.loads(body)
    assert status == 400
    assert set(answer) == {*FIELDS, "error"}
    assert [answer[name] for name in FIELDS[1:]] == [0] * 6
    assert malformed["refillRate"] == 0
    assert right["tokensLeft"] == 100


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("/product?key=k&domain=1&asin=NOTANASIN", "asin"),
        ("/product?key=k&asin=B000000001", "domain"),
        ("/bestsellers?key=k&category=1", "domain"),
        ("/product?key=k&domain=x&asin=B000000001", "domain"),
    ],
)
async def test_what_keepa_checks(session, target, named):
    """An ASIN that is none, and no domain, are a 400 in Keepa's shape that costs nothing."""
    async with await start_simulator() as running:
        status, _, body = await fetch(session, running, target)

    answer = orjson.loads(body)
    assert status == 400
    assert set(answer) == {*FIELDS, "error"}
    assert answer["error"].keys() == {"type", "message", "details"}
    assert answer["error"]["details"] == named
    assert (answer["tokensLeft"], answer["tokensConsumed"], answer["refillRate"]) == (100, 0, 20)


async def test_two_answers_differ(simulator, session):
    """A later answer is told from an earlier one by each product's counter."""
    answers = [await fetch_json(session, simulator, PRODUCT) for _ in range(2)]

    assert [answer["products"][0]["simAnswers"] for answer in answers] == [1, 2]


async def test_a_refused_call_fetches_nothing(session):
    """What Keepa refuses changes none of its copies."""
    now = [1_000.0]
    async with await start_simulator(SimulatorConfig(tokens=0), clock=lambda: now[0]) as running:
        assert (await fetch(session, running, PRODUCT))[0] == 429
        now[0] += 60
        answer = await fetch_json(session, running, PRODUCT)

    assert answer["products"][0]["simAnswers"] == 1


async def test_odd_answers_on_request(simulator, session):
    """What is wrong with lists of products is a configuration, changed while it runs."""
    status, config = await control(session, simulator, "/sim/config", {"odd": "double"})
    odd = await fetch_json(session, simulator, PRODUCT)
    await control(session, simulator, "/sim/config", {"odd": None, "decoys": True})
    disguised = await fetch_json(session, simulator, PRODUCT)

    assert (status, config["odd"]) == (200, "double")
    assert len(odd["products"]) == 2
    assert len(disguised["products"]) == 1
    assert disguised["products"][0]["tokensLeft"] == 999_999


async def test_one_odd_answer(simulator, session):
    """A header has one answer odd, and the next as ever."""
    _, _, odd = await fetch(session, simulator, PRODUCT, headers={"X-Sim-Odd": "null"})
    assert orjson.loads(odd)["products"][1:] == [None]
    assert len((await fetch_json(session, simulator, PRODUCT))["products"]) == 1


async def test_rejected_call(simulator, session):
    """A malformed call costs nothing and says so beside an error of strings."""
    status, _, body = await fetch(session, simulator, "/product?key=k&asin=B1&offers=101")

    answer = orjson.loads(body)
    assert status == 405
    assert {type(text) for text in answer["error"].values()} == {str}
    assert (answer["tokensLeft"], answer["tokensConsumed"]) == (100, 0)


async def test_overdraft_and_refusal(session):
    """A dear call runs on one token; then only free calls do, the rest are a 429 as Keepa's."""
    async with await start_simulator(SimulatorConfig(tokens=1)) as running:
        dear = await fetch_json(session, running, "/bestsellers?key=k&domain=1&category=1")
        status, _, body = await fetch(session, running, PRODUCT)
        token = await fetch_json(session, running, "/token?key=k")
        state = running.state()

    refusal = orjson.loads(body)
    assert dear["tokensLeft"] == token["tokensLeft"] == -49
    assert status == 429
    assert set(refusal) == {*FIELDS, "error"}
    assert (refusal["tokensLeft"], refusal["tokensConsumed"]) == (-49, 0)
    assert (state["refused_total"], state["lowest_balance"]) == (1, -49)


async def test_picture(simulator, session):
    """The price graph is a PNG without token fields; asked again soon, the same one is free."""
    for charged in (1, 1):
        status, headers, body = await fetch(session, simulator, "/graphimage?key=k&asin=B1")
        assert (status, headers["Content-Type"]) == (200, "image/png")
        assert body.startswith(b"\x89PNG")
        assert simulator.state()["charged_total"] == charged
    await fetch(session, simulator, "/graphimage?key=k&asin=B2")
    assert simulator.state()["charged_total"] == 2


async def test_time_is_the_clock_s(session):
    """Lumps, the time to the next and the timestamp follow the clock that was given."""
    now = [1_000.0]
    config = SimulatorConfig(tokens=5, refill_rate=20, first_lump_in_ms=18_815)
    async with await start_simulator(config, clock=lambda: now[0]) as running:
        before = await fetch_json(session, running, "/token")
        now[0] += 18.815
        after = await fetch_json(session, running, "/token")

    assert (before["timestamp"], before["refillIn"], before["tokensLeft"]) == (10**6, 18_815, 5)
    assert (after["refillIn"], after["tokensLeft"]) == (60_000, 25)


async def test_answers_overtake_each_other(simulator, session):
    """A call is charged on arrival and tells the balance as its answer leaves."""
    slow = asyncio.create_task(
        fetch_json(session, simulator, PRODUCT, headers={"X-Sim-Latency-Ms": "500"})
    )
    await until(lambda: simulator.state()["calls_total"])
    assert simulator.state()["charged_total"] == simulator.state()["in_flight"] == 1

    quick = await fetch_json(session, simulator, "/deal?key=k&selection={}")

    assert quick["tokensLeft"] == 94
    assert not slow.done()
    assert ((await slow)["tokensLeft"], (await slow)["tokensConsumed"]) == (94, 1)
    assert (await slow)["processingTimeInMs"] >= 450


# Large answers


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("order", ["first", "sorted"])
async def test_large_answer(simulator, session, encoding, order):
    """An answer of 100 MB arrives whole, in chunks, and is never held in memory."""
    size = 100_000_000
    steer = {"Accept-Encoding": encoding, "X-Sim-Bytes": str(size), "X-Sim-Order": order}
    unpack = zlib.decompressobj(wbits=31)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    received, tail = 0, b""
    async with session.get(simulator.url + PRODUCT, headers=steer) as response:
        assert "Content-Length" not in response.headers
        async for chunk in response.content.iter_any():
            plain = unpack.decompress(chunk) if encoding == "gzip" else chunk
            received += len(plain)
            tail = (tail + plain)[-400:]
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb

    assert size <= received < size + 10_000
    assert tail.endswith(b"}")
    assert (b'"tokensConsumed":1,' in tail) is (order == "sorted")
    assert unpack.eof is (encoding == "gzip")
    assert grown_kb < 30_000


async def test_many_products_are_whole(simulator, session):
    """A hundred padded products are JSON to the last byte, gzipped and chunked."""
    asins = ",".join(f"B{n:09d}" for n in range(100))
    steer = {"Accept-Encoding": "gzip", "X-Sim-Bytes": "1000000"}
    _, _, body = await fetch(session, simulator, f"/product?asin={asins}", headers=steer)

    answer = orjson.loads(gzip.decompress(body))
    assert len(answer["products"]) == answer["tokensConsumed"] == 100


async def test_large_answer_to_http_1_0(simulator):
    """A client of HTTP/1.0, which knows no chunks, reads a large answer to the end."""
    parts = urlsplit(simulator.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {PRODUCT} HTTP/1.0\r\nX-Sim-Bytes: 200000\r\n\r\n".encode())
    head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    writer.close()

    assert b"chunked" not in head
    assert orjson.loads(body)["tokensConsumed"] == 1


# Faults


@pytest.mark.parametrize(("fault", "charged"), [(Fault.DROP, 0), (Fault.CHARGE_AND_DROP, 1)])
async def test_drops(simulator, fault, charged):
    """The connection closes without a byte, before or after the charge."""
    assert await talk(simulator, PRODUCT, f"X-Sim-Fault: {fault}") == (b"", b"")
    assert simulator.state()["charged_total"] == charged


@pytest.mark.parametrize(
    ("fault", "expected", "charged"),
    [
        (Fault.HTTP_500, (500, JSON), 0),
        (Fault.HTML_503, (503, HTML), 0),
        (Fault.EMPTY_502, (502, HTML), 0),
        (Fault.CHARGE_THEN_HTML, (500, HTML), 1),
        (Fault.ERROR_IN_200, (200, JSON), 1),
        (Fault.ALL_ZERO, (400, JSON), 0),
    ],
)
async def test_failures(simulator, session, fault, expected, charged):
    """A failure has its status and kind; what has token fields tells the charge, pages do not."""
    steer = {"X-Sim-Fault": fault}
    status, headers, body = await fetch(session, simulator, PRODUCT, headers=steer)

    assert (status, headers["Content-Type"]) == expected
    assert simulator.state()["charged_total"] == charged
    assert simulator.state()["faults"] == {fault: 1}
    if expected[1] == JSON:
        answer = orjson.loads(body)
        assert set(answer) == {*FIELDS, "error"}
        assert answer["tokensConsumed"] == charged
        assert answer["refillRate"] == (0 if fault is Fault.ALL_ZERO else 20)
    else:
        assert b"tokens" not in body
        assert bool(body) is (fault is not Fault.EMPTY_502)


@pytest.mark.parametrize("order", ["first", "sorted"])
@pytest.mark.parametrize("size", [0, 300_000])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize(
    "cut",
    [(Fault.CUT_BODY_EARLY, False), (Fault.CUT_BODY_LATE, True), (Fault.CUT_BODY, None)],
)
async def test_cuts(simulator, cut, encoding, size, order):
    """A cut answer promises the whole, sends a part, and is charged; an early one lacks fields."""
    fault, with_fields = cut
    steer = {
        "X-Sim-Fault": fault,
        "X-Sim-Bytes": str(size),
        "X-Sim-Order": order,
        "Accept-Encoding": encoding,
    }
    head, body = await talk(simulator, PRODUCT, *(f"{k}: {v}" for k, v in steer.items()))

    assert head.startswith(b"HTTP/1.1 200")
    assert (b"chunked" in head) is (size > 0)
    assert not body.endswith(b"0\r\n\r\n")
    assert simulator.state()["charged_total"] == 1
    if size == 0:
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert 0 < len(body) < length
        plain = zlib.decompressobj(wbits=31).decompress(body) if encoding == "gzip" else body
        if with_fields is not None:
            assert (b'"tokensConsumed":1,' in plain) is with_fields


@pytest.mark.parametrize("target", [PRODUCT, "/graphimage?asin=B1"])
@pytest.mark.parametrize("size", ["0", "300000"])
async def test_a_client_notices_a_cut(simulator, session, target, size):
    """No cut looks like a whole answer to a client, whether it has a length or chunks."""
    steer = {"X-Sim-Fault": "cut_body_late", "X-Sim-Bytes": size}
    with pytest.raises(aiohttp.ClientPayloadError):
        await fetch(session, simulator, target, headers=steer)


@pytest.mark.parametrize("size", [0, 300_000])
@pytest.mark.parametrize("fault", [Fault.SLOW_BODY, Fault.SLOW_HEAD])
async def test_slowness(simulator, session, fault, size):
    """A slow answer is whole in the end; its head comes at once if only the body is slow."""
    steer = {"X-Sim-Fault": fault, "X-Sim-Slow-Seconds": "0.4", "X-Sim-Bytes": str(size)}
    began = Stopwatch()
    async with session.get(simulator.url + PRODUCT, headers=steer) as response:
        head_seconds = began.wall_seconds
        answer = orjson.loads(gzip.decompress(await response.read()))
    whole_seconds = began.wall_seconds

    assert answer["tokensConsumed"] == 1
    assert whole_seconds >= 0.35
    assert (head_seconds < whole_seconds / 2) is (fault is Fault.SLOW_BODY)


async def test_caller_leaves_a_slow_answer(simulator):
    """A caller who hangs up in the middle breaks nothing, and the call does not stay in flight."""
    parts = urlsplit(simulator.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    steer = "X-Sim-Fault: slow_body\r\nX-Sim-Slow-Seconds: 0.2\r\nX-Sim-Bytes: 900000"
    writer.write(f"GET {PRODUCT} HTTP/1.1\r\nHost: keepa\r\n{steer}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await until(lambda: not simulator.state()["in_flight"])


@pytest.mark.parametrize(
    "fault", [Fault.CHARGE_AND_DROP, Fault.CHARGE_THEN_HTML, Fault.ERROR_IN_200]
)
async def test_a_refused_call_is_refused_whatever_the_fault(session, fault):
    """A fault in place of what was paid for needs a payment: a refused call is a plain 429."""
    async with await start_simulator(SimulatorConfig(tokens=0)) as running:
        status, _, _ = await fetch(session, running, PRODUCT, headers={"X-Sim-Fault": fault})

    assert status == 429


async def test_misspelt_steering(simulator, session):
    """A header that asks for what there is not is a 400 that says so."""
    status, _, body = await fetch(session, simulator, PRODUCT, headers={"X-Sim-Fault": "gremlins"})

    assert status == 400
    assert "gremlins" in orjson.loads(body)["error"]
    assert simulator.state()["calls_total"] == 0


async def test_random_faults(session):
    """The fault rate strikes calls without the header, the same ones for the same seed."""

    async def suffer(seed):
        config = SimulatorConfig(fault_rate=0.5, seed=seed, tokens=1_000)
        struck = []
        async with await start_simulator(config) as running:
            for _ in range(40):
                before = sum(running.state()["faults"].values())
                await talk(running, PRODUCT, "X-Sim-Slow-Seconds: 0")
                struck.append(sum(running.state()["faults"].values()) - before)
            spared = await fetch_json(session, running, PRODUCT, headers={"X-Sim-Fault": "none"})
            assert spared["products"]
            return struck, running.state()["faults"]

    struck, faults = await suffer(1)
    assert (struck, faults) == await suffer(1)
    assert struck != (await suffer(2))[0]
    assert 10 < sum(struck) < 30
    assert len(faults) > 4


# Control


async def control(session, running, path, change=None):
    method = "GET" if path == "/sim/state" else "POST"
    data = None if change is None else orjson.dumps(change)
    status, _, body = await fetch(session, running, path, method=method, data=data)
    return status, orjson.loads(body)


async def test_state(simulator, session):
    """The state tells the truth about the account and counts every call by its endpoint."""
    await fetch(session, simulator, PRODUCT)
    await fetch(session, simulator, "/deal/?selection={}")
    await fetch(session, simulator, "/elsewhere")
    _, state = await control(session, simulator, "/sim/state")

    assert state == simulator.state() | {"refill_in_ms": state["refill_in_ms"]}
    expected = {
        "tokens_left": 94,
        "lowest_balance": 94,
        "lowest_balance_by_charge": 94,
        "refill_rate": 20,
        "flow_reduction": 0.0,
        "capacity": 1200,
        "charged_total": 6,
        "spent_total": 0,
        "gained_total": 0,
        "lost_total": 0,
        "calls_total": 3,
        "calls": {"product": 1, "deal": 1, "other": 1},
        "refused_total": 0,
        "faults": {},
        "in_flight": 0,
    }
    assert {name: state[name] for name in expected} == expected
    assert simulator.bucket.lowest == 94


async def test_last_call_is_told_byte_for_byte(simulator, session):
    """What arrived is told as it came: target, header lines in order, and the body's digest."""
    target = "/deal?key=k&b=%2C%2c+%20&a=%C3%A9&a=&"
    body = gzip.compress(b'{"page":0}')
    head, _ = await talk(
        simulator, target, "x-b: 1", "X-A: \xe9", "X-B: 2", "Content-Encoding: gzip",
        method="POST", body=body,
    )  # fmt: skip
    await fetch(session, simulator, "/token")
    state = simulator.state()

    call = state["last_call_by_endpoint"]["deal"]
    assert head.startswith(b"HTTP/1.1 200")
    assert (call["method"], call["raw_path"]) == ("POST", target)
    assert call["raw_headers"][2:6] == [
        ["x-b", "1"],
        ["X-A", "\xc3\xa9"],
        ["X-B", "2"],
        ["Content-Encoding", "gzip"],
    ]
    assert call["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert call["body_bytes"] == len(body)
    assert state["last_call"]["raw_path"] == "/token"
    assert state["last_call"]["body_sha256"] == hashlib.sha256(b"").hexdigest()


async def test_spend(simulator, session):
    """A consumer outside draws unseen, below zero too; nothing it draws is a charge."""
    status, state = await control(session, simulator, "/sim/spend", {"tokens": 130})

    assert status == 200
    assert (state["tokens_left"], state["lowest_balance"]) == (-30, -30)
    assert (state["charged_total"], state["lowest_balance_by_charge"]) == (0, 100)
    assert (await fetch(session, simulator, PRODUCT))[0] == 429


async def test_config(simulator, session):
    """What the account does can be changed while it runs."""
    change = {"refill_rate": 5, "flow_reduction": 1.5, "field_order": "sorted", "api_key": "new"}
    status, config = await control(session, simulator, "/sim/config", change)
    old = await fetch_json(session, simulator, PRODUCT)
    new = await fetch_json(session, simulator, "/token?key=new")

    assert status == 200
    assert {name: config[name] for name in change} == change
    assert old["refillRate"] == 0
    assert (new["refillRate"], new["tokenFlowReduction"]) == (5, 1.5)
    assert list(new) == sorted(new)
    assert simulator.state()["capacity"] == 300


async def test_configured_latency(session):
    """Each call takes the configured time, unless its header says otherwise."""
    async with await start_simulator(SimulatorConfig(latency_seconds=0.2)) as running:
        usual = await fetch_json(session, running, "/token")
        quick = await fetch_json(session, running, "/token", headers={"X-Sim-Latency-Ms": "0"})

    assert usual["processingTimeInMs"] >= 190 > quick["processingTimeInMs"]


async def test_reset(simulator, session):
    """A reset begins anew: balance, phase, lowest and counts, as configured or as told."""
    await fetch(session, simulator, PRODUCT)
    await fetch(session, simulator, "/graphimage?asin=B1")
    told = {"tokens": 7, "first_lump_in_ms": 1_000_000}
    _, state = await control(session, simulator, "/sim/reset", told)
    again = await fetch_json(session, simulator, PRODUCT)
    await fetch(session, simulator, "/graphimage?asin=B1")
    assert simulator.state()["charged_total"] == 2
    _, configured = await control(session, simulator, "/sim/reset")

    assert (state["tokens_left"], state["lowest_balance"], state["calls_total"]) == (7, 7, 0)
    assert 990_000 < state["refill_in_ms"] <= 1_000_000
    assert state["last_call"] is None
    assert again["tokensLeft"] == 6
    assert configured["tokens_left"] == configured["lowest_balance"] == 100


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/sim/config", {"fault_rate": 2}),
        ("/sim/config", {"fault_rate": "1"}),
        ("/sim/config", {"latency": 1}),
        ("/sim/config", {"refill_rate": True}),
        ("/sim/config", {"decoys": 1}),
        ("/sim/config", {"odd": "sideways"}),
        ("/sim/config", []),
        ("/sim/spend", {"tokens": -1}),
        ("/sim/spend", {"tokens": 1.5}),
        ("/sim/reset", {"first_lump_in_ms": -1}),
    ],
)
async def test_control_refuses_what_cannot_be(simulator, session, path, change):
    """What cannot be done is a 400 that names the problem, and nothing is changed."""
    status, answer = await control(session, simulator, path, change)

    assert status == 400
    assert answer["error"]
    assert simulator.state()["tokens_left"] == 100


async def test_control_wants_json(simulator, session):
    """A body that is no JSON is a 400."""
    status, _, _ = await fetch(session, simulator, "/sim/spend", method="POST", data=b"{")

    assert status == 400


async def test_close_does_not_wait_for_slow_calls(session):
    """Closing hangs up on calls in flight within about a second."""
    running = await start_simulator()
    call = asyncio.create_task(
        fetch(session, running, PRODUCT, headers={"X-Sim-Latency-Ms": "60000"})
    )
    await until(lambda: running.state()["calls_total"])
    began = Stopwatch()
    await running.close()

    assert began.seconds < 5
    with pytest.raises(aiohttp.ClientError):
        await call


async def test_port_in_use(simulator):
    """A port that is taken is an OSError, and leaves nothing behind."""
    with pytest.raises(OSError, match="address already in use"):
        await start_simulator(port=urlsplit(simulator.url).port)
