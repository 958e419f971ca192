"""The TLS front as operators get it: Debian's Caddy with the Caddyfile of deploy/."""

import os
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any, Self

import pytest

from support import ROOT
from support.callers.wire import Answer, Caller, write_request
from support.redis.server import free_port
from support.waiting import until

CADDY = shutil.which("caddy")
OPENSSL = shutil.which("openssl")
MISSING = "Debian's packages caddy and openssl are not installed"
needs_front = pytest.mark.skipif(not (CADDY and OPENSSL), reason=MISSING)

_CADDY_FILES = ROOT / "deploy/caddy"
CADDYFILE = _CADDY_FILES / "Caddyfile"
MAKE_CERTIFICATE = _CADDY_FILES / "make-certificate.sh"


class Front:
    """A Caddy process on loopback, with a certificate of a CA of its own; ended by its own id.

    The certificate is for api.keepa.com, localhost and 127.0.0.1.

    Args:
        folder: Made here; keeps the CA, the certificate and all that Caddy writes.
        gateways: URLs, or hosts with ports.
        address: Where to listen; port 0: any free one.
        environment: Further variables of the Caddyfile.
    """

    def __init__(
        self, folder: Path, gateways: list[str], address: str = "127.0.0.1:0", **environment: str
    ) -> None:
        assert CADDY and OPENSSL, MISSING  # noqa: PT018 - one reason for both
        folder.mkdir(parents=True)
        self.folder = folder
        self.ca_file = make_certificate(folder)
        host, _, port = address.rpartition(":")
        port = port if int(port) else str(free_port())
        self.url = f"https://{host}:{port}"
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [CADDY, "run", "--config", CADDYFILE, "--adapter", "caddyfile"],
                cwd=folder,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(folder),
                    "XDG_CONFIG_HOME": str(folder),
                    "XDG_DATA_HOME": str(folder),
                    "GATEWAYS": " ".join(gateway.removeprefix("http://") for gateway in gateways),
                    "LISTEN_HOST": host,
                    "LISTEN_PORT": port,
                    "TLS_CERTIFICATE": str(folder / "front.crt"),
                    "TLS_KEY": str(folder / "front.key"),
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        print(f"caddy: process {self.process.pid}, output in {folder}")

    @property
    def output(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def tls(self) -> ssl.SSLContext:
        """Trusts the front and nobody else."""
        return ssl.create_default_context(cafile=self.ca_file)

    async def ask(self, target: str | bytes, *headers: str, **how: Any) -> Answer:
        """Make one call on a connection of its own."""
        async with Caller(self.url, self.tls) as caller:
            await caller.send(write_request(target, headers, **how))
            return await caller.receive(to=how.get("method", "GET"))

    async def started(self) -> Self:
        async def listens() -> bool:
            assert self.process.poll() is None, self.output
            try:
                async with Caller(self.url, self.tls):
                    return True
            except OSError:
                return False

        await until(listens)
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def make_certificate(folder: Path, *names: str) -> Path:
    """Write front.crt and front.key, signed by a CA of their own; return the CA's certificate."""
    done = subprocess.run(
        [MAKE_CERTIFICATE, folder, *names],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return folder / "ca.crt"
