"""Systems that the server does not run on: one line says so, and the rest works."""

import os
import subprocess
import sys

import pytest

from gateway.commands.cli import main


@pytest.mark.parametrize("command", ["serve", "simulate", "demo"])
def test_what_needs_posix_says_so(monkeypatch, capsys, command):
    """On Windows the server, the simulator and the demo end with one line that says what to do."""
    monkeypatch.setattr(os, "name", "nt")
    assert main([command]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "POSIX" in err
    assert "WSL" in err


def test_the_rest_needs_no_posix():
    """Where Python has no `resource` and no SIGHUP the commands are understood all the same."""
    program = (
        "import signal, sys; sys.modules['resource'] = None; del signal.SIGHUP\n"
        "from gateway.commands.cli import main; main(['--version'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
