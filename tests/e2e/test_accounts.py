"""Gateways of different Keepa accounts on one Redis, and one account whose key is another now."""

import asyncio
import re

import pytest
from redis.asyncio import Redis
from support.callers.crowd import agree
from support.callers.service_calls import call, products, until_waiting
from support.callers.wire import ask
from support.gateways.processes import KEY
from support.network.webhook_receiver import receiving
from support.waiting import until

pytestmark = pytest.mark.e2e

OTHER_KEY = "e2eOtherKey9876543210zyxwvutsrqponmlkjihgfedcba9876543210zyxwvut"
SECRETS = {"shop": "secret-of-the-shop", "loft": "secret-of-the-loft"}
SLOW = "X-Sim-Latency-Ms: 2500"
FLOOR = 10


def known_as(service):
    return f"X-Api-Key: {SECRETS[service]}"


async def keys_of(redis):
    """Return the names of all keys, by the hash tag in them."""
    async with Redis(port=redis.port, decode_responses=True) as client:
        by_account = {}
        async for name in client.scan_iter():
            found = re.fullmatch(r"keepa-gateway:\{([^{}]+)\}:([a-z-]+)(:\d+)?", name)
            assert found, name
            by_account.setdefault(found[1], set()).add(found[2])
        return by_account


def all_bytes_of(redis):
    """Return everything that Redis has, keys and values, as it would be on its disk."""
    redis.command("CONFIG", "SET", "rdbcompression", "no")
    assert redis.command("SAVE") == b"+OK\r\n"
    return (redis.folder / "dump.rdb").read_bytes()


async def reserved(*gateways):
    return [await gateway.reserved() for gateway in gateways]


async def account_named_by_check(machines, **settings):
    process = machines.run("check", **settings)
    assert await process.ended() == 0, process.output
    return re.search(r"account (\S+),", process.output)[1]


async def until_reserved(tokens, *gateways):
    """Wait until each of them tells that so many tokens are held."""

    async def is_so():
        return await reserved(*gateways) == [tokens] * len(gateways)

    await until(is_so)


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def two_accounts(machines, redis, receiver):
    """A simulator and a gateway of each account: one that is nearly empty, and one that is not."""
    pairs = []
    for key, service, tokens, rate in ((KEY, "shop", 100, 60), (OTHER_KEY, "loft", 900, 20)):
        simulator = machines.simulate(key=key, tokens=tokens, rate=rate, lump_in_ms=59_000)
        await simulator.started()
        gateway = machines.serve(
            keepa_base_url=simulator.url, keepa_api_key=key, redis_url=redis.url, drain_seconds=0,
            service_keys=f"{service}:{SECRETS[service]}", alert_webhook_url=receiver.url,
        )  # fmt: skip
        await (await gateway.started()).ready()
        pairs.append((simulator, gateway))
    return pairs


async def test_two_accounts_never_mix(two_accounts, redis, receiver):
    """Balance, holds, line, refusals, usage, alarms: each account has its own, by its own tag."""
    (poor, shop), (rich, loft) = two_accounts
    calls = [
        call(shop, products(60), known_as("shop"), SLOW),
        call(loft, products(70), known_as("loft"), SLOW),
    ]
    await until_reserved(60, shop)
    await until_reserved(70, loft)
    # 40 are left above nothing here: enough there, and there is no line.
    refused = await shop.ask(products(40), known_as("shop"))
    assert (refused.status, refused.json()["reason"]) == (429, "floor")
    calls.append(call(shop, products(41), known_as("shop"), "Prefer: wait=60"))
    await until_waiting(shop, shop=1)
    await until_waiting(loft)
    assert (await loft.ask(products(40), known_as("loft"))).status == 200
    told = await asyncio.gather(*calls[:2])
    assert [answer.status for answer in told] == [200, 200]
    await agree([shop], poor)
    await agree([loft], rich)
    # 40 of 100 are left: the alarm is the poor account's only.
    alarm = await receiver.wait_for("balance_low", "firing")
    names = await keys_of(redis)
    assert len(names) == 2
    poor_name = alarm["account"]
    (rich_name,) = names.keys() - {poor_name}
    assert {event["account"] for event in receiver.events} == {poor_name}
    assert names[poor_name] - names[rich_name] >= {"feed-refusals", "queue"}
    for gateway, used, refusals, service in ((shop, 60, 1, "shop"), (loft, 110, 0, "loft")):
        status = await gateway.status()
        assert status["tokens"]["total_used"] == used
        assert status["services"].keys() == {service}
        assert status["services"][service]["denied"] == refusals
        usage = (await gateway.ask("/usage?by=service")).json()
        assert {row["service"]: row["tokens"] for row in usage["rows"]} == {service: used}
    calls[2].cancel()
    everything = all_bytes_of(redis)
    assert poor_name.encode() in everything
    for secret in (KEY, OTHER_KEY, *SECRETS.values()):
        assert secret.encode() not in everything


