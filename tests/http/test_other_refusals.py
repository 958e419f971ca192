"""Refusals for other reasons than tokens: rate, slots, the upstream, the ledger, the balance."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from support.callers.refusals import check_balance, read_refusal
from support.callers.wire import Caller, write_request
from support.keepa.scripted import answer, scripted_keepa
from support.measure.stopwatch import Stopwatch
from support.network.certificates import serve_with, sign_for_loopback
from support.redis.server import free_port

PRODUCT = "/product?domain=1&asin=B000000001&key=x"
THREE = "/product?domain=1&asin=B000000001,B000000002,B000000003&key=x"


async def test_request_rate(serve, simulator):
    """Beyond the shared request rate a call is told when the next slot comes; it takes no token."""
    gateway = await serve(simulator, rate_limit_per_minute=6, rate_limit_burst=2)
    for _ in range(2):
        assert (await gateway.ask(PRODUCT)).status == 200
    await gateway.at_rest()
    got = await gateway.ask(THREE)
    told = read_refusal(got, 429, "rate_limited", "rateLimited")
    check_balance(told, available=98, required=3)
    assert (told["retryable"], told["deficit"], told["max_items_now"]) == (True, 0, 3)
    assert 5_000 < told["refillIn"] <= 10_000
    assert simulator.state()["calls"]["product"] == 2
    assert (await gateway.tokens())["remaining"] == 98


async def test_free_calls_take_a_request_slot_too(serve, simulator):
    """A forwarded call that costs nothing takes a slot; `/token` from the ledger takes none."""
    gateway = await serve(simulator, rate_limit_per_minute=1, rate_limit_burst=2)
    for _ in range(5):
        assert (await gateway.ask("/token?key=x")).status == 200
    for _ in range(2):
        assert (await gateway.ask("/tracking?type=list&key=x")).status == 200
    got = await gateway.ask("/tracking?type=list&key=x")
    told = read_refusal(got, 429, "rate_limited", "rateLimited")
    assert told["required_tokens"] == 0
    assert (await gateway.ask("/token?key=x")).status == 200


async def test_tokens_are_the_reason_where_both_are_short(serve, simulate):
    """A call short of both waits for both: the floor's refusal waits for the later one."""
    simulator = await simulate(tokens=12, first_lump_in_ms=1_000)
    gateway = await serve(simulator, rate_limit_per_minute=1, rate_limit_burst=1)
    assert (await gateway.ask(PRODUCT)).status == 200
    await gateway.at_rest()
    told = read_refusal(await gateway.ask(THREE), 429, "floor", "insufficientTokens")
    assert told["refillIn"] > 50_000


async def test_waiting_line_is_first_come_first_served_and_bounded(serve, simulator):
    """Beyond MAX_CONCURRENCY calls wait; beyond MAX_QUEUE they are refused and take nothing."""
    gateway = await serve(simulator, max_concurrency=1, max_queue=1)
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller(gateway.url)) for _ in range(2)]
        for held, caller in enumerate(callers, 1):
            await caller.send(write_request(PRODUCT, ["X-Sim-Latency-Ms: 700"]))
            await gateway.until(lambda tokens, held=held: tokens["reserved"] == held)
        got = await gateway.ask(THREE)
        told = read_refusal(got, 503, "overloaded", "unavailable")
        check_balance(told, available=98, required=3, held=2)
        assert (told["retry_after_seconds"], told["retryable"], told["deficit"]) == (1, True, 0)
        assert got.get("X-Keepa-Gateway-Reserved") == "0"
        assert [(await caller.receive()).status for caller in callers] == [200, 200]
    tokens = await gateway.at_rest()
    assert tokens["remaining"] == 98
    assert simulator.state()["calls"]["product"] == 2


async def test_overloaded_call_takes_no_request_slot(serve, simulator):
    """A call refused for want of a slot to Keepa leaves the request rate to others."""
    gateway = await serve(
        simulator, max_concurrency=1, max_queue=0, rate_limit_per_minute=1, rate_limit_burst=2
    )
    async with Caller(gateway.url) as caller:
        await caller.send(write_request(PRODUCT, ["X-Sim-Latency-Ms: 500"]))
        await gateway.until(lambda tokens: tokens["reserved"] == 1)
        for _ in range(3):
            read_refusal(await gateway.ask(PRODUCT), 503, "overloaded", "unavailable")
        assert (await caller.receive()).status == 200
    assert (await gateway.ask(PRODUCT)).status == 200


