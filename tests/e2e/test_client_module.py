"""The stock Python client through `keepa_gateway_client`: answered, refused, waiting."""

import asyncio
import json

import pytest
from support.gateways.processes import KEY, Machines
from support.measure.stopwatch import Stopwatch
from support.waiting import until

import keepa_gateway_client as client
from e2e.routed_keepa import ASINS, Async, Sync, watch_the_loop

pytestmark = pytest.mark.e2e

LUMP_IN_MS = 5_000
LUMP_SECONDS = LUMP_IN_MS / 1000
# The loop of this process, on a busy machine; the stock client stops it for the whole wait.
HARDLY_BLOCKED_SECONDS = 1.0
# The gateway tells whole seconds, rounded up.
ROUNDING_SECONDS = 1.0
SLACK_SECONDS = 1.0


@pytest.fixture(params=[Sync, Async])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A gateway with tokens to spend, and with services."""
    machines = Machines(tmp_path_factory.mktemp("rich"))
    simulator = machines.simulate(tokens=1000)
    asyncio.run(simulator.started())
    gateway = machines.serve(
        keepa_base_url=simulator.url,
        service_keys="shop:shop-secret,batch:batch-secret,night:night-secret",
        service_policies=json.dumps(
            {
                "batch": {"endpoints": ["product"], "max_cost": 5},
                "night": {"tokens_per_hour": 1},
            }
        ),
    )
    asyncio.run(gateway.started())
    asyncio.run(gateway.ready())
    yield gateway, simulator
    machines.end_all()


@pytest.fixture
def short(machines):
    """Return a maker of a gateway whose account has few tokens until its lump, and when that is."""

    async def make(tokens=10, **settings):
        simulator, gateway, watch = await machines.before_a_lump(tokens, LUMP_IN_MS, **settings)
        return gateway, simulator, watch

    return make


async def product_calls(gateway, count):
    """Wait for so many log lines of calls for products, and return all that there are."""

    def lines():
        return [line for line in gateway.logged("call") if line["endpoint"] == "product"]

    await until(lambda: len(lines()) >= count)
    return lines()


async def test_answers(kind, rich):
    """Calls reach Keepa with the real key, counted to the service whose key the script has."""
    gateway, simulator = rich
    before = await simulator.balance()
    with client.install(gateway.url):
        products = await kind("shop-secret").query(ASINS)
    assert [product["asin"] for product in products] == ASINS
    assert before - await simulator.balance() == 2
    sent = (await simulator.state())["last_call_by_endpoint"]["product"]
    assert KEY in sent["raw_path"]
    assert "shop-secret" not in json.dumps(sent)
    assert (await product_calls(gateway, 1))[-1]["service"] == "shop"


async def test_pictures(kind, rich, tmp_path):
    """A picture is not JSON, and comes all the same."""
    with client.install(rich[0].url):
        await kind("shop-secret").picture(tmp_path / "graph.png")
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


async def test_picture_of_no_service(kind, rich, tmp_path):
    """Where a picture is refused, that is told, not that it is no picture."""
    with client.install(rich[0].url), pytest.raises(client.Unauthorized):
        await kind("nobody").picture(tmp_path / "graph.png")


async def test_what_may_never_be_is_raised_though_it_waits(kind, rich):
    """Refusals that no waiting helps are raised at once, each as its kind."""
    began = Stopwatch()
    with client.install(rich[0].url):
        with pytest.raises(client.Unauthorized) as unknown:
            await kind("nobody").query(ASINS)
        with pytest.raises(client.Forbidden) as endpoint:
            await kind("batch-secret").categories()
        with pytest.raises(client.CostLimit) as dear:
            await kind("batch-secret").query(ASINS, offers=20)
        with pytest.raises(client.QuotaExceeded) as quota:
            await kind("night-secret").query(ASINS)
        with pytest.raises(client.InsufficientTokensError) as huge:
            await kind("shop-secret").query([f"B{n:09}" for n in range(100)], offers=100)
    assert began.seconds < 20
    told = [(each.value.status, each.value.reason) for each in (unknown, endpoint, dear, quota)]
    assert told == [
        (401, "unauthorized"),
        (403, "endpoint_not_allowed"),
        (429, "max_cost"),
        (429, "service_quota"),
    ]
    assert (huge.value.reason, huge.value.retryable) == ("exceeds_capacity", False)
    assert (huge.value.required_tokens, huge.value.retry_after_seconds) == (6000, None)


async def test_ledger_away(kind, machines):
    """A gateway without its Redis refuses in a way of its own, as the stock client raises on it."""
    gateway = await machines.serve(
        redis_url="redis://127.0.0.1:1", keepa_base_url="simulator"
    ).started()
    with client.install(gateway.url), pytest.raises(client.Unavailable) as away:
        await kind().query(ASINS)
    assert (away.value.reason, away.value.retryable) == ("ledger_unavailable", True)


async def test_refusal_carries_its_fields(kind, short):
    """With wait=False a refusal is raised at once, and says all that the gateway says."""
    gateway, simulator, watch = await short()
    program = kind()
    with client.install(gateway.url, wait=False):
        with pytest.raises(client.InsufficientTokensError) as raised:
            await program.query(ASINS)
        assert watch.wall_seconds < LUMP_SECONDS
    refusal = raised.value
    assert vars(refusal).items() >= {
        "status": 429, "reason": "floor", "endpoint": "product", "service": "anonymous",
        "current_balance": 10, "required_tokens": 2, "floor": 10, "deficit": 2, "reserved": 0,
        "capacity": 1200, "max_items_now": 0, "retryable": True,
    }.items()  # fmt: skip
    assert 0 < refusal.retry_after_seconds <= LUMP_IN_MS / 1000 + ROUNDING_SECONDS
    assert [line["request_id"] for line in await product_calls(gateway, 1)] == [refusal.request_id]
    # As after every answer of Keepa's.
    assert (program.client.tokens_left, program.client.status.refillRate) == (10, 20)
    assert (await simulator.state())["tokens_left"] == 10


async def test_a_wait_that_would_be_too_long_is_not_begun(kind, short):
    """With max_wait_seconds a refusal that fits later is raised at once, others are slept on."""
    gateway, _, watch = await short()
    with client.install(gateway.url, max_wait_seconds=0.5):
        with pytest.raises(client.InsufficientTokensError):
            await kind().query(ASINS)
        assert watch.wall_seconds < LUMP_SECONDS
    with client.install(gateway.url, max_wait_seconds=60):
        assert len(await kind().query(ASINS)) == len(ASINS)


async def test_one_call_that_does_not_wait(kind, short):
    """keepa's own `wait=False` of a call is obeyed as well."""
    gateway, *_ = await short()
    with client.install(gateway.url), pytest.raises(client.InsufficientTokensError):
        await kind().query(ASINS, wait=False)


