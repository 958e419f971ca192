"""The dashboard as a person sees it, in headless Chromium."""

import json
import re
import shutil
import signal
import time

import pytest
from playwright.async_api import async_playwright, expect
from support.redis.server import free_port

pytestmark = pytest.mark.e2e

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKEN = "let-me-in-0123456789"
TOO_DEAR = "/product?domain=1&offers=100&asin=" + ",".join(f"B{n:09d}" for n in range(90))
PRODUCT = "/product?domain=1&asin=B000000001"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SECOND_MS = 1000


@pytest.fixture
async def browser():
    if not CHROMIUM:
        pytest.skip("chromium is not on the path")
    async with async_playwright() as playwright:
        # As root, as in a container, Chromium's own sandbox does not start.
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
async def open_page(browser):
    """Return what opens dashboards; at the end, none may have complained of anything."""
    complaints = []

    async def open_(url, viewport=DESKTOP, *, is_live=True, **options):
        context = await browser.new_context(viewport=viewport, **options)
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: (
                said.type == "error"
                and "Failed to load resource" not in said.text
                and complaints.append(said.text)
            ),
        )
        await page.goto(f"{url}/dashboard")
        if is_live:
            await expect(page.locator("#stream-text")).to_have_text("Live")
        return page

    yield open_
    assert complaints == []


@pytest.fixture
async def simulator(machines):
    return await machines.simulate(tokens=500).started()


async def test_refusal_shows_within_two_seconds_on_either_replica(
    machines, redis, simulator, open_page, figures
):
    """A call refused at one gateway stands on the open pages of both within two seconds."""
    shared = {"keepa_base_url": simulator.url, "redis_url": redis.url}
    gateways = [await machines.serve(**shared).started() for _ in range(2)]
    for gateway in gateways:
        await gateway.ready()
    pages = [await open_page(gateway.url) for gateway in gateways]
    slowest = 0.0
    for number in range(3):
        refused = await gateways[0].ask(TOO_DEAR, f"X-Service-Name: batch-{number}")
        refused_at = time.monotonic()
        assert refused.status == 429
        for page in pages:
            row = page.locator("#refusal-rows tr", has_text=f"batch-{number}")
            await expect(row).to_be_visible(timeout=2 * SECOND_MS)
            await expect(row).to_contain_text("Dearer than a full bucket")
        slowest = max(slowest, time.monotonic() - refused_at)
    figures(slowest_refusal_seconds=round(slowest, 2))
    assert slowest < 2


async def test_what_calls_do_is_seen(machines, simulator, open_page):
    """Balance, services and endpoints follow the calls without anybody reloading."""
    gateway = await machines.serve(keepa_base_url=simulator.url).started()
    await gateway.ready()
    page = await open_page(gateway.url)
    await expect(page.locator("#available")).to_have_text("500")
    await expect(page.locator("#banner-simulator")).to_contain_text("SIMULATED")
    await expect(page.locator("#empty-services")).to_be_visible()
    await expect(page.locator("#empty-refusals")).to_be_visible()
    assert (await gateway.ask(PRODUCT, "X-Service-Name: pricing")).status == 200
    await expect(page.locator("#available")).to_have_text("499")
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="pricing"))
    await expect(row.first).to_contain_text("1")
    await expect(page.locator("#empty-services")).to_be_hidden()
    gauge = page.get_by_role("meter", name="Available tokens")
    await expect(gauge).to_have_attribute("aria-valuenow", "499")
    await expect(page.locator("#countdown")).to_have_text(re.compile(r"^\d+ s$"))


async def test_names_are_shown_as_they_are(machines, redis, simulator, open_page):
    """Whatever stands in the store as a name is text on the page, and nothing else."""
    gateway = await machines.serve(
        keepa_base_url=simulator.url, redis_url=redis.url, account="shown"
    ).started()
    await gateway.ready()
    name = "<img src=x onerror=document.title='owned'><b>bold"
    refusal = {
        "number": "x-1", "service": name, "endpoint": "<i>product", "reason": "<u>floor",
        "required": 5, "deficit": 3, "enforced": True,
    }  # fmt: skip
    line = f"{int(time.time() * 1000)}|{json.dumps(refusal)}"
    redis.command("LPUSH", "keepa-gateway:{shown}:feed-refusals", line)
    page = await open_page(gateway.url)
    row = page.locator("#refusal-rows tr")
    await expect(row.get_by_role("rowheader")).to_have_text(name)
    await expect(row).to_contain_text("<u>floor")
    assert await page.locator("#refusal-rows :is(img, b, i, u)").count() == 0
    assert await page.title() == "Keepa gateway"