async def test_wait_for_a_slot_counts_into_the_time_out(serve, simulator):
    """A call whose turn does not come within UPSTREAM_TIMEOUT_SECONDS is refused, never sent."""
    gateway = await serve(
        simulator, max_concurrency=1, upstream_timeout_seconds=1, reservation_ttl_seconds=60
    )
    async with Caller(gateway.url) as first, Caller(gateway.url) as second:
        await first.send(write_request(PRODUCT, ["X-Sim-Latency-Ms: 30000"]))
        await gateway.until(lambda tokens: tokens["reserved"] == 1)
        await second.send(write_request(THREE, ["X-Sim-Latency-Ms: 30000"]))
        read_refusal(await first.receive(), 504, "upstream_timeout", "upstream")
        # Its own second is over as well, or nearly so.
        got = await second.receive()
        told = read_refusal(got, got.status, got.json()["reason"], got.json()["error"]["type"])
        assert (got.status, told["reason"]) in {(503, "overloaded"), (504, "upstream_timeout")}
    if told["reason"] == "overloaded":
        await gateway.until(lambda tokens: tokens["reserved"] == 1)
        assert simulator.state()["calls"]["product"] == 1


async def test_hold_too_old_to_outlive_its_call_is_given_up(serve, simulator):
    """A call that waited so long that its hold could expire at Keepa's is refused, never sent."""
    gateway = await serve(
        simulator, max_concurrency=1, upstream_timeout_seconds=9, reservation_ttl_seconds=9.5
    )
    async with Caller(gateway.url) as first, Caller(gateway.url) as second:
        await first.send(write_request(PRODUCT, ["X-Sim-Latency-Ms: 1000"]))
        await gateway.until(lambda tokens: tokens["reserved"] == 1)
        await second.send(write_request(THREE))
        read_refusal(await second.receive(), 503, "overloaded", "unavailable")
        assert (await first.receive()).status == 200
    assert (await gateway.at_rest())["remaining"] == 99
    assert simulator.state()["calls"]["product"] == 1


async def test_nobody_listens(serve):
    """No connection to Keepa: 502, the hold is released; nothing of the address is told."""
    async with scripted_keepa() as keepa:
        gateway = await serve(keepa.url)
        await gateway.until(lambda tokens: tokens["remaining"] == 100)
        address = keepa.url.removeprefix("http://")
        await keepa.go_away()
        got = await gateway.ask(THREE)
    told = read_refusal(got, 502, "upstream_unreachable", "upstream")
    assert (told["retryable"], told["retry_after_seconds"], told["deficit"]) == (True, 5, 0)
    assert told["current_balance"] in {100, 97}
    assert got.get("X-Keepa-Gateway-Reserved") == "0"
    assert address not in got.plain.decode()
    tokens = await gateway.at_rest()
    assert tokens["remaining"] == 100


@pytest.mark.parametrize(
    "url", ["http://no-such-host.invalid", "https://127.0.0.1:{}", "http://127.0.0.1:{}"]
)
async def test_first_contact_fails(serve, url):
    """Unknown host, or nobody there with TLS or without: a free call is a 502, never sent."""
    gateway = await serve(url.format(free_port()))
    got = await gateway.ask("/tracking?type=list&key=x")
    told = read_refusal(got, 502, "upstream_unreachable", "upstream")
    assert (told["retry_after_seconds"], told["refillIn"], told["refillRate"]) == (5, 5_000, 1)
    assert (told["current_balance"], told["deficit"]) == (None, 0)
    assert "127.0.0.1" not in told["error"]["message"]


