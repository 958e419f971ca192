"""What a gateway's log says of its settings once it knows the plan, or cannot ask for it."""

import asyncio

import pytest
from support.network.certificates import serve_with, sign_for_loopback
from support.waiting import until


def logged(log, event):
    return [line for line in log if line["event"] == event]


@pytest.mark.parametrize(("rate", "told"), [(1, "more than half of the bucket of 60"), (20, "")])
async def test_thresholds_that_do_not_suit_the_plan_are_told_once(log, serve, simulate, rate, told):
    """One warning as soon as the plan is known, however often the balance is observed; or none."""
    gateway = await serve(
        await simulate(tokens=40, refill_rate=rate), balance_max_age_seconds=1, alert_balance=50
    )
    await gateway.until_ready()
    if told:
        await until(lambda: logged(log, "settings_out_of_proportion"))
    await asyncio.sleep(2.2)
    lines = logged(log, "settings_out_of_proportion")
    assert len(lines) == bool(told)
    assert all("ALERT_BALANCE=50" in line["hint"] and told in line["hint"] for line in lines)


async def test_tls_to_a_plain_port_is_named_in_the_log(log, serve, simulate):
    """Where KEEPA_BASE_URL says https and nobody speaks it, the line says TLS."""
    url = (await simulate()).url
    await serve(url.replace("http:", "https:"))
    (line,) = await until(lambda: logged(log, "balance_not_refreshed"))
    assert line["trouble"].startswith("TLS: ")
    assert "http://" in line["trouble"]


async def test_a_plain_call_to_a_tls_port_is_named_in_the_log(log, serve, tmp_path):
    """The reverse is told, too."""
    sign_for_loopback(tmp_path)

    async def hear(reader, writer):
        writer.close()

    tls = serve_with(tmp_path)
    async with await asyncio.start_server(hear, "127.0.0.1", 0, ssl=tls) as server:
        await serve(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        (line,) = await until(lambda: logged(log, "balance_not_refreshed"))
    assert "https://" in line["trouble"]
