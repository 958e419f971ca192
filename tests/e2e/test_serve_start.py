"""Misspelt variables at the start, and SIGHUP: of a reload, and of a terminal that is closed."""

import re
import signal
import subprocess
from pathlib import Path

import pytest
from support.gateways.processes import COMMAND
from support.waiting import until

pytestmark = pytest.mark.e2e


def start(command, **how):
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how)


def ignores_sighup(pid):
    """Say whether a process ignores the signal, as Linux tells."""
    ignored = re.search(r"^SigIgn:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(ignored[1], 16) >> (signal.SIGHUP - 1) & 1)


async def test_a_gateway_outlives_sighup(machines):
    """It serves on with the settings that it has, and its log says how they change."""
    simulator = await machines.simulate().started()
    gateway = await machines.serve(keepa_base_url=simulator.url, drain_seconds=0).started()
    for _ in range(2):
        gateway.process.send_signal(signal.SIGHUP)
    line = (await until(lambda: gateway.logged("sighup_ignored")))[0]
    assert "keepa-gateway check" in line["hint"]
    assert (await gateway.ask("/healthz")).status == 200
    gateway.terminate()
    assert await gateway.ended() == 0


@pytest.mark.parametrize("is_nohup", [False, True])
async def test_the_simulator_ends_with_its_terminal(tmp_path, is_nohup):
    """Its SIGHUP ends it as SIGTERM does, unless it was started with nohup."""
    nohup = ["nohup"] if is_nohup else []
    with (tmp_path / "out").open("wb") as out:
        process = start([*nohup, *COMMAND, "simulate", "--port=0"], stdout=out)
    try:
        await until(lambda: b"simulated Keepa" in (tmp_path / "out").read_bytes(), 20)
        assert ignores_sighup(process.pid) is is_nohup
        process.send_signal(signal.SIGHUP)
        if is_nohup:
            process.terminate()
        await until(lambda: process.poll() is not None)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


async def test_a_misspelt_variable_is_told_at_the_start(machines):
    """One line of the log, before it listens, and the gateway serves."""
    gateway = machines.serve(
        keepa_base_url="simulator", min_balance_treshold=5, safty_buffer=7, drain_seconds=0
    )
    await gateway.started()
    (line,) = gateway.logged("misspelt_settings")
    assert "did you mean MIN_BALANCE_THRESHOLD?" in line["hint"]
    assert "did you mean SAFETY_BUFFER?" in line["hint"]
