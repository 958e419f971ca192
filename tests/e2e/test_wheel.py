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


def make_wheel(project, folder):
    """Let pip build a project; return the wheel."""
    run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, project)
    [wheel] = folder.iterdir()
    return wheel


def make_environment(folder, wheel):
    """Make an environment that has the wheel and nothing else; return its programs and packages."""
    venv.create(folder, symlinks=True)
    run("pip", "--python", folder, "install", "--quiet", "--no-deps", "--no-index", wheel)
    [site] = folder.glob("lib/python*/site-packages")
    return folder / "bin", site


def find_needed(texts, found):
    """Add to what was found the distributions of this environment that requirements ask for."""
    for requirement in map(Requirement, texts or ()):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        distribution = importlib.metadata.distribution(requirement.name)
        assert distribution.version in requirement.specifier
        if distribution.name not in found:
            found[distribution.name] = distribution
            find_needed(distribution.requires, found)
            for extra in requirement.extras:
                find_needed(of_extra(distribution, extra), found)


def of_extra(distribution, extra):
    """What a distribution requires for one of its extras only, as requirements without a marker."""
    for requirement in map(Requirement, distribution.requires or ()):
        marker = requirement.marker
        if marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            requirement.marker = None
            yield str(requirement)


def link_needed(texts, site):
    """Link what requirements ask for, with all that it needs itself; return their names."""
    found = {}
    find_needed(texts, found)
    for distribution in found.values():
        for top in {path.parts[0] for path in distribution.files if path.parts[0] != ".."}:
            if top != "__pycache__" and not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    return found.keys()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return make_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def alone(wheel, tmp_path_factory):
    """The programs of an environment that has the wheel alone."""
    return make_environment(tmp_path_factory.mktemp("alone"), wheel)[0]


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The programs of an environment that has the wheel, what it says that it needs, no more."""
    bin_, site = make_environment(tmp_path_factory.mktemp("environment"), wheel)
    [own] = importlib.metadata.distributions(name="keepa-gateway", path=[str(site)])
    link_needed(own.requires, site)
    return bin_


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


TYPED = """\
from gateway.balance import UNKNOWN
from keepa_gateway_client import install

tokens: int = UNKNOWN.tokens
url: str = install("http://localhost:8080").base_url
"""


def test_it_is_typed(installed, tmp_path):
    """A program that uses its packages is checked against their types."""
    (tmp_path / "program.py").write_text(TYPED)
    python = f"--python-executable={installed / 'python'}"
    run("mypy", "--strict", "--cache-dir=cache", python, "program.py", cwd=tmp_path)


@pytest.fixture(scope="module")
def client_wheel(tmp_path_factory):
    return make_wheel(CLIENT, tmp_path_factory.mktemp("client-wheel"))


@pytest.fixture(scope="module")
def callers_environment(client_wheel, tmp_path_factory):
    """Where programs run that call Keepa: keepa with what it needs, the client's wheel, no more."""
    bin_, site = make_environment(tmp_path_factory.mktemp("callers"), client_wheel)
    linked = link_needed(["keepa"], site)
    assert not {"redis", "structlog", "pydantic-settings", "keepa-gateway"} & linked
    return bin_


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


def test_the_gateways_wheel_has_the_client_too(alone):
    """Without what the server needs, both names of the client are there."""
    code = "import gateway.client, keepa_gateway_client"
    assert subprocess.run([alone / "python", "-c", code], check=False).returncode == 0
    assert (alone / "keepa-via-gateway").exists()