async def test_certificate_that_nobody_trusts(serve, tmp_path):
    """TLS that cannot be trusted is sent nothing: free calls get a 502, the key stays here."""
    sign_for_loopback(tmp_path)
    async with scripted_keepa(serve_with(tmp_path)) as keepa:
        gateway = await serve(keepa)
        got = await gateway.ask("/tracking?type=list&key=x")
        read_refusal(got, 502, "upstream_unreachable", "upstream")
        assert keepa.requests == []
        assert keepa.token_calls == 0


async def test_dropped_call_is_never_sent_again(serve, keepa):
    """A kept-alive connection that Keepa drops under a call leaves the call sent once, in doubt."""
    gateway = await serve(keepa)
    assert (await gateway.ask(PRODUCT)).status == 200
    seen = keepa.connections

    async def drop(_, writer):
        writer.close()

    keepa.script = drop
    got = await gateway.ask(THREE)
    read_refusal(got, 502, "upstream_unreachable", "upstream")
    assert got.get("X-Keepa-Gateway-Reserved") == "3"
    # On the connection that was there: only then would aiohttp's client try again.
    assert keepa.connections == seen
    assert len(keepa.requests) == 2
    keepa.script = None
    assert (await gateway.tokens())["reserved"] == 3
    keepa.reply = answer()
    assert (await gateway.ask(PRODUCT)).status == 200


async def test_wrong_key_is_told_as_keepa_tells_it(serve, simulate):
    """Keepa's answer to a wrong key passes; its zeros are no reading of the bucket."""
    simulator = await simulate(api_key="another")
    gateway = await serve(simulator)
    got = await gateway.ask("/tracking?type=list&key=another")
    assert (got.status, got.json()["refillRate"]) == (400, 0)
    assert (await gateway.tokens())["remaining"] is None
    assert (await gateway.ask("/readyz")).json()["missing"] == ["balance"]


@pytest.mark.parametrize("lost", ["kill", "stop", "full"])
async def test_redis_away(serve, simulator, own_redis, lost):
    """Without Redis every call is a quick 503, free ones too; nothing reaches Keepa meanwhile.

    One that answers and takes no writes is away as well.
    """
    gateway = await serve(simulator, redis_url=own_redis.url)
    assert (await gateway.ask(PRODUCT)).status == 200
    await gateway.at_rest()
    calls = simulator.state()["calls"]["product"]
    if lost == "full":
        own_redis.command("CONFIG", "SET", "maxmemory", "1")
    else:
        getattr(own_redis, lost)()
    for target in (PRODUCT, "/tracking?type=list&key=x", "/token?key=x"):
        started = Stopwatch()
        got = await gateway.ask(target)
        assert started.seconds < 2
        told = read_refusal(got, 503, "ledger_unavailable", "unavailable")
        assert (told["retry_after_seconds"], told["retryable"]) == (2, True)
        assert (told["refillRate"], told["deficit"]) == (20, 0)
        assert told["current_balance"] is None
    read_refusal(await gateway.ask("/status"), 503, "ledger_unavailable", "unavailable")
    ready = await gateway.ask("/readyz")
    assert (ready.status, "store" in ready.json()["missing"]) == (503, True)
    assert (await gateway.ask("/healthz")).status == 200
    assert b"keepa_gateway_store_up 0.0" in (await gateway.ask("/metrics")).plain
    # What may never be done is told without a look at the ledger.
    read_refusal(await gateway.ask("/a/b"), 404, "not_found")
    assert simulator.state()["calls"]["product"] == calls
    if lost == "full":
        own_redis.command("CONFIG", "SET", "maxmemory", "0")
    elif lost == "kill":
        own_redis.start()
    else:
        own_redis.proceed()
    async with asyncio.timeout(8):
        while (await gateway.ask("/readyz")).status != 200:
            await asyncio.sleep(0.05)
    assert (await gateway.ask(PRODUCT)).status == 200
    await gateway.at_rest()


async def test_redis_away_at_start(serve, simulator):
    """A gateway starts without its Redis, alive and not ready."""
    gateway = await serve(simulator, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    ready = await gateway.ask("/readyz")
    assert ready.status == 503
    assert {"store", "balance"} <= set(ready.json()["missing"])
    told = read_refusal(await gateway.ask(PRODUCT), 503, "ledger_unavailable", "unavailable")
    assert told["refillRate"] == 1
