"""The simulator's answers over real sockets: what a client of Keepa would see."""

import asyncio
import gzip
import resource
import time
import zlib
from urllib.parse import urlsplit

import orjson
import pytest
from support.keepa.simulated import FIELDS, JSON, PRODUCT, control, fetch, fetch_json, talk
from support.waiting import until

from gateway.simulator import SimulatorConfig, start_simulator


@pytest.fixture
async def simulator():
    # Calls as short as they may be; what Keepa checks is tested among the answers.
    async with await start_simulator(SimulatorConfig(lenient=True)) as running:
        yield running


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
