"""A store behind TLS: reached, and believed only under the certificate that was asked for."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ledger_calls import accounts, know, reserve, settle
from support.redis_server import MISSING, REDIS_SERVER, RedisServer, free_port

from gateway.ledger import Ledger, RedisStore, Rules

RULES = Rules(150, 0, 1, 60, 300)
# Python 3.11 leaves the socket of a TLS handshake that takes too long to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key and its self-signed certificate for this machine's own address."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def tls_port(certificate: Path) -> Iterator[int]:
    if not REDIS_SERVER:
        pytest.skip(MISSING)
    port = free_port()
    server = RedisServer(
        certificate, "--tls-port", str(port), "--tls-auth-clients", "no",
        "--tls-cert-file", str(certificate / "cert.pem"),
        "--tls-key-file", str(certificate / "key.pem"),
    )  # fmt: skip
    yield port
    server.kill()


async def test_ledger_behind_tls(tls_port: int, certificate: Path, ear: object) -> None:
    """`rediss://` keeps the ledger as `redis://` does."""
    url = f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={certificate / 'cert.pem'}"
    store = RedisStore(url, learning_seconds=0)
    await store.open()
    ledger = Ledger(store, "tls", RULES, ear)
    await know(ledger, 100)
    await settle(ledger, await reserve(ledger, "a", 30), 30)
    assert await accounts(ledger) == (70, 0, 30)
    await store.close()


@pytest.mark.parametrize("options", ["", "?ssl_cert_reqs=none"])
async def test_unknown_certificate_is_believed_only_on_request(tls_port: int, options: str) -> None:
    """A certificate that nobody vouches for is refused, unless the URL says not to look."""
    store = RedisStore(f"rediss://127.0.0.1:{tls_port}/0{options}", learning_seconds=0)
    await store.open()
    assert store.up is bool(options)
    await store.close()
