"""The systemd unit: systemd itself reads it, finds it confined, and it lets calls finish."""

import configparser
import os
import shutil
import subprocess

import pytest
from support import ROOT

from gateway.commands import cli
from gateway.settings import Settings

UNIT = ROOT / "deploy/systemd/keepa-gateway@.service"
ANALYZE = shutil.which("systemd-analyze")
# In tenths: systemd's own services are at 15 to 98. What is left is the network, which it is for.
EXPOSURE = "14"
# What comes after the drain and the slowest call: callers are let in, the store confirms.
LAST_SECONDS = 10

needs_systemd = pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not on the path")


@pytest.fixture
def unit(tmp_path):
    """Return the unit with a program that is there in the place of the installed one."""
    program = tmp_path / "keepa-gateway"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = UNIT.read_text(encoding="utf-8")
    installed = "/opt/keepa-gateway/bin/keepa-gateway"
    assert installed in text
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(installed, str(program)))
    return copy


def analyze(*words):
    """Return what systemd-analyze says, and its exit code."""
    done = subprocess.run(
        [ANALYZE, "--no-pager", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    )  # fmt: skip
    return done.stdout, done.returncode


def read_unit():
    """Return the settings of the service; of those that are there twice the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    parser.optionxform = str
    parser.read(UNIT, encoding="utf-8")
    return parser["Service"]


@needs_systemd
def test_systemd_understands_every_line(unit):
    """There is no key that it does not know, and no value that it does not take."""
    assert analyze("verify", "--man=no", unit) == ("", 0)


@needs_systemd
def test_a_gateway_can_do_little_but_its_work(unit):
    """By systemd's own account the unit is well confined."""
    said, code = analyze("security", "--offline=yes", f"--threshold={EXPOSURE}", unit)
    assert code == 0, said


def test_calls_may_finish():
    """The stop waits for the drain and the slowest call, and is begun by what begins a drain."""
    fields = Settings.model_fields
    needed = fields["drain_seconds"].default + fields["upstream_timeout_seconds"].default
    service = read_unit()
    assert float(service["TimeoutStopSec"]) >= needed + LAST_SECONDS
    assert (service["KillSignal"], service["KillMode"]) == ("SIGTERM", "mixed")


def test_it_is_started_again_unless_a_setting_is_bad():
    """A crash is followed by a start, exit code 2 is not; each instance has its own port."""
    service = read_unit()
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == str(cli.BAD_SETTING)
    assert "PORT=%i" in service["Environment"].split()
    assert service["DynamicUser"] == "yes"
