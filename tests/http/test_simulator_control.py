"""What steers the simulator and shows its state: `/sim/`."""

import asyncio
import gzip
import hashlib
from urllib.parse import urlsplit

import aiohttp
import pytest
from support.keepa.simulated import PRODUCT, control, fetch, fetch_json, talk
from support.measure.stopwatch import Stopwatch
from support.waiting import until

from gateway.simulator import SimulatorConfig, start_simulator


@pytest.fixture
async def simulator():
    # Calls as short as they may be; what Keepa checks is tested among the answers.
    async with await start_simulator(SimulatorConfig(lenient=True)) as running:
        yield running


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
