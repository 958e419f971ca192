"""`/dashboard` over HTTP: the page, its stream, and the way in."""

import asyncio
import re
import time

import pytest
from support.callers.events import Stream
from support.callers.refusals import read_refusal
from support.measure.stopwatch import Stopwatch
from support.waiting import until

TOKEN = "let-me-in-0123456789"
TOO_DEAR = "/product?domain=1&offers=100&key=x&asin=" + ",".join(f"B{n:09d}" for n in range(90))
FORM = "Content-Type: application/x-www-form-urlencoded"


def check_guards(answer):
    """No page of ours may run, show or be shown by anything from elsewhere."""
    policy = dict(part.split(" ", 1) for part in answer.get("Content-Security-Policy").split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    for kind in ("script-src", "style-src", "img-src", "connect-src", "form-action"):
        assert policy[kind] == "'self'"
    assert answer.get("X-Content-Type-Options") == "nosniff"
    assert answer.get("Referrer-Policy") == "no-referrer"


async def log_in(gateway, token=TOKEN, *headers):
    return await gateway.ask(
        "/dashboard/login", FORM, *headers, method="POST", body=f"token={token}".encode()
    )


def cookie_of(answer):
    return "Cookie: " + answer.get("Set-Cookie").partition(";")[0]


async def test_page_is_served_under_a_strict_policy(gateway):
    """`/dashboard` is one page that nobody keeps, and that loads nothing from elsewhere."""
    page = await gateway.ask("/dashboard?anything")
    assert (page.status, page.get("Cache-Control")) == (200, "no-store")
    assert page.get("Content-Type") == "text/html; charset=utf-8"
    check_guards(page)


async def test_what_the_page_names_is_served(gateway):
    """Each script, style and picture of the page comes with its type, and is told unchanged."""
    page = (await gateway.ask("/dashboard")).body.decode()
    targets = re.findall(r'(?:src|href)="(dashboard/[^"]+)"', page)
    assert len(targets) == 5
    for target in [*targets, "dashboard/charts.js", "dashboard/tables.js"]:
        got = await gateway.ask(f"/{target}")
        assert got.status == 200
        kind = {"css": "text/css", "js": "text/javascript", "png": "image/png"}
        assert got.get("Content-Type").startswith(kind[target.rpartition(".")[2]])
        check_guards(got)
        packed = await gateway.ask(f"/{target}", "Accept-Encoding: gzip")
        assert packed.get("Content-Encoding") == "gzip"
        assert packed.plain == got.body
        again = await gateway.ask(f"/{target}", f"If-None-Match: {got.get('ETag')}")
        assert (again.status, again.body) == (304, b"")


async def test_other_ways_to_ask(gateway):
    """A slash too many leads to the page; the page takes no other method; HEAD has no body."""
    got = await gateway.ask("/dashboard/")
    assert (got.status, got.get("Location")) == (303, "../dashboard")
    for path in ("/dashboard", "/dashboard/events", "/dashboard/dashboard.js"):
        read_refusal(await gateway.ask(path, method="POST"), 405, "method_not_allowed")
        assert (await gateway.ask(path, method="HEAD")).status == 200
    assert (await gateway.ask("/dashboard/other.js")).status == 404


async def test_stream_tells_the_hour_then_each_second(gateway):
    """The stream begins with the last hour, and tells the account's state each second."""
    await gateway.until_ready()
    async with Stream(gateway.url) as stream:
        head = stream.head
        assert (head.status, head.get("Content-Type")) == (200, "text/event-stream")
        assert head.get("Cache-Control") == "no-store"
        check_guards(head)
        names = [(await stream.next())[0] for _ in range(4)]
        assert names == ["session", "hour", "refusals", "usage"]
        now = await stream.until("now")
        assert now["tokens"]["remaining"] == 100
        assert now["tokens"]["floor"] == 10
        assert (now["store"], now["breaker"]) == ({"kind": "embedded", "up": True}, "closed")
        assert (now["enforce"], now["simulated"], now["gateways"]) == (True, True, 1)
        began_at = Stopwatch()
        for _ in range(2):
            await stream.until("now")
        assert began_at.wall_seconds > 1
        assert began_at.seconds < 4


async def test_only_the_simulator_shows_as_simulated(serve, keepa):
    """Another Keepa than the simulator is not called simulated."""
    gateway = await serve(keepa)
    await gateway.until_ready()
    async with Stream(gateway.url) as stream:
        assert (await stream.until("now"))["simulated"] is False


async def test_use_and_refusals_show(gateway):
    """What services use, by endpoint too, and what they are refused reaches an open page."""
    await gateway.until_ready()
    async with Stream(gateway.url) as stream:
        await gateway.ask("/product?domain=1&asin=B000000001&key=x", "X-Service-Name: pricing")
        assert (await gateway.ask(TOO_DEAR, "X-Service-Name: batch")).status == 429
        refused_at = Stopwatch()
        [refusal] = await stream.until("refusals", bool)
        assert refused_at.seconds < 2
        assert (refusal["service"], refusal["endpoint"]) == ("batch", "product")
        assert refusal["reason"] == "exceeds_capacity"
        assert refusal["deficit"] == refusal["required"] + 10 - 99
        now = await stream.until("now", lambda now: now["services"].get("pricing", {}).get("used"))
        assert now["services"]["batch"]["denied"] == 1
    async with Stream(gateway.url) as stream:
        rows = (await stream.until("usage", lambda usage: len(usage["rows"]) == 2))["rows"]
        assert rows[0] == {
            "service": "pricing", "endpoint": "product", "tokens": 1, "calls": 1, "refusals": 0,
        }  # fmt: skip
        assert (rows[1]["service"], rows[1]["refusals"]) == ("batch", 1)


async def test_refusal_of_one_replica_shows_at_the_other(serve, simulator, redis_server, account):
    """Within two seconds a refusal shows on pages that are open at another gateway."""
    shared = {"redis_url": redis_server.url, "account": account}
    one, other = await serve(simulator, **shared), await serve(simulator, **shared)
    await one.until_ready()
    async with Stream(other.url) as stream:
        await stream.until("now", lambda now: now["gateways"] == 2)
        for name in ("first", "second"):
            assert (await one.ask(TOO_DEAR, f"X-Service-Name: {name}")).status == 429
            refused_at = Stopwatch()
            await stream.until(
                "refusals", lambda told, name=name: told and told[0]["service"] == name
            )
            assert refused_at.seconds < 2


async def test_page_is_told_when_the_store_goes_and_comes(serve, simulator, own_redis):
    """With Redis away the stream goes on and says so, refusals included; then all is told anew."""
    gateway = await serve(simulator, redis_url=own_redis.url)
    await gateway.until_ready()
    async with Stream(gateway.url) as stream:
        await stream.until("now", lambda now: now["store"]["up"])
        own_redis.kill()
        now = await stream.until("now", lambda now: not now["store"]["up"])
        assert "tokens" not in now
        assert (await gateway.ask(TOO_DEAR, "X-Service-Name: unlucky")).status == 503
        told = await stream.until("refusals", bool)
        assert (told[0]["service"], told[0]["reason"]) == ("unlucky", "ledger_unavailable")
        own_redis.start()
        await stream.until("hour")
        await stream.until("now", lambda now: now["store"]["up"])


async def test_open_dashboards_do_not_delay_a_stop(serve, simulator, stack):
    """At the end of the drain the streams end properly, and the gateway with them."""
    gateway = await serve(simulator)
    async with Stream(gateway.url) as stream:
        await stream.until("now")
        began_at = Stopwatch()
        stopping = asyncio.create_task(stack.aclose())
        with pytest.raises(EOFError):
            await stream.until("never")
        await stopping
        assert began_at.seconds < 3


async def test_without_the_token_nothing_is_told(serve, simulator):
    """With ADMIN_TOKEN the page is a login form, and the stream a 401, whatever is offered."""
    gateway = await serve(simulator, admin_token=TOKEN, service_keys="pricing:s3cret")
    for headers in (
        [], ["Authorization: Bearer s3cret"], [f"Cookie: keepa_gateway_session={TOKEN}"],
        ["Cookie: keepa_gateway_session=9999999999.x.y"], ["Cookie: \xff=;;="],
    ):  # fmt: skip
        page = await gateway.ask("/dashboard", *headers)
        assert page.status == 401
        assert b'type="password"' in page.body
        assert b'id="available"' not in page.body
        check_guards(page)
        for method in ("GET", "HEAD"):
            refused = await gateway.ask("/dashboard/events", *headers, method=method)
            assert (refused.status, refused.get("Cache-Control")) == (401, "no-store")
    assert (await gateway.ask(f"/dashboard/events?token={TOKEN}&key={TOKEN}")).status == 401
    assert (await log_in(gateway, "wrong")).get("Set-Cookie") is None


async def test_login_gives_a_cookie_that_every_replica_takes(serve, simulator):
    """The right token leads to the page with a cookie that is not the token, good everywhere."""
    one = await serve(simulator, admin_token=TOKEN)
    other = await serve(simulator, admin_token=TOKEN)
    got = await log_in(one)
    assert (got.status, got.get("Location")) == (303, "../dashboard")
    cookie = got.get("Set-Cookie")
    attributes = {part.strip() for part in cookie.split(";")[1:]}
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= attributes
    assert "Secure" not in attributes
    assert TOKEN not in cookie
    for gateway in (one, other):
        assert (await gateway.ask("/dashboard", cookie_of(got))).status == 200
        async with Stream(gateway.url, cookie_of(got)) as stream:
            session = await stream.until("session")
            assert time.time() < session["ends"] <= time.time() + 12 * 3600
            assert (await stream.until("now"))["enforce"]


async def test_cookie_is_secure_behind_https(serve, simulator):
    """Where the browser spoke https, its cookie goes by https only."""
    gateway = await serve(simulator, admin_token=TOKEN)
    got = await log_in(gateway, TOKEN, "X-Forwarded-Proto: https")
    assert got.get("Set-Cookie").endswith("; Secure")


async def test_logout_takes_the_cookie_away(serve, simulator):
    """Logging out empties the cookie, and leads to the form."""
    gateway = await serve(simulator, admin_token=TOKEN)
    got = await gateway.ask("/dashboard/logout", cookie_of(await log_in(gateway)), method="POST")
    assert got.status == 303
    assert "Max-Age=0" in got.get("Set-Cookie")
    assert (await gateway.ask("/dashboard", cookie_of(got))).status == 401


async def test_bearer_token_opens_everything(serve, simulator):
    """Programs go on with the bearer token."""
    gateway = await serve(simulator, admin_token=TOKEN)
    bearer = f"Authorization: Bearer {TOKEN}"
    assert (await gateway.ask("/dashboard", bearer)).status == 200
    async with Stream(gateway.url, bearer) as stream:
        assert (await stream.until("session"))["ends"] is None
        await stream.until("now")


async def test_forms_of_other_sites_do_nothing(serve, simulator):
    """A form on another site's page can neither log anybody in nor out."""
    gateway = await serve(simulator, admin_token=TOKEN)
    got = await log_in(gateway, TOKEN, "Sec-Fetch-Site: cross-site")
    assert (got.status, got.get("Set-Cookie")) == (303, None)


async def test_guessing_is_slow_and_keeps_nobody_out(serve, simulator):
    """Wrong tokens are answered a second later; the right one gets in meanwhile, and at once."""
    gateway = await serve(simulator, admin_token=TOKEN)
    began_at = time.monotonic()
    guesses = [asyncio.create_task(log_in(gateway, f"guess{n}")) for n in range(8)]
    await asyncio.sleep(0.2)
    assert (await log_in(gateway)).status == 303
    assert (await gateway.ask("/dashboard", f"Authorization: Bearer {TOKEN}")).status == 200
    assert not any(guess.done() for guess in guesses)
    for guess in guesses:
        answer = await guess
        assert answer.status == 401
        assert b"not the admin token" in answer.body
    assert time.monotonic() - began_at > 0.9


async def test_login_takes_the_token_with_the_end_of_its_line(serve, simulator):
    """A token that was copied with white space around it gets in."""
    gateway = await serve(simulator, admin_token=TOKEN)
    assert (await log_in(gateway, f"%20{TOKEN}%0A")).status == 303


async def test_a_login_form_has_bounds(serve, simulator):
    """A body that is no login form of ours is refused."""
    gateway = await serve(simulator, admin_token=TOKEN)
    read_refusal(await log_in(gateway, "x" * 5000), 413, "too_large")
    assert (await log_in(gateway, "%ff%00&token=")).status == 401


async def test_reader_who_leaves_is_forgotten(gateway):
    """Pages that were closed cost nothing any more: the stream of each ends within a second."""

    async def is_open():
        async with Stream(gateway.url) as stream:
            return stream.head.status == 200

    # More than may be open at once, and faster than what is written to them tells who has left.
    for _ in range(120):
        assert await until(is_open, 2)
    async with Stream(gateway.url) as stream:
        assert await stream.until("now")
