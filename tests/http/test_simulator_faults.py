"""The simulator's faults over real sockets: drops, cuts, errors, slowness."""

import asyncio
import gzip
import zlib
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest
from support.keepa.simulated import FIELDS, HTML, JSON, PRODUCT, fetch, fetch_json, talk
from support.measure.stopwatch import Stopwatch
from support.waiting import until

from gateway.simulator import Fault, SimulatorConfig, start_simulator


@pytest.fixture
async def simulator():
    # Calls as short as they may be; what Keepa checks is tested among the answers.
    async with await start_simulator(SimulatorConfig(lenient=True)) as running:
        yield running


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
