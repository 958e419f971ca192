"""The demo as a newcomer meets it, and what it must leave alone."""

import asyncio
import re
import signal
import socket

import pytest
from support.callers.wire import ask
from support.gateways.processes import KEY
from support.redis.server import free_port
from support.waiting import until

from gateway.commands import demo, demo_script
from gateway.commands.demo_script import Step
from gateway.simulator import SimulatorConfig

pytestmark = pytest.mark.e2e

PRODUCT = "/product?domain=1&asin=B000000001"
# One token is reserved for it, and more are charged: nothing says how many products it finds.
OVERRUN = "/product?domain=1&code=0000000000001"


@pytest.fixture
def trap():
    """A port that nobody is to call."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        yield listener


def address(trap):
    return "127.0.0.1:{1}".format(*trap.getsockname())


@pytest.fixture
def quick(monkeypatch):
    """Return what puts a short script in the place of the demo's own."""
    monkeypatch.setattr(demo, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(demo, "_TRAFFIC_PAUSE_SECONDS", 0.01)
    for part in ("BEFORE", "MEANWHILE", "AFTER"):
        monkeypatch.setattr(demo_script, part, ())
    monkeypatch.setattr(demo_script, "WAITING", Step("shop", "waits", PRODUCT, wait_seconds=5))

    def play(*steps, tokens):
        account = SimulatorConfig(tokens=tokens, refill_rate=60, first_lump_in_ms=700)
        monkeypatch.setattr(demo_script, "ACCOUNT", account)
        monkeypatch.setattr(demo_script, "AFTER", steps)

    return play


async def test_the_demo_shows_every_answer_and_touches_nothing_real(machines, trap, figures):
    """Whatever is set, only the simulator is called; each answer is as told, exit code 0."""
    process = machines.run(
        "demo", keepa_api_key=KEY, keepa_base_url=f"http://{address(trap)}",
        redis_url=f"redis://{address(trap)}/0", alert_webhook_url=f"http://{address(trap)}/hook",
        alert_balance=500, http_proxy=f"http://{address(trap)}", min_balance_threshold="nonsense",
        service_keys="loft:of-the-loft", service_policies="{}", admin_token="of-the-admin",
        enforce="false", host="0.0.0.0", rate_limit_burst=1, log_level="DEBUG",
    )  # fmt: skip
    assert await process.ended(60) == 0, process.output + process.errors
    with pytest.raises(BlockingIOError):
        trap.accept()
    shown = process.output
    assert KEY not in shown
    assert process.errors == ""
    for reason in ("service_quota", "max_cost", "service_floor", "floor"):
        assert re.search(rf" 429 {reason}\b", shown)
    assert re.search(r"waits.*\n(.*\n)*.*waits.* 200 answered", shown)
    assert "would be answered" in shown
    assert "lowest balance was 10, the floor 10: kept" in shown
    assert re.search(
        r"^Dashboard http://127\.0\.0\.1:\d+/dashboard \(.*--stay", shown, re.MULTILINE
    )
    assert shown.endswith("not as told: 0.\n")
    figures(seconds=re.findall(r"([\d.]+)s ", shown)[-1])


async def test_the_demo_listens_on_port_and_ends_at_ctrl_c(machines):
    """PORT is listened on; Ctrl-C ends the demo at once, without a word of complaint."""
    port = free_port()
    process = machines.run("demo", "--stay", port=port)
    await until(lambda: "3 products" in process.output or process.has_ended)
    assert (await ask(f"http://127.0.0.1:{port}", "/dashboard")).status == 200
    process.process.send_signal(signal.SIGINT)
    assert await process.ended(5) == 0
    assert process.errors == ""


async def test_the_demo_names_a_bad_port(machines):
    """A PORT that is none is one line, exit code 2."""
    process = machines.run("demo", port="eighty")
    assert await process.ended() == 2
    assert process.errors.count("\n") == 1
    assert "PORT=eighty" in process.errors


@pytest.mark.parametrize(
    ("step", "tokens", "told"),
    [
        (Step("shop", "fits", PRODUCT), 100, None),
        (Step("shop", "fits", PRODUCT, "floor"), 100, r"200 answered \(not floor!\)"),
        (Step("shop", "too dear", "/lightningdeal?domain=1"), 100, r"429 floor.*\(not answered!\)"),
        (Step("shop", "more than reserved", OVERRUN), -48, "the floor 10: CROSSED"),
    ],
    ids=["as told", "no refusal", "no answer", "floor"],
)
async def test_the_demo_judges_what_it_saw(quick, step, tokens, told):
    """An answer that is not as told, or a crossed floor, is said so and is a failure."""
    quick(step, tokens=tokens)
    shown = []
    assert await demo.run_demo(shown.append, asyncio.Event(), stay=False) is (told is None)
    assert told is None or re.search(told, "\n".join(shown))


async def test_with_stay_traffic_goes_on_until_it_is_told_to_stop(quick):
    """After the summary calls go on, for the dashboard to show, until Ctrl-C."""
    quick(tokens=100)
    shown = []
    stop = asyncio.Event()
    playing = asyncio.create_task(demo.run_demo(shown.append, stop, stay=True))
    url = await until(lambda: shown and not playing.done()) and shown[0].split()[-1]
    await until(lambda: any("Ctrl-C" in line for line in shown))

    async def there_is_traffic():
        services = (await ask(url, "/status")).json()["services"]
        return all(services[name]["used"] or services[name]["denied"] for name in services)

    await until(there_is_traffic)
    assert not playing.done()
    stop.set()
    assert await playing is True
