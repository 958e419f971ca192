"""Calls that Keepa failed: which are attempted again, under which hold, and what they end with."""

import asyncio

import pytest
from support.callers.refusals import read_refusal
from support.keepa.scripted import answer, fields

PRODUCT = "/product?domain=1&asin=B000000001,B000000002&key=x"
PAGE = answer(b"<html>Bad Gateway</html>", b"Content-Type: text/html", status="502 Bad Gateway")
GOOD = answer(fields(tokensConsumed=2, tokensLeft=98))
DROP = b""
HEAD = GOOD.partition(b"{")[0]


def play(keepa, *answers):
    """Have Keepa give these answers in turn, the last one for ever; a connection each."""
    left = list(answers)

    async def script(_, writer):
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()

    keepa.script = script


@pytest.mark.parametrize("failure", [DROP, PAGE, b"garbage\r\n\r\n", HEAD])
async def test_call_that_keepa_failed_is_attempted_again(serve, keepa, failure):
    """A call that got no answer, no body or an error page is sent again; a hold for each."""
    gateway = await serve(keepa, upstream_retries=3)
    play(keepa, failure, GOOD)
    got = await gateway.ask(PRODUCT)
    assert (got.status, got.body) == (200, fields(tokensConsumed=2, tokensLeft=98))
    assert len(keepa.requests) == 2
    # The second settled; the first may have been charged as well.
    await gateway.at_rest_but(2)


@pytest.mark.parametrize("finder", ["query", "sellerquery"])
async def test_a_posted_finder_changes_nothing(serve, keepa, finder):
    """A POST that only asks is sent again, too."""
    gateway = await serve(keepa, upstream_retries=1)
    play(keepa, DROP, GOOD)
    got = await gateway.ask(f"/{finder}?domain=1", method="POST", body=b'{"perPage":50}')
    assert got.status == 200
    assert len(keepa.requests) == 2


async def test_attempts_end(serve, keepa):
    """After so many retries the failure is the answer; each attempt holds its own tokens."""
    gateway = await serve(keepa, upstream_retries=2)
    play(keepa, DROP)
    got = await gateway.ask(PRODUCT)
    assert read_refusal(got, 502, "upstream_unreachable", "upstream")
    assert got.get("X-Keepa-Gateway-Reserved") == "6"
    assert len(keepa.requests) == 3
    await gateway.at_rest_but(6)


async def test_page_of_keepas_passes_after_the_last_attempt(serve, keepa):
    """A 5xx page is passed on as it came when no attempt got anything better."""
    gateway = await serve(keepa, upstream_retries=1)
    play(keepa, PAGE)
    got = await gateway.ask(PRODUCT)
    assert (got.status, got.reason, got.body) == (502, "Bad Gateway", b"<html>Bad Gateway</html>")
    assert len(keepa.requests) == 2


@pytest.mark.parametrize("failure", [DROP, PAGE])
async def test_retry_needs_tokens_of_its_own(serve, keepa, failure):
    """Where a second hold does not fit, the first failure is the answer, not a 429."""
    gateway = await serve(keepa, upstream_retries=3, min_balance_threshold=97)
    play(keepa, failure, GOOD)
    got = await gateway.ask(PRODUCT)
    assert got.status == 502
    assert len(keepa.requests) == 1
    await gateway.at_rest_but(2)


async def test_retry_takes_a_request_slot(serve, keepa):
    """An attempt that may be charged again takes a slot of the request rate, or is not made."""
    gateway = await serve(keepa, upstream_retries=3, rate_limit_per_minute=1, rate_limit_burst=1)
    play(keepa, DROP, GOOD)
    assert (await gateway.ask(PRODUCT)).status == 502
    assert len(keepa.requests) == 1


@pytest.mark.parametrize("target", ["/tracking?type=add&tracking=[]", "/newthing?a=1"])
async def test_what_may_change_something_is_sent_once(serve, keepa, target):
    """A tracking call, or one nobody knows, is not repeated once it may have reached Keepa."""
    # So cheap that tokens are no reason.
    gateway = await serve(keepa, upstream_retries=3, endpoint_costs={"unknown": 1})
    play(keepa, DROP, GOOD)
    assert (await gateway.ask(target)).status == 502
    assert len(keepa.requests) == 1


@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "500 Error"])
async def test_keepas_own_errors_are_answers(serve, keepa, status):
    """An error that carries token fields is passed on at once and settled."""
    gateway = await serve(keepa, upstream_retries=3)
    play(keepa, answer(fields(tokensLeft=50, tokensConsumed=0), status=status), GOOD)
    got = await gateway.ask(PRODUCT)
    assert f"{got.status} {got.reason}" == status
    assert len(keepa.requests) == 1
    # With nothing else in flight its reading is adopted.
    assert (await gateway.at_rest())["remaining"] == 50


@pytest.mark.parametrize("target", [PRODUCT, "/tracking?type=add&tracking=[]"])
async def test_unsent_call_keeps_its_hold(serve, keepa, target):
    """While Keepa cannot be reached any call is attempted again under one and the same hold."""
    gateway = await serve(keepa, upstream_retries=3)
    await gateway.until_ready()
    await keepa.go_away()
    got = await gateway.ask(target)
    assert read_refusal(got, 502, "upstream_unreachable", "upstream")
    assert got.get("X-Keepa-Gateway-Reserved") == "0"
    tokens = await gateway.at_rest()
    assert (tokens["remaining"], tokens["requests_made"]) == (100, 1)


async def test_answer_that_has_begun_is_not_begun_again(serve, keepa):
    """An answer cut after its head went to the caller cuts the caller's connection, once."""
    gateway = await serve(keepa, upstream_retries=3)
    body = b'{"products":["' + b"x" * 200_000
    play(keepa, answer(body + b"y" * 1000)[:-1000], GOOD)
    got = await gateway.ask(PRODUCT)
    assert (got.status, got.whole) == (200, False)
    assert len(keepa.requests) == 1


async def test_caller_who_left_is_not_retried_for(serve, keepa):
    """When the caller has hung up no further attempt is made."""
    gateway = await serve(keepa, upstream_retries=3)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def script(_, writer):
        reached.set()
        await go_on.wait()
        writer.close()

    keepa.script = script
    call = asyncio.create_task(gateway.ask(PRODUCT))
    await reached.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    # The gateway has read the caller's leaving when it answers another on a later connection.
    await gateway.ask("/healthz")
    go_on.set()
    await gateway.until(lambda tokens: tokens["reserved"] == 2)
    await asyncio.sleep(0.5)
    assert len(keepa.requests) == 1


async def test_all_attempts_end_in_time(serve, keepa):
    """The time-out is one for all attempts together."""
    gateway = await serve(keepa, upstream_retries=10, upstream_timeout_seconds=1)
    play(keepa, DROP)
    began_at = asyncio.get_running_loop().time()
    got = await gateway.ask(PRODUCT)
    assert got.status in {502, 504}
    assert asyncio.get_running_loop().time() - began_at < 2


async def test_call_is_counted_once(serve, keepa):
    """However many attempts it took, `/metrics` has one call, as its last attempt ended."""
    gateway = await serve(keepa, upstream_retries=3)
    play(keepa, DROP, GOOD)
    assert (await gateway.ask(PRODUCT)).status == 200
    text = (await gateway.ask("/metrics")).body.decode()
    counts = [line for line in text.splitlines() if "_requests_total{" in line]
    assert counts == [
        'keepa_gateway_requests_total{endpoint="product",outcome="settled",service="anonymous"} 1.0'
    ]
