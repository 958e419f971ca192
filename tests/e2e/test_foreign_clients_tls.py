"""Clients in Java, PHP, Node, Go and curl, through the TLS front of deploy/."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.deploy.front import Front, needs_front
from support.gateways.processes import Gateway, Machines
from support.waiting import until

from e2e.foreign_clients import (
    FOREIGN_CLIENTS,
    SERVICE_KEYS,
    Curl,
    ForeignClient,
    Java,
    make_installed,
    pick,
)

pytestmark = [pytest.mark.e2e, needs_front]

KEEPA = "https://api.keepa.com"
# Another for each process of tests that run at the same time.
OWN_ADDRESS = f"127.7.{os.getpid() // 256 % 256}.{os.getpid() % 256}"


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ForeignClient]:
    return asyncio.run(make_installed(tmp_path_factory.mktemp("clients")))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    machines = Machines(tmp_path_factory.mktemp("gateway"))
    gateway = machines.serve(
        keepa_base_url="simulator", keepa_api_key="simulated", service_keys=SERVICE_KEYS
    )
    asyncio.run(gateway.started())
    asyncio.run(gateway.ready())
    yield gateway
    machines.end_all()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, gateway: Gateway) -> Iterator[Front]:
    front = Front(tmp_path_factory.mktemp("fronts") / "front", [gateway.url])
    asyncio.run(front.started())
    yield front
    front.kill()


@pytest.fixture
def front_at_443(tmp_path: Path, gateway: Gateway) -> Iterator[Front]:
    """A front where Keepa's own URL leads, once its name does."""
    try:
        with socket.create_server((OWN_ADDRESS, 443)):
            pass
    except OSError as refused:
        pytest.skip(f"{OWN_ADDRESS}:443 may not be listened on: {refused}")
    front = Front(tmp_path / "front", [gateway.url], f"{OWN_ADDRESS}:443")
    yield front
    front.kill()


def count_calls(client: ForeignClient, gateway: Gateway) -> int:
    return sum(line["service"] == client.name for line in gateway.logged("call"))


@pytest.mark.parametrize("kind", FOREIGN_CLIENTS, ids=lambda kind: kind.name)
async def test_front_is_called_by_those_who_trust_it(
    kind: type[ForeignClient], clients: dict[str, ForeignClient], gateway: Gateway, front: Front
) -> None:
    """A client that trusts the front's authority is answered; one that does not sends nothing."""
    client = pick(clients, kind)
    calls_before = count_calls(client, gateway)
    distrustful = await client.run(front.url)
    assert distrustful.code != 0
    assert "certificat" in (distrustful.output + distrustful.errors).lower()
    assert count_calls(client, gateway) == calls_before
    said = (await client.run(front.url, **await client.trust(front.ca_file))).said
    await until(lambda: count_calls(client, gateway) == calls_before + len(said["answers"]))


async def test_java_reaches_the_gateway_by_the_name_of_keepa(
    tmp_path: Path, clients: dict[str, ForeignClient], gateway: Gateway, front_at_443: Front
) -> None:
    """A Java client that knows no other URL than Keepa's needs settings of its JVM alone."""
    client = pick(clients, Java)
    await until(lambda: accepts(OWN_ADDRESS, 443))
    (tmp_path / "hosts").write_text(f"{OWN_ADDRESS} api.keepa.com\n")
    environment = await client.trust(front_at_443.ca_file)
    environment["JAVA_TOOL_OPTIONS"] += f" -Djdk.net.hosts.file={tmp_path / 'hosts'}"
    calls_before = count_calls(client, gateway)
    said = (await client.run("", **environment)).said
    assert len(said["answers"]) == 3
    await until(lambda: count_calls(client, gateway) == calls_before + 3)


async def test_curl_reaches_the_gateway_by_the_name_of_keepa(
    tmp_path: Path, clients: dict[str, ForeignClient], gateway: Gateway, front: Front
) -> None:
    """A script with Keepa's URL in it needs two lines in `.curlrc` alone."""
    client = pick(clients, Curl)
    address = front.url.removeprefix("https://")
    (tmp_path / ".curlrc").write_text(
        f'connect-to = "api.keepa.com:443:{address}"\ncacert = "{front.ca_file}"\n'
    )
    calls_before = count_calls(client, gateway)
    assert len((await client.run(KEEPA, HOME=str(tmp_path))).said["answers"]) == 2
    await until(lambda: count_calls(client, gateway) == calls_before + 2)


def accepts(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