async def test_what_redis_missed_goes_to_its_own_account(two_accounts, redis):
    """Calls that end while Redis is away are settled with their own account when it is back."""
    (poor, shop), (rich, loft) = two_accounts
    calls = [
        call(shop, products(30), known_as("shop"), SLOW),
        call(loft, products(70), known_as("loft"), SLOW),
    ]
    await until_reserved(30, shop)
    await until_reserved(70, loft)
    redis.stop()
    assert [answer.status for answer in await asyncio.gather(*calls)] == [200, 200]
    redis.proceed()
    await agree([shop], poor)
    await agree([loft], rich)
    assert (await shop.tokens())["total_used"] == 30
    assert (await loft.tokens())["total_used"] == 70


@pytest.mark.parametrize("named", [True, False], ids=["ACCOUNT from the start", "ACCOUNT by check"])
async def test_a_new_key_of_the_same_account_keeps_its_ledger(machines, redis, named):
    """Replicas get the new key one by one; what is in flight under the old one stays held."""
    simulator = await machines.simulate(tokens=200, lump_in_ms=59_000).started()
    chosen = {"keepa_base_url": simulator.url, "redis_url": redis.url, "drain_seconds": 0}
    before = {"keepa_api_key": KEY, **({"account": "our-account"} if named else {}), **chosen}
    # What the ledger was called without it: setting ACCOUNT to that changes nothing.
    name = await account_named_by_check(machines, **before)
    old = [machines.serve(**before) for _ in range(2)]
    for gateway in old:
        await (await gateway.started()).ready()
    assert (await old[0].ask(products(20), "X-Service-Name: shop")).status == 200
    slow = ("X-Service-Name: shop", "X-Sim-Latency-Ms: 9000")
    calls = [call(gateway, products(60), *slow) for gateway in old]
    await until_reserved(120, *old)
    body = b'{"api_key": "%s"}' % OTHER_KEY.encode()
    assert (await ask(simulator.url, "/sim/config", method="POST", body=body)).status == 200
    held = []
    for gateway in old:
        gateway.terminate()
        new = machines.serve(keepa_api_key=OTHER_KEY, account=name, **chosen)
        await (await new.started()).ready()
        tokens = await new.tokens()
        held.append(tokens["reserved"])
        assert tokens["available"] == 60
        refused = await new.ask(products(51), "X-Service-Name: shop")
        assert (refused.status, refused.json()["reason"]) == (429, "floor")
    # A new one with the new key knew of what the old ones had in flight.
    assert held[0] == 120
    assert [answer.status for answer in await asyncio.gather(*calls)] == [200, 200]
    assert [await gateway.ended() for gateway in old] == [0, 0]
    assert (await new.ask(products(50), "X-Service-Name: shop")).status == 200
    await agree([new], simulator)
    assert (await new.status())["services"]["shop"]["used"] == 190
    assert await simulator.lowest() == FLOOR
    assert list(await keys_of(redis)) == [name]
