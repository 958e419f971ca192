"""The image's Dockerfile: clean, pinned, confined; its dependencies are the project's."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support import ROOT
from support.deploy.constraints import FOLDER, read_pins
from support.deploy.dockerfile import Context, Step, read_steps

from gateway.settings import Settings

HADOLINT = Path(sys.executable).with_name("hadolint")
STEPS = read_steps((ROOT / "Dockerfile").read_text(encoding="utf-8"))
FINAL = STEPS[max(number for number, step in enumerate(STEPS) if step.word == "FROM") :]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def said(word):
    """Return the one instruction of the final stage that begins so."""
    (step,) = [step for step in FINAL if step.word == word]
    return step


def test_the_linter_is_content():
    """Hadolint finds nothing, and nothing is hidden from it."""
    done = subprocess.run(
        [HADOLINT, "--no-color", "--disable-ignore-pragma", ROOT / "Dockerfile"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


def test_all_stages_begin_with_the_same_exact_python():
    """The tag names one release of a Python that the project is for."""
    (image,) = {step.words[0] for step in STEPS if step.word == "FROM"}
    found = re.fullmatch(r"python:(3\.\d+\.\d+)-slim-bookworm", image)
    assert found
    assert found[1] in Requirement(f"python{PROJECT['project']['requires-python']}").specifier


def test_the_process_is_the_gateway():
    """No shell stands before it, it is nobody, it hears SIGTERM, and it listens to all."""
    assert said("ENTRYPOINT").words == ["python", "-m", "gateway"]
    assert said("CMD").words == ["serve"]
    assert said("STOPSIGNAL").rest == "SIGTERM"
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", said("USER").rest)
    environment = said("ENV").pairs
    assert environment["HOST"] == "0.0.0.0"
    assert environment["PORT"] == said("EXPOSE").rest
    assert environment["PORT"] == str(Settings.model_fields["port"].default)


def test_the_final_stage_is_only_copied_into():
    """Nothing is installed there, and its health is asked without a program of its own."""
    assert not [step for step in FINAL if step.word in {"RUN", "ADD"}]
    assert [step.words[0] for step in FINAL if step.word == "COPY"] == ["--from=build"]
    _, word, command = said("HEALTHCHECK").rest.partition("CMD ")
    assert Step(word, command).words[0] == "python"


def test_secrets_stay_outside(tmp_path):
    """Whatever COPY names, what is not the gateway's does not come along."""
    kept = {"pyproject.toml", "README.md", "deploy/constraints.txt"}
    kept |= {"gateway/app/run.py", "client/pyproject.toml"}
    left = {".env", ".git/config", "gateway/.env", "gateway/x/__pycache__/a.pyc", "deploy/x.env"}
    for name in kept | left:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".dockerignore").write_bytes((ROOT / ".dockerignore").read_bytes())
    assert set(map(str, Context(tmp_path).find("."))) == kept


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("constraints.txt", PROJECT["project"]["dependencies"]),
        ("constraints-build.txt", PROJECT["build-system"]["requires"]),
    ],
)
def test_pins_are_within_the_ranges(name, wanted):
    """Each dependency is pinned, with hashes, to a version that the project allows."""
    pins = read_pins(name)
    for requirement in map(Requirement, wanted):
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-build.txt"])
def test_pins_name_no_place(name):
    """Where packages are fetched from is the machine's matter."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert "//" not in text
    assert "index" not in text
