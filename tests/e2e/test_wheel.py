"""The distribution: what pip builds of the project, installed elsewhere, runs and is typed."""

import re
import subprocess
import sys
import venv
import zipfile

import pytest
from support.docs import ROOT

from gateway import __version__

pytestmark = pytest.mark.e2e


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
    assert {name for name in names if not name.startswith(about)} == sources
    assert {"gateway/py.typed", "gateway/ledger/lua/reserve.lua"} <= sources
    assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")


async def test_it_runs_from_an_empty_folder(installed, machines, monkeypatch):
    """Installed, the command tells its version, checks, answers, refuses and shows its page."""
    monkeypatch.setattr("support.processes.COMMAND", [str(installed / "keepa-gateway")])
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


def test_the_client_needs_nothing_else(install):
    """`gateway.client` is imported without what the server needs."""
    alone = install("--no-deps")
    done = subprocess.run([alone / "python", "-c", "import gateway.client"], check=False)
    assert done.returncode == 0
