"""The image without an engine: the Dockerfile's steps, carried out by hand, leave a gateway."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from support import ROOT
from support.callers.crowd import ONE_TOKEN, Slow
from support.deploy.constraints import read_pins
from support.deploy.dockerfile import Context, Step
from support.redis.server import free_port
from support.waiting import until

from e2e.image import build
from gateway import __version__

# The first one waits for the wheels to be downloaded.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

# As `drop: [ALL]`: root has to obey the modes of files too.
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]


@pytest.fixture(scope="module")
def image():
    """Carry out the steps once."""
    # Not in pytest's folder, where nobody but the owner may look.
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    try:
        yield build(Context(ROOT), folder)
    finally:
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)
        shutil.rmtree(folder)


@pytest.fixture
def start(image, machines, monkeypatch):
    """Return what starts the image's process: entry point and command, environment and folder."""

    def begin(*before, **settings):
        entry = image.settled["ENTRYPOINT"].words
        assert image.settled["CMD"].words == ["serve"]
        command = ["env", f"--chdir={image.place('.')}", *before, image.find(entry[0]), *entry[1:]]
        monkeypatch.setattr("support.gateways.processes.COMMAND", command)
        given = {name.lower(): value for name, value in image.environment.items()}
        return machines.serve(
            **{**given, "pythonpath": "", "keepa_api_key": "", "keepa_base_url": "simulator"}
            | settings
        )

    return begin


@pytest.fixture
def sealed(image):
    """Take the right to write from every file of the image; return what a process is started by.

    This is by modes, which a process without capabilities has to obey whoever it is; it stands in
    for a read-only mount, which takes more rights than a test may count on.
    """
    subprocess.run(["chmod", "-R", "a-w", image.root], check=True)
    before = WITHOUT_RIGHTS if os.geteuid() == 0 else []
    trial = subprocess.run([*before, "touch", image.root / "x"], capture_output=True, check=False)
    assert trial.returncode != 0
    return before


def check_health(image, port):
    """Return the exit code of the image's health check, on that port."""
    _, word, command = image.settled["HEALTHCHECK"].rest.partition("CMD ")
    program, *words = Step(word, command).words
    done = subprocess.run(
        [image.find(program), *words], env={**image.environment, "PORT": str(port)},
        capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode


async def serve_and_stop(image, gateway, port):
    """Let it do what an image's process has to: tell its health, answer, drain."""
    await gateway.started()
    assert gateway.url == f"http://127.0.0.1:{port}"
    await gateway.ready()
    assert check_health(image, port) == 0
    answer = await gateway.ask(ONE_TOKEN)
    assert (answer.status, answer.json()["tokensConsumed"]) == (200, 1)
    slow = Slow([gateway], 4, 1000)

    async def all_are_under_way():
        return await gateway.reserved() == slow.tokens

    await until(all_are_under_way)
    gateway.process.send_signal(getattr(signal, image.settled["STOPSIGNAL"].rest))
    assert await slow.verdicts() == {"200": 4}
    assert await gateway.ended() == 0
    assert gateway.errors == ""
    assert check_health(image, port) != 0


async def test_the_image_serves_and_drains(image, start):
    """Healthy and ready, a call answered, SIGTERM: calls in flight finish, exit code 0."""
    port = free_port()
    # Loopback in place of the image's HOST: nothing of a test is to be reached from outside.
    gateway = start(host="127.0.0.1", port=port, drain_seconds=0.2)
    await serve_and_stop(image, gateway, port)


async def test_nothing_is_written(image, start, sealed):
    """All of it goes without the right to write anywhere in the image, nor for temporary files."""
    before = sorted((path, path.lstat().st_mtime_ns) for path in image.root.rglob("*"))
    port = free_port()
    gateway = start(
        *sealed, host="127.0.0.1", port=port, drain_seconds=0.2, tmpdir=image.root, home=image.root
    )
    await serve_and_stop(image, gateway, port)
    assert sorted((path, path.lstat().st_mtime_ns) for path in image.root.rglob("*")) == before


async def test_the_image_listens_to_all_and_so_wants_keys(start):
    """By the image's own HOST the gateway would be open to anybody: it refuses without keys."""
    process = start()
    assert await process.ended() == 2
    assert "HOST=0.0.0.0" in process.errors
    assert "SERVICE_KEYS" in process.errors


def test_the_image_has_what_was_pinned_and_nothing_else(image):
    """The pinned distributions and the gateway, which agree with each other; no build tools."""
    pip = [image.find("pip"), "--python", image.find("python")]
    subprocess.run([*pip, "check"], check=True)
    listed = subprocess.run(
        [*pip, "list", "--format=json"], check=True, capture_output=True, text=True
    )
    installed = {
        canonicalize_name(found["name"]): found["version"] for found in json.loads(listed.stdout)
    }
    assert installed == {**read_pins("constraints.txt"), "keepa-gateway": __version__}
