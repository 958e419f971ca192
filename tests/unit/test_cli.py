"""The commands' arguments; what they do as processes is told in tests/e2e."""

import subprocess
import sys

import pytest

from gateway import __version__
from gateway.commands.cli import main


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["serve", "--port=1"],
        ["simulate", "--tokens=x"],
        ["usage", "x"],
        ["demo", "--twice"],
    ],
)
def test_wrong_arguments_are_a_usage_error(arguments, capsys):
    """Wrong arguments: exit code 2 and how to use it."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: keepa-gateway" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--help"], *([name, "--help"] for name in ("serve", "check", "usage", "simulate", "demo"))],
)
def test_help_is_there(arguments, capsys):
    """Each command explains itself."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert "usage: keepa-gateway" in capsys.readouterr().out


def test_version(capsys):
    """`--version` tells the package's version."""
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"keepa-gateway {__version__}\n"


def test_a_command_imports_only_what_it_needs():
    """The simulator starts without the gateway, and the gateway without the embedded store."""
    program = (
        "import sys; from gateway.commands.cli import read_arguments\n"
        "read_arguments(['simulate']); print(*sys.modules)\n"
        "read_arguments(['serve']); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    simulate, serve = map(str.split, done.stdout.splitlines())
    assert "gateway.simulator" in simulate
    assert not {"gateway.app", "pydantic", "redis"} & set(simulate)
    assert "gateway.app" in serve
    assert "fakeredis" not in serve
