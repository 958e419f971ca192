"""`keepa-via-gateway`: programs that know nothing of the gateway, run in front of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.gateways.processes import Gateway, Machines, Simulator

from e2e.routed_keepa import ASINS

pytestmark = pytest.mark.e2e

PROGRAM = f"""\
import asyncio
import sys

import keepa
from {{neighbour}} import KEY


async def ask():
    client = await keepa.AsyncKeepa.create(KEY)
    return await client.query({ASINS}, progress_bar=False)


if __name__ == "__main__":
    found = keepa.Keepa(KEY).query({ASINS}, progress_bar=False) + asyncio.run(ask())
    print(*(product["asin"] for product in found), *sys.argv[1:])
    sys.exit(3)
"""
NAMELESS = f"""\
import concurrent.futures, multiprocessing, subprocess, sys

import keepa
from keepa_gateway_client import install


def ask(number):
    return len(keepa.Keepa("no service's").query({ASINS}, progress_bar=False))


if __name__ == "__main__":
    done = [ask(0)]
    for method in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context(method)
        with concurrent.futures.ProcessPoolExecutor(1, context, initializer=install) as pool:
            done += pool.map(ask, [1])
    again = [sys.executable, "-m", "keepa_gateway_client", "child.py"]
    done.append(int(subprocess.run(again, capture_output=True, check=True).stdout))
    print(*done)
"""
CHILD = f"""\
import keepa

print(len(keepa.Keepa("nor this").query({ASINS}, progress_bar=False)))
"""
GREEDY = """\
import keepa

try:
    keepa.Keepa("k").best_sellers_query("1")
except RuntimeError as refusal:
    print(type(refusal).__name__, refusal.required_tokens, refusal.current_balance)
"""


@pytest.fixture
async def pair(machines: Machines) -> tuple[Gateway, Simulator]:
    simulator = await machines.simulate(tokens=30).started()
    gateway = await machines.serve(
        keepa_base_url=simulator.url, service_keys="shop:shop-secret,k:k"
    ).started()
    return await gateway.ready(), simulator


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A script with a module beside it, and both again in a package."""
    folder = tmp_path / "program"
    for place, neighbour in ((folder, "secrets_of_mine"), (folder / "package", ".secrets_of_mine")):
        place.mkdir()
        (place / "script.py").write_text(PROGRAM.format(neighbour=neighbour))
        (place / "secrets_of_mine.py").write_text('KEY = "shop-secret"\n')
        (place / "greedy.py").write_text(GREEDY)
        (place / "nameless.py").write_text(NAMELESS)
        (place / "child.py").write_text(CHILD)
    (folder / "package/__init__.py").touch()
    return folder


COMMANDS = {
    "command": [str(Path(sys.executable).with_name("keepa-via-gateway"))],
    "module": [sys.executable, "-m", "keepa_gateway_client"],
    "old name": [sys.executable, "-m", "gateway.client"],
}


def run(
    *arguments: object, folder: Path, by: str = "command", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command with nothing of this process' environment but the path."""
    return subprocess.run(
        [*COMMANDS[by], *map(str, arguments)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize(
    ("by", "how"), [("command", "script"), ("module", "module"), ("old name", "script")]
)
async def test_program(pair, program, tmp_path, by, how):
    """A script or module runs as by itself: its arguments, its neighbours, its exit code."""
    gateway, simulator = pair
    if how == "script":
        words, folder = [program / "script.py"], tmp_path
    else:
        words, folder = ["-m", "package.script"], program
    done = run(*words, "--one", "two", folder=folder, by=by, KEEPA_BASE_URL=gateway.url)
    assert (done.stdout, done.returncode) == (f"{' '.join(ASINS * 2)} --one two\n", 3), done.stderr
    assert await simulator.balance() == 26
    assert {line["service"] for line in gateway.logged("call")} == {"shop"}


async def test_program_and_its_child_processes_are_one_service(pair, program):
    """With --url and --key the program's own key does not matter; workers route themselves."""
    gateway, simulator = pair
    done = run("--url", gateway.url, "--key", "shop-secret", "nameless.py", folder=program)
    assert len(set(done.stdout.split())) == 1, done.stderr
    calls = len(done.stdout.split())
    assert calls >= 5, done.stdout
    assert await simulator.balance() == 30 - calls * len(ASINS)
    assert {line["service"] for line in gateway.logged("call")} == {"shop"}


async def test_program_of_a_named_service(machines, program):
    """In front of a gateway without SERVICE_KEYS, --service names it."""
    gateway = await machines.serve(keepa_base_url="simulator").started()
    done = run("--url", gateway.url, "--service", "loft", "child.py", folder=program)
    assert done.stdout == f"{len(ASINS)}\n", done.stderr
    assert {line["service"] for line in gateway.logged("call")} == {"loft"}


async def test_program_that_does_not_wait(pair, program):
    """With KEEPA_WAIT=false or a short --max-wait a script sees the refusal."""
    gateway, _ = pair
    url = ["--url", gateway.url]
    for words, environment in (
        ([*url, "greedy.py"], {"KEEPA_WAIT": "false"}),
        ([*url, "--max-wait=0.5", "greedy.py"], {}),
    ):
        done = run(*words, folder=program, **environment)
        assert done.stdout == "InsufficientTokensError 50 30\n", done.stderr


SET = {"KEEPA_BASE_URL": "http://gateway"}


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        (["script.py"], {}, "No gateway: set KEEPA_BASE_URL, as in http://gateway:8080\n"),
        (["script.py"], SET | {"KEEPA_WAIT": "perhaps"}, "KEEPA_WAIT=perhaps: it has to be true"),
        (["nothing.py"], SET, "There is no nothing.py\n"),
        ([], {}, "usage: keepa-via-gateway"),
        (["-m"], {}, "usage: keepa-via-gateway"),
        (["-x", "script.py"], {}, "usage: keepa-via-gateway"),
    ],
)  # fmt: skip
def test_nothing_to_run(program, words, environment, told):
    """What cannot be begun is told in a line, without a traceback, and exit code 2."""
    done = run(*words, folder=program, **environment)
    assert done.stderr.startswith(told)
    assert (done.stdout, done.returncode) == ("", 2)


def test_help(program):
    """`--help` says how to call it."""
    done = run("--help", folder=program)
    assert done.stdout.startswith("usage: keepa-via-gateway")
    assert done.returncode == 0
