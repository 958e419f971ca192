"""Clients in other languages: the programs of tests/clients, run as processes of their own.

Each learns of the gateway by its environment alone, and prints one line of JSON.
"""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import pytest

PROGRAMS = Path(__file__).parents[1] / "clients"
PATIENCE_SECONDS = 240


class Run(NamedTuple):
    """What a client's process came to."""

    code: int
    output: str
    errors: str

    @property
    def said(self) -> dict[str, Any]:
        """The line of a run that went well: `answers`, and `answered_at_ms` of the first."""
        assert self.code == 0, self.errors
        return json.loads(self.output)


def secret_of(service: str) -> str:
    """Return the key that a client's service shows to the gateway."""
    return f"{service}-secret-0123456789"


class ForeignClient:
    """One client; the subclasses say how it is made ready and where it learns whom to trust."""

    name: ClassVar[str]
    program: ClassVar[str]
    package: ClassVar[str]
    pause_seconds: ClassVar[float] = 0
    """How much longer than told it may wait."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.command: list[str] = []

    @classmethod
    def is_installed(cls) -> bool:
        return shutil.which(cls.program) is not None

    async def make(self) -> Self:
        """Compile what has to be compiled, and set the command."""
        raise NotImplementedError

    async def trust(self, ca_file: Path) -> dict[str, str]:
        """Return the environment in which it trusts a certificate authority of one's own."""
        raise NotImplementedError

    async def run(self, url: str, **environment: str) -> Run:
        """Run it to its end, with the key of its service; an empty URL is none."""
        if url:
            environment["KEEPA_BASE_URL"] = url
        return await self._execute(*self.command, KEEPA_API_KEY=secret_of(self.name), **environment)

    async def _execute(self, *command: str, **environment: str) -> Run:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            # No proxy and no certificate of the developer's.
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Run(process.returncode or 0, output.decode(), errors.decode())


class Java(ForeignClient):
    """The JDK's HttpURLConnection."""

    name, program, package = "java", "javac", "default-jdk-headless is"
    pause_seconds = 0.1

    async def make(self) -> Self:
        made = await self._execute(
            "javac", "-encoding", "UTF-8", "-d", ".", str(PROGRAMS / "KeepaClient.java")
        )
        assert made.code == 0, made.errors
        self.command = ["java", "-cp", str(self.folder), "KeepaClient"]
        return self

    async def trust(self, ca_file: Path) -> dict[str, str]:
        store = self.folder / "trusted"
        shutil.copyfile(self._home() / "lib/security/cacerts", store)
        made = await self._execute(
            "keytool", "-importcert", "-noprompt", "-alias", "gateway", "-file", str(ca_file),
            "-keystore", str(store), "-storepass", "changeit",
        )  # fmt: skip
        assert made.code == 0, made.output
        options = f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword=changeit"
        return {"JAVA_TOOL_OPTIONS": options}

    @staticmethod
    def _home() -> Path:
        return Path(shutil.which("javac") or "").resolve().parents[1]


class Php(ForeignClient):
    """PHP's curl."""

    name, program, package = "php", "php", "php-cli and php-curl are"
    pause_seconds = 0.1

    @classmethod
    def is_installed(cls) -> bool:
        loaded = ["php", "-r", "exit((int) !extension_loaded('curl'));"]
        return super().is_installed() and subprocess.run(loaded, check=False).returncode == 0

    async def make(self) -> Self:
        self.command = ["php", str(PROGRAMS / "keepa_client.php")]
        return self

    async def trust(self, ca_file: Path) -> dict[str, str]:
        (self.folder / "gateway.ini").write_text(f"curl.cainfo={ca_file}\n")
        # The folders that PHP was built with, and then this one.
        return {"PHP_INI_SCAN_DIR": f":{self.folder}"}


class Node(ForeignClient):
    """Node's fetch."""

    name, program, package = "node", "node", "nodejs is"

    async def make(self) -> Self:
        self.command = ["node", str(PROGRAMS / "keepa_client.mjs")]
        return self

    async def trust(self, ca_file: Path) -> dict[str, str]:
        return {"NODE_EXTRA_CA_CERTS": str(ca_file)}


class Go(ForeignClient):
    """Go's net/http."""

    name, program, package = "go", "go", "golang-go is"

    async def make(self) -> Self:
        folder = self.folder
        made = await self._execute(
            "go", "build", "-o", str(folder / "client"), str(PROGRAMS / "keepa_client.go"),
            GO111MODULE="off", GOCACHE=str(folder / "cache"), GOPATH=str(folder / "path"),
        )  # fmt: skip
        assert made.code == 0, made.errors
        self.command = [str(folder / "client")]
        return self

    async def trust(self, ca_file: Path) -> dict[str, str]:
        return {"SSL_CERT_FILE": str(ca_file)}


class Curl(ForeignClient):
    """The curl command, in a script."""

    name, program, package = "curl", "curl", "curl is"
    # Retry-After is in whole seconds, rounded up.
    pause_seconds = 1

    async def make(self) -> Self:
        self.command = ["sh", str(PROGRAMS / "keepa_client.sh")]
        return self

    async def trust(self, ca_file: Path) -> dict[str, str]:
        return {"CURL_CA_BUNDLE": str(ca_file)}


FOREIGN_CLIENTS: list[type[ForeignClient]] = [Java, Php, Node, Go, Curl]
SERVICE_KEYS = ",".join(f"{kind.name}:{secret_of(kind.name)}" for kind in FOREIGN_CLIENTS)


async def make_installed(folder: Path) -> dict[str, ForeignClient]:
    """Return those whose language is installed, by name, ready to run."""
    installed = [kind(folder / kind.name) for kind in FOREIGN_CLIENTS if kind.is_installed()]
    return {client.name: await client.make() for client in installed}


def pick(clients: dict[str, ForeignClient], kind: type[ForeignClient]) -> ForeignClient:
    """Return one client; skip the test where its language is not installed."""
    if kind.name not in clients:
        pytest.skip(f"Debian's {kind.package} not installed")
    return clients[kind.name]