async def test_refusal_is_waited_out(kind, short, figures):
    """A call that is short of tokens gets its answer after the lump, and no task stands still."""
    gateway, simulator, watch = await short()
    with client.install(gateway.url):
        products, blocked = await watch_the_loop(kind().query(ASINS))
    waited_beyond = watch.seconds - LUMP_SECONDS
    figures(waited_beyond_seconds=round(waited_beyond, 2), blocked_ms=round(blocked * 1000))
    assert [product["asin"] for product in products] == ASINS
    assert watch.wall_seconds > LUMP_SECONDS
    assert waited_beyond < ROUNDING_SECONDS + SLACK_SECONDS
    assert blocked < HARDLY_BLOCKED_SECONDS
    lines = await product_calls(gateway, 2)
    assert [line["outcome"] for line in lines] == ["refused", "settled"]
    assert await simulator.lowest() >= 10


async def test_keepas_own_refusal(kind, short):
    """Keepa's own 429 is slept on as ever, but not with the event loop, and raised as ever."""
    gateway, simulator, watch = await short(tokens=0, enforce="false")
    with client.install(gateway.url, wait=False):
        program = kind()
        with pytest.raises(RuntimeError, match=r"^NOT_ENOUGH_TOKEN$") as raised:
            await program.query(ASINS, wait=False)
        assert not isinstance(raised.value, client.GatewayRefusal)
        products, blocked = await watch_the_loop(program.query(ASINS))
    assert [product["asin"] for product in products] == ASINS
    assert watch.wall_seconds > LUMP_SECONDS
    assert blocked < HARDLY_BLOCKED_SECONDS
    assert (await simulator.state())["tokens_left"] == 18


async def test_keepas_own_error(kind, rich):
    """An error of Keepa's raises what the stock client raises."""
    malformed = {"code-limit": "many"}
    with (
        client.install(rich[0].url),
        pytest.raises(RuntimeError, match=r"^REQUEST_REJECTED$") as raised,
    ):
        await kind("shop-secret").query(ASINS, extra_params=malformed)
    assert type(raised.value) is RuntimeError


async def test_wait_inside_the_gateway(kind, short):
    """With prefer_wait_seconds the call waits in the gateway's line: it is not refused at all."""
    gateway, _, watch = await short()
    with client.install(gateway.url, wait=False, prefer_wait_seconds=20):
        products = await kind().query(ASINS)
    assert watch.wall_seconds > LUMP_SECONDS
    assert watch.seconds < LUMP_SECONDS + SLACK_SECONDS
    assert [product["asin"] for product in products] == ASINS
    assert [line["outcome"] for line in await product_calls(gateway, 1)] == ["settled"]
