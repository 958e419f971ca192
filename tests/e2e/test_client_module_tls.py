"""The stock Python client through `keepa_gateway_client` and a TLS front, to two replicas."""

import asyncio
import os
import subprocess
import sys

import aiohttp
import pytest
import requests
from support.deploy.front import Front, needs_front
from support.gateways.processes import Machines
from support.redis.server import MISSING, REDIS_SERVER, RedisServer
from support.waiting import until

import keepa_gateway_client as client
from e2e.routed_keepa import ASINS, Async, Sync

pytestmark = [pytest.mark.e2e, needs_front]

CALLS = 6
# No module here: the name leads to the front, as by a line in /etc/hosts.
BY_NAME = f"""\
import asyncio, socket, sys
import keepa

look_up = socket.getaddrinfo


def led_astray(host, port, *arguments, **options):
    assert (host, port) == ("api.keepa.com", 443)
    return look_up("127.0.0.1", int(sys.argv[1]), *arguments, **options)


async def ask():
    client = await keepa.AsyncKeepa.create("k")
    return await client.query({ASINS}, progress_bar=False)


socket.getaddrinfo = led_astray
found = keepa.Keepa("k").query({ASINS}, progress_bar=False) + asyncio.run(ask())
print(*(product["asin"] for product in found))
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Two gateways on one Redis, behind the front."""
    if not REDIS_SERVER:
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("behind-tls")
    machines = Machines(folder / "machines")
    (folder / "redis").mkdir()
    redis = RedisServer(folder / "redis")
    simulator = machines.simulate(tokens=1000)
    asyncio.run(simulator.started())
    gateways = [machines.serve(keepa_base_url=simulator.url, redis_url=redis.url) for _ in range(2)]
    for gateway in gateways:
        asyncio.run(gateway.started())
        asyncio.run(gateway.ready())
    front = Front(folder / "front", [gateway.url for gateway in gateways])
    asyncio.run(front.started())
    yield front, gateways, simulator
    front.kill()
    machines.end_all()
    redis.kill()


@pytest.fixture(autouse=True)
def _no_certificates_of_ours(monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("kind", [Sync, Async])
@pytest.mark.parametrize("setting", ["ca_file", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
async def test_calls_through_the_front(fleet, monkeypatch, kind, setting):
    """One setting makes either client believe the front; its calls reach both replicas."""
    front, gateways, simulator = fleet
    before = await simulator.balance()
    lines = [len(gateway.logged("call")) for gateway in gateways]
    if setting != "ca_file":
        monkeypatch.setenv(setting, str(front.ca_file))
    with client.install(front.url, ca_file=front.ca_file if setting == "ca_file" else None):
        for _ in range(CALLS):
            assert [one["asin"] for one in await kind().query(ASINS)] == ASINS
    assert before - await simulator.balance() == CALLS * len(ASINS)
    # keepa.Keepa asks for /token too: then one replica may have all of those, the other the rest.
    for gateway, count in zip(gateways, lines, strict=True):
        await until(lambda gateway=gateway, count=count: len(gateway.logged("call")) > count)


@pytest.mark.parametrize(
    ("kind", "error"),
    [(Sync, requests.exceptions.SSLError), (Async, aiohttp.ClientConnectorCertificateError)],
)
async def test_front_that_nobody_vouches_for(fleet, kind, error):
    """Without the CA nothing is sent."""
    front, *_ = fleet
    with client.install(front.url), pytest.raises(error):
        await kind().query(ASINS)


@pytest.mark.parametrize("kind", [Sync, Async])
async def test_refusal_through_the_front(fleet, kind):
    """A refusal passes the front with all its fields."""
    front, *_ = fleet
    with (
        client.install(front.url, wait=False, ca_file=front.ca_file),
        pytest.raises(client.InsufficientTokensError) as raised,
    ):
        await kind().query([f"B{n:09}" for n in range(100)], offers=20)
    assert (raised.value.required_tokens, raised.value.reason) == (1200, "exceeds_capacity")


async def test_front_by_keepas_own_name(fleet):
    """Without the module the front stands in for Keepa by its name, for both clients."""
    front, _, simulator = fleet
    before = await simulator.balance()
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", BY_NAME, front.url.rpartition(":")[2]],
        env={
            "PATH": os.environ["PATH"],
            "REQUESTS_CA_BUNDLE": str(front.ca_file),
            "SSL_CERT_FILE": str(front.ca_file),
        },
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ASINS * 2, done.stderr
    assert before - await simulator.balance() == 2 * len(ASINS)
