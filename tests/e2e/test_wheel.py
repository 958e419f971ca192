"""The distribution: what pip builds of the project, installed elsewhere, runs and is typed."""

import asyncio
import importlib.metadata
import os
import re
import subprocess
import sys
import venv
import zipfile

import pytest
from packaging.requirements import Requirement
from support import ROOT

from gateway import __version__

pytestmark = pytest.mark.e2e


CLIENT = ROOT / "client"
CLIENT_SOURCES = {
    str(path.relative_to(CLIENT))
    for path in (CLIENT / "keepa_gateway_client").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}


def run(*words, cwd=None):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    [wheel] = folder.iterdir()
    return wheel


@pytest.fixture(scope="module")
def install(wheel, tmp_path_factory):
    """Return what installs the wheel in an environment of its own, and tells where."""

    def install(*options):
        folder = tmp_path_factory.mktemp("environment")
        venv.create(folder, symlinks=True)
        run("pip", "--python", folder, "install", "--quiet", *options, wheel)
        return folder / "bin"

    return install


@pytest.fixture(scope="module")
def installed(install):
    return install()


@pytest.fixture(autouse=True)
def _no_other_gateway(monkeypatch):
    """Nothing leads from the environment under test to the working tree."""
    monkeypatch.delenv("PYTHONPATH", raising=False)


def test_the_wheel_has_the_package_and_nothing_else(wheel):
    """Code, scripts, the dashboard's files, types and licence are in it; tests are not."""
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    about = f"keepa_gateway-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        licence = archive.read(f"{about}/licenses/LICENSE").decode()
    sources |= CLIENT_SOURCES
    assert {name for name in names if not name.startswith(about)} == sources
    assert {"gateway/py.typed", "gateway/ledger/lua/reserve.lua"} <= sources
    assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")


async def test_it_runs_from_an_empty_folder(installed, machines, monkeypatch):
    """Installed, the command tells its version, checks, answers, refuses and shows its page."""
    monkeypatch.setattr("support.gateways.processes.COMMAND", [str(installed / "keepa-gateway")])
    version = machines.run("--version")
    assert await version.ended() == 0
    assert version.output == f"keepa-gateway {__version__}\n"
    check = machines.run("check", keepa_base_url="simulator")
    assert await check.ended() == 0, check.output + check.errors

    gateway = await machines.serve(keepa_base_url="simulator").started()
    assert (await gateway.ask("/product?domain=1&asin=B00EXAMPLE")).status == 200
    assert (await gateway.ask("/lightningdeal?domain=1")).json()["reason"] == "floor"
    page = (await gateway.ask("/dashboard")).body.decode()
    assets = re.findall(r'(?:href|src)="(dashboard/[^"]+)"', page)
    assert assets
    for asset in assets:
        assert (await gateway.ask(f"/{asset}")).status == 200, asset


def test_it_is_typed(installed, tmp_path):
    """A program that uses the package is checked against its types."""
    program = "from gateway.settings import read_settings\nport: int = read_settings().port\n"
    (tmp_path / "program.py").write_text(program)
    python = f"--python-executable={installed / 'python'}"
    run("mypy", "--strict", "--cache-dir=cache", python, "program.py", cwd=tmp_path)


@pytest.fixture(scope="module")
def client_wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("client-wheel")
    run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, CLIENT)
    [wheel] = folder.iterdir()
    return wheel


def find_all(name, found):
    """Add a distribution of this environment, and all that it needs, to what was found."""
    distribution = importlib.metadata.distribution(name)
    if distribution.name in found:
        return
    found[distribution.name] = distribution
    for text in distribution.requires or ():
        requirement = Requirement(text)
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            find_all(requirement.name, found)


@pytest.fixture(scope="module")
def callers_environment(client_wheel, tmp_path_factory):
    """Where programs run that call Keepa: keepa with what it needs, the client's wheel, no more."""
    folder = tmp_path_factory.mktemp("callers")
    venv.create(folder, symlinks=True)
    run("pip", "--python", folder, "install", "--quiet", "--no-index", client_wheel)
    [site] = folder.glob("lib/python*/site-packages")
    found = {}
    find_all("keepa", found)
    assert not {"redis", "structlog", "pydantic-settings", "keepa-gateway"} & found.keys()
    for distribution in found.values():
        for top in {path.parts[0] for path in distribution.files if path.parts[0] != ".."}:
            if top != "__pycache__" and not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    return folder / "bin"


def test_the_clients_wheel_needs_nothing(client_wheel):
    """The module, its licence and a command; no other distribution; the gateway's own version."""
    about = f"keepa_gateway_client-{__version__}.dist-info"
    with zipfile.ZipFile(client_wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"{about}/METADATA").decode()
        licence = archive.read(f"{about}/licenses/LICENSE").decode()
    assert {name for name in names if not name.startswith(about)} == CLIENT_SOURCES
    assert "Requires-Dist" not in metadata
    assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")


PROGRAM = """\
import gateway, keepa

print(gateway.OWN, len(keepa.Keepa("any").query(["B000000001"], progress_bar=False)))
"""


@pytest.mark.parametrize("way", ["command", "module"])
async def test_the_client_runs_beside_a_gateway_folder(
    callers_environment, machines, tmp_path, way
):
    """A program with a `gateway` package of its own runs by the client, without the server."""
    gateway = await machines.serve(keepa_base_url="simulator").started()
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway/__init__.py").write_text("OWN = 'of the program'\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    bin_ = callers_environment
    command = {
        "command": [bin_ / "keepa-via-gateway"],
        "module": [bin_ / "python", "-m", "keepa_gateway_client"],
    }[way]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "--url", gateway.url, "--service", "shop", "program.py"],
        cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "of the program 1\n", done.stderr
    assert {line["service"] for line in gateway.logged("call")} == {"shop"}


def test_the_gateways_wheel_has_the_client_too(install):
    """Without what the server needs, both names of the client are there."""
    alone = install("--no-deps")
    code = "import gateway.client, keepa_gateway_client"
    assert subprocess.run([alone / "python", "-c", code], check=False).returncode == 0
    assert (alone / "keepa-via-gateway").exists()
