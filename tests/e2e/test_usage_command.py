"""`keepa-gateway usage`: a table of who used how much, asked of a running gateway."""

import socket

import pytest

pytestmark = pytest.mark.e2e

TOKEN = "let-me-in-0123456789"
PRODUCT = "/product?domain=1&asin=B000000001,B000000002&key=x"


@pytest.fixture
async def gateway(machines):
    """A gateway that has been used."""
    simulator = await machines.simulate(tokens=100).started()
    gateway = await machines.serve(
        keepa_base_url=simulator.url, admin_token=TOKEN, account="of-the-test"
    ).started()
    for service in ("shop", "shop", "loft"):
        assert (await gateway.ask(PRODUCT, f"X-Service-Name: {service}")).status == 200
    assert (await gateway.ask(f"/product?domain=1&key=x&asin={'A,' * 99}A")).status == 429
    return gateway


def words(output):
    return [line.split() for line in output.splitlines()]


async def test_it_prints_a_table(machines, gateway):
    """By HOST and PORT as the gateway's, with its token, without Keepa's key."""
    where = {"port": gateway.url.rpartition(":")[2], "admin_token": TOKEN}
    process = machines.run("usage", **where)
    assert (await process.ended(), process.errors) == (0, "")
    first, _, table = process.output.partition("\n")
    assert first == f"Gateway {gateway.url.removeprefix('http://')}, account of-the-test"
    lines = words(table)
    assert lines[2] == ["service", "endpoint", "tokens", "calls", "refusals"]
    assert lines[4:7] == [
        ["shop", "product", "4", "2", "0"],
        ["loft", "product", "2", "1", "0"],
        ["anonymous", "product", "0", "0", "1"],
    ]
    assert lines[8] == ["total", "6", "3", "1"]
    assert TOKEN not in process.output


async def test_it_prints_csv_of_another_gateway(machines, gateway):
    """With --url of any gateway, --by any columns, --csv for programs."""
    process = machines.run("usage", "--csv", "--by=service", "--url", gateway.url + "/",
                           admin_token=TOKEN)  # fmt: skip
    assert await process.ended() == 0
    assert process.errors == f"Gateway {gateway.url.removeprefix('http://')}, account of-the-test\n"
    assert process.output.splitlines() == [
        "service,tokens,calls,refusals,tokens_lost", "shop,4,2,0,0", "loft,2,1,0,0",
        "anonymous,0,0,1,0",
    ]  # fmt: skip


async def test_what_is_wrong_is_one_line(machines, gateway):
    """No token, a parameter that the gateway refuses, a time before all that is kept: code 1."""
    for arguments, token, told in (
        ([], "", "ADMIN_TOKEN"),
        ([], "wrong-token", "ADMIN_TOKEN"),
        (["--by=asin"], TOKEN, "`by` must be any of"),
        (["--from=2020-01-01"], TOKEN, "kept for 35 days"),
    ):
        process = machines.run("usage", "--url", gateway.url, *arguments, admin_token=token)
        assert await process.ended() == 1
        assert process.output == ""
        assert process.errors.count("\n") == 1
        assert told in process.errors


async def test_a_gateway_that_is_not_there_is_one_line(machines):
    """Nobody listens, no URL, somebody else's server: code 1, one line, no traceback."""
    simulator = await machines.simulate().started()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{holder.getsockname()[1]}"
        for url, told in (
            (dead, "No gateway answers"),
            ("127.0.0.1:8080", "--url must be"),
            ("http://127.0.0.1:99999", "--url must be"),
            ("http://[::1", "--url must be"),
            (simulator.url, "is this the gateway's URL?"),
        ):
            process = machines.run("usage", "--url", url)
            assert await process.ended() == 1
            assert process.output == ""
            assert process.errors.count("\n") == 1
            assert told in process.errors, process.errors
