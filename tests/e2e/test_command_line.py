"""The command as an operator sees it: exit codes, and one line about what is wrong."""

import shutil
import socket
import sys
from pathlib import Path

import pytest
from support.gateways.processes import KEY

from gateway import __version__

pytestmark = pytest.mark.e2e


@pytest.fixture
def taken_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


@pytest.fixture
def dead_port():
    """A port where nobody listens, and nobody else can."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


async def test_a_bad_setting_stops_the_start_with_one_line(machines):
    """Exit code 2, and one line; what it says of which setting is told in tests/unit."""
    process = machines.run("serve", keepa_api_key=KEY, min_balance_threshold="ten")
    assert await process.ended() == 2
    assert process.output == ""
    assert process.errors.count("\n") == 1
    assert "MIN_BALANCE_THRESHOLD=ten" in process.errors


async def test_check_tells_what_it_found(machines):
    """`check` reaches store and Keepa, changes nothing, and ends with 0."""
    simulator = await machines.simulate(tokens=77, rate=30).started()
    process = machines.run("check", keepa_base_url=simulator.url, keepa_api_key=KEY)
    assert await process.ended() == 0
    assert "77 tokens, 30 more each minute" in process.output
    assert "embedded" in process.output
    assert KEY not in process.output
    assert process.errors == ""
    assert (await simulator.state())["calls"] == {"token": 1}


async def test_check_tells_a_wrong_key(machines):
    """`check` with a key that Keepa does not know ends with 1 and says so."""
    simulator = await machines.simulate().started()
    process = machines.run("check", keepa_base_url=simulator.url, keepa_api_key="not-that-one")
    assert await process.ended() == 1
    assert "KEEPA_API_KEY" in process.output
    assert "not-that-one" not in process.output
    assert process.errors == ""


async def test_check_tells_what_it_cannot_reach(machines, dead_port):
    """`check` without Keepa and without Redis ends with 1 and names both, without a traceback."""
    process = machines.run(
        "check",
        keepa_base_url=f"http://127.0.0.1:{dead_port}",
        redis_url=f"redis://127.0.0.1:{dead_port}/0",
        keepa_api_key=KEY,
    )
    assert await process.ended() == 1
    assert "KEEPA_BASE_URL" in process.output
    assert "REDIS_URL" in process.output
    assert "Traceback" not in process.output
    assert KEY not in process.output
    assert process.errors == ""


async def test_a_taken_port_is_one_line(machines, taken_port):
    """A port that is taken: exit code 1, one line on standard error, no traceback."""
    process = machines.run("serve", keepa_base_url="simulator", port=taken_port)
    assert await process.ended() == 1
    assert process.errors.count("\n") == 1
    assert "in use" in process.errors
    assert "Traceback" not in process.output


async def test_a_taken_port_is_one_line_of_the_simulator_too(machines, taken_port):
    """`simulate` on a port that is taken: exit code 1, one line."""
    process = machines.run("simulate", f"--port={taken_port}")
    assert await process.ended() == 1
    assert process.errors.count("\n") == 1
    assert "in use" in process.errors


@pytest.mark.parametrize("arguments", [["--version"], []])
async def test_the_module_is_the_command(machines, monkeypatch, arguments):
    """`python -m gateway` does and says what `keepa-gateway` does."""
    script = shutil.which("keepa-gateway", path=str(Path(sys.executable).parent))
    assert script, "the package is not installed"
    as_module = machines.run(*arguments, columns=100)
    code = await as_module.ended()
    monkeypatch.setattr("support.gateways.processes.COMMAND", [script])
    as_command = machines.run(*arguments, columns=100)
    assert await as_command.ended() == code == (0 if arguments else 2)
    assert as_command.output == as_module.output
    assert as_command.errors == as_module.errors
    if arguments == ["--version"]:
        assert as_module.output == f"keepa-gateway {__version__}\n"