async def test_page_says_when_the_stream_breaks_and_comes_back(machines, simulator, open_page):
    """Without its gateway the page says so; when it is there again the page goes on by itself."""
    port = free_port()
    settings = {"keepa_base_url": simulator.url, "port": port}
    gateway = await machines.serve(**settings).started()
    await gateway.ready()
    page = await open_page(gateway.url)
    await page.evaluate("window.isTheSamePage = true")
    gateway.kill()
    await expect(page.locator("#stream-text")).to_have_text("Not live")
    await expect(page.locator("#banner-stream")).to_be_visible()
    await expect(page.locator("#news")).to_contain_text("is lost", timeout=10 * SECOND_MS)
    await (await machines.serve(**settings).started()).ready()
    await expect(page.locator("#stream-text")).to_have_text("Live", timeout=10 * SECOND_MS)
    await expect(page.locator("#banner-stream")).to_be_hidden()
    await expect(page.locator("#news")).to_contain_text("Live again", timeout=10 * SECOND_MS)
    assert await page.evaluate("window.isTheSamePage")


async def test_a_silent_gateway_is_noticed(machines, simulator, open_page):
    """A connection that stands but tells nothing is no live one."""
    gateway = await machines.serve(keepa_base_url=simulator.url).started()
    await gateway.ready()
    page = await open_page(gateway.url)
    gateway.process.send_signal(signal.SIGSTOP)
    await expect(page.locator("#stream-text")).to_have_text("Not live", timeout=10 * SECOND_MS)
    gateway.process.send_signal(signal.SIGCONT)
    await expect(page.locator("#stream-text")).to_have_text("Live", timeout=10 * SECOND_MS)


async def test_page_says_when_redis_is_away(machines, redis, simulator, open_page):
    """Without Redis the page says so, with the figures it had; with Redis back it goes on."""
    gateway = await machines.serve(keepa_base_url=simulator.url, redis_url=redis.url).started()
    await gateway.ready()
    page = await open_page(gateway.url)
    await expect(page.locator("#available")).to_have_text("500")
    redis.kill()
    await expect(page.locator("#banner-store")).to_be_visible()
    await expect(page.locator("#level")).to_have_text("last known")
    await expect(page.locator("#available")).to_have_text("500")
    redis.start()
    await expect(page.locator("#banner-store")).to_be_hidden(timeout=10 * SECOND_MS)
    await expect(page.locator("#level")).not_to_have_text("last known", timeout=10 * SECOND_MS)


async def test_login_with_the_token_and_out_again(machines, simulator, open_page):
    """The form takes the token once; it stands in no URL, and no script can read the cookie."""
    gateway = await machines.serve(keepa_base_url=simulator.url, admin_token=TOKEN).started()
    await gateway.ready()
    page = await open_page(gateway.url, is_live=False)
    seen = []
    page.on("request", lambda request: seen.append(request.url))
    field = page.get_by_label("Admin token")
    await expect(field).to_be_focused()
    await field.fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("not the admin token")
    await field.fill(TOKEN)
    await page.keyboard.press("Enter")
    await expect(page.locator("#stream-text")).to_have_text("Live")
    assert page.url == f"{gateway.url}/dashboard"
    assert not any(TOKEN in url for url in seen)
    [cookie] = await page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert TOKEN not in cookie["value"]
    assert await page.evaluate("document.cookie") == ""
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("Admin token")).to_be_visible()
    assert await page.context.cookies() == []


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_readable_at_any_width_by_anybody(machines, simulator, open_page, viewport, scheme):
    """No width scrolls sideways; landmarks, tables and keyboard are there at each."""
    policies = json.dumps({"a-service-with-a-name-of-forty-letters-x": {"tokens_per_hour": 9}})
    gateway = await machines.serve(
        keepa_base_url=simulator.url, service_policies=policies, enforce="false"
    ).started()
    await gateway.ready()
    await gateway.ask(TOO_DEAR, "X-Service-Name: pricing")
    page = await open_page(gateway.url, viewport, color_scheme=scheme)
    await expect(page.locator("#refusal-rows tr")).to_be_visible()
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= viewport["width"]
    await expect(page.get_by_role("main")).to_be_visible()
    await expect(page.get_by_role("banner")).to_be_visible()
    await expect(page.get_by_role("heading", name="Latest refusals")).to_be_visible()
    for table in await page.get_by_role("table").all():
        headers = await table.get_by_role("columnheader", include_hidden=True).count()
        cells = table.get_by_role("row").last.locator("[role=cell], [role=rowheader]")
        assert headers == await cells.count() >= 5
    await expect(page.locator("#banner-shadow")).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the figures")).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(page.locator("#hour-details summary")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#hour-rows tr").first).to_be_visible()
