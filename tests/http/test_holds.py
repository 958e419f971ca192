"""What becomes of a call's hold: settled, released or left in doubt, exactly once."""

import asyncio
import time

import pytest
from support.keepa.scripted import answer, fields

PRODUCTS = "/product?domain=1&asin=B000000001,B000000002,B000000003&key=x"
RELEASED = (100, 0)
SETTLED = (97, 0)
DOUBT = (100, 3)
ORDERS = ("X-Sim-Order: first", "X-Sim-Order: sorted")


def balance_of(tokens):
    return tokens["remaining"], tokens["reserved"]


async def came_to(gateway, wanted):
    """Wait until the tokens are as they should be, and see that they stay so."""
    await gateway.until(lambda tokens: balance_of(tokens) == wanted)
    await gateway.ask("/healthz")
    assert balance_of(await gateway.tokens()) == wanted


def outcome_counts(text):
    return {
        line.partition('outcome="')[2].partition('"')[0]: float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("keepa_gateway_requests_total")
    }


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("fault", "status", "wanted", "charged"),
    [
        (None, 200, SETTLED, 3),
        ("error_in_200", 200, SETTLED, 3),
        ("slow_body", 200, SETTLED, 3),
        ("http_500", 500, RELEASED, 0),
        ("all_zero", 400, RELEASED, 0),
        ("html_503", 503, DOUBT, 0),
        ("empty_502", 502, DOUBT, 0),
        ("charge_then_html", 500, DOUBT, 3),
        ("drop", 502, DOUBT, 0),
        ("charge_and_drop", 502, DOUBT, 3),
    ],
)
async def test_each_way_a_call_can_end(gateway, simulator, fault, status, wanted, charged, order):
    """An answer with token fields settles, all-zero ones release, none at all leave a doubt."""
    headers = [order, "X-Sim-Slow-Seconds: 0.1", *([f"X-Sim-Fault: {fault}"] if fault else [])]
    got = await gateway.ask(PRODUCTS, *headers)
    assert (got.status, got.whole) == (status, True)
    await came_to(gateway, wanted)
    state = simulator.state()
    assert (state["calls"]["product"], state["charged_total"]) == (1, charged)


@pytest.mark.parametrize("gzip", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize("size", [0, 3_000_000])
@pytest.mark.parametrize(
    ("fault", "order", "wanted"),
    [
        ("cut_body_late", "sorted", SETTLED),
        ("cut_body_late", "first", SETTLED),
        ("cut_body", "first", SETTLED),
        ("cut_body_early", "first", DOUBT),
        ("cut_body_early", "sorted", DOUBT),
    ],
)
async def test_cut_body_settles_where_its_fields_had_come(
    gateway, simulator, fault, order, wanted, size, gzip
):
    """A body cut short settles where the token fields had come before, else it is in doubt."""
    got = await gateway.ask(
        PRODUCTS,
        f"X-Sim-Fault: {fault}",
        f"X-Sim-Order: {order}",
        f"X-Sim-Bytes: {size}",
        *(["Accept-Encoding: gzip"] if gzip else []),
    )
    # A 502 where nothing had been passed on yet, else an answer that is seen to be cut.
    assert got.status == 502 or not got.whole
    await came_to(gateway, wanted)
    assert simulator.state()["charged_total"] == 3


async def test_keepas_own_429_passes_and_settles_with_nothing(gateway, simulator):
    """Keepa's own 429 (others spent the bucket) reaches the caller, and corrects the balance."""
    await gateway.until(lambda tokens: tokens["remaining"] == 100)
    simulator.bucket.spend(120, _now_ms())
    got = await gateway.ask(PRODUCTS)
    assert (got.status, got.json()["tokensLeft"]) == (429, -20)
    assert "reason" not in got.json()
    await came_to(gateway, (-20, 0))
    got = await gateway.ask(PRODUCTS)
    assert got.json()["reason"] == "floor"
    assert simulator.state()["calls"]["product"] == 1


def _now_ms():
    return int(time.time() * 1000)


async def test_picture_settles_at_its_cost(gateway, simulator):
    """A PNG has no token fields: it settles with what was reserved."""
    got = await gateway.ask("/graphimage?domain=1&asin=B000000001&key=x")
    assert got.get("Content-Type") == "image/png"
    assert got.body.startswith(b"\x89PNG")
    await came_to(gateway, (99, 0))
    assert simulator.state()["charged_total"] == 1


async def test_large_picture_settles_at_its_cost(serve, keepa):
    """So does one that streams past, once it has come whole."""
    gateway = await serve(keepa)
    keepa.reply = answer(b"\x89PNG" + b"x" * 500_000, b"Content-Type: image/png")
    assert (await gateway.ask("/graphimage?asin=B1")).whole
    await came_to(gateway, (99, 0))


async def test_picture_cut_short_is_in_doubt(serve, keepa):
    """A PNG that did not come whole leaves its hold in doubt."""
    gateway = await serve(keepa)
    whole = answer(b"\x89PNG" + b"x" * 500_000, b"Content-Type: image/png")

    async def cut(_, writer):
        writer.write(whole[:-1])
        await writer.drain()

    keepa.script = cut
    assert not (await gateway.ask("/graphimage?asin=B1")).whole
    await came_to(gateway, (100, 1))


@pytest.mark.parametrize("code", [404, 500])
async def test_error_picture_is_in_doubt(serve, keepa, code):
    """An image that is an error page is no proof of a charge."""
    gateway = await serve(keepa)
    keepa.reply = answer(b"\x89PNG", b"Content-Type: image/png", status=f"{code} No")
    assert (await gateway.ask("/graphimage?asin=B1")).status == code
    await came_to(gateway, (100, 1))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"tokensConsumed": 1, "tokensLeft": 99}, (99, 0)),
        ({"tokensConsumed": 0, "tokensLeft": 100}, (100, 0)),
        ({"tokensConsumed": 7, "tokensLeft": 93}, (93, 0)),
        ({"tokensConsumed": 2, "tokensLeft": 50}, (50, 0)),
        ({"tokensConsumed": 1, "tokensLeft": -5}, (-5, 0)),
        ({"tokensConsumed": 0, "tokensLeft": 0, "refillRate": 0}, (100, 0)),
        ({"tokensConsumed": 1, "tokensLeft": 40, "refillRate": 0}, (99, 0)),
    ],
)
async def test_fields_of_an_answer_settle_whatever_they_say(serve, keepa, changes, wanted):
    """Consumption and balance are taken from the answer; a refillRate of 0 is no observation."""
    gateway = await serve(keepa)
    keepa.reply = answer(fields(**changes))
    assert (await gateway.ask("/product?asin=B1")).status == 200
    await came_to(gateway, wanted)


