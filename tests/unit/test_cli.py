"""The commands' arguments; what they do as processes is told in tests/e2e."""

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
