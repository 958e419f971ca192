"""A store behind TLS: reached, and believed only under the certificate that was asked for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ledger.calls import accounts, know, reserve, settle
from support.measure.vitals import IS_THERE, own_descriptors
from support.measure.vitals import MISSING as NO_PROC
from support.network.certificates import sign_for_loopback
from support.redis.server import MISSING, REDIS_SERVER, RedisServer, free_port
from support.waiting import until

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
    sign_for_loopback(folder)
    return folder


@pytest.fixture(scope="module")
def tls_port() -> int:
    return free_port()


@pytest.fixture(scope="module", autouse=True)
def tls(certificate: Path, tls_port: int) -> Iterator[RedisServer]:
    """A server that listens for TLS there."""
    if not REDIS_SERVER:
        pytest.skip(MISSING)
    server = RedisServer(
        certificate, "--tls-port", str(tls_port), "--tls-auth-clients", "no",
        "--tls-cert-file", str(certificate / "cert.pem"),
        "--tls-key-file", str(certificate / "key.pem"),
    )  # fmt: skip
    yield server
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


@pytest.mark.skipif(not IS_THERE, reason=NO_PROC)
async def test_a_server_that_hangs_is_left_at_once(tls: RedisServer, tls_port: int) -> None:
    """No socket waits for a goodbye that a hung server will not say."""
    open_before = own_descriptors()
    store = RedisStore(f"rediss://127.0.0.1:{tls_port}/0?ssl_cert_reqs=none", learning_seconds=0)
    await store.open()
    assert own_descriptors() > open_before
    tls.stop()
    try:
        await store.close()
        await until(lambda: own_descriptors() == open_before, 2)
    finally:
        tls.proceed()


@pytest.mark.parametrize("options", ["", "?ssl_cert_reqs=none"])
async def test_unknown_certificate_is_believed_only_on_request(tls_port: int, options: str) -> None:
    """A certificate that nobody vouches for is refused, unless the URL says not to look."""
    store = RedisStore(f"rediss://127.0.0.1:{tls_port}/0{options}", learning_seconds=0)
    await store.open()
    assert store.up is bool(options)
    await store.close()