@pytest.mark.parametrize("code", [400, 402, 405, 429, 500])
async def test_error_answers_with_fields_settle(serve, keepa, code):
    """An answer of any status settles with its tokensConsumed."""
    gateway = await serve(keepa)
    keepa.reply = answer(fields(tokensConsumed=2, tokensLeft=98), status=f"{code} No")
    assert (await gateway.ask("/product?asin=B1,B2,B3")).status == code
    await came_to(gateway, (98, 0))


async def test_time_out_is_in_doubt(serve, simulator):
    """A call that Keepa does not answer in time is a 504, and its hold stays."""
    gateway = await serve(simulator, upstream_timeout_seconds=1)
    got = await gateway.ask(PRODUCTS, "X-Sim-Fault: slow_head", "X-Sim-Slow-Seconds: 30")
    assert (got.status, got.json()["reason"]) == (504, "upstream_timeout")
    await came_to(gateway, DOUBT)


async def test_time_out_within_the_body_cuts_the_callers_connection(serve, simulator):
    """A body that does not end in time is cut; with its fields it settles."""
    gateway = await serve(simulator, upstream_timeout_seconds=1)
    got = await gateway.ask(
        PRODUCTS, "X-Sim-Fault: slow_body", "X-Sim-Slow-Seconds: 30", "X-Sim-Order: first",
        "X-Sim-Bytes: 2000000",
    )  # fmt: skip
    assert (got.status, got.whole) == (200, False)
    await came_to(gateway, SETTLED)


async def test_doubt_ends_with_its_hold(serve, simulator):
    """A doubt ends when its hold expires: it counts as spent until the next observation."""
    gateway = await serve(
        simulator,
        upstream_timeout_seconds=1,
        reservation_ttl_seconds=1.5,
        balance_max_age_seconds=600,
    )
    assert (await gateway.ask(PRODUCTS, "X-Sim-Fault: charge_and_drop")).status == 502
    assert (await gateway.tokens())["reserved"] == 3
    await came_to(gateway, SETTLED)
    assert simulator.state()["tokens_left"] == 97


async def test_each_call_is_resolved_once(gateway, simulator):
    """Many calls at once with every fault: each is counted once, and nothing stays but doubts."""
    faults = ["none", "error_in_200", "http_500", "html_503", "drop", "cut_body_late", "all_zero"]
    calls = [
        gateway.ask("/product?domain=1&asin=B000000001&key=x", f"X-Sim-Fault: {fault}")
        for fault in faults * 4
    ]
    await asyncio.gather(*calls)
    await came_to(gateway, (88, 8))
    counts = outcome_counts((await gateway.ask("/metrics")).plain.decode())
    assert counts == {"settled": 16, "released": 4, "doubt": 8}
    assert simulator.state()["calls_total"] - simulator.state()["calls"]["token"] == 28


@pytest.mark.parametrize("target", ["/tracking?type=list&key=x", "/category?category=0&key=x"])
async def test_free_calls_and_flat_ones_end_as_others_do(gateway, simulator, target):
    """A call that costs nothing holds nothing, and every hold is gone afterwards."""
    assert (await gateway.ask(target)).status == 200
    tokens = await gateway.at_rest()
    assert tokens["remaining"] == simulator.state()["tokens_left"]


async def test_overrun_is_settled_in_full(serve, keepa):
    """A call charged above its reservation is settled with all that was charged."""
    gateway = await serve(keepa)
    keepa.reply = answer(fields(tokensConsumed=60, tokensLeft=40))
    assert (await gateway.ask("/product?code=123")).status == 200
    await came_to(gateway, (40, 0))
    assert b"\nkeepa_gateway_overrun_tokens_total 59.0" in (await gateway.ask("/metrics")).plain
