"""`check` as an operator meets it: each finding is a line, good, a warning or bad; no secret."""

import asyncio
import json
import re
from functools import partial

import pytest
from support.gateways.command import run_beside
from support.gateways.served import REAL_KEY
from support.keepa.scripted import scripted_keepa
from support.network.certificates import serve_with, sign_for_loopback
from support.network.webhook_receiver import SECRET_PATH, receiving
from support.redis.server import MISSING, REDIS_SERVER, RedisServer
from support.waiting import until

PASSWORD = "hunter2-of-redis"


async def check(*arguments, **settings):
    """Run it; return the exit code and the lines by their grade."""
    ended = await run_beside("check", *arguments, **{"keepa_api_key": REAL_KEY, **settings})
    assert ended.errors == ""
    assert not [secret for secret in (REAL_KEY, PASSWORD) if secret in ended.output]
    graded = {"good": [], "warning": [], "bad": [], "setting": []}
    for line in ended.output.splitlines():
        grade, _, text = line.partition(" ")
        graded[grade].append(text.strip())
    return ended.code, graded


@pytest.fixture
async def keepa(simulate):
    return await simulate(tokens=77, refill_rate=30)


@pytest.fixture
def start_redis(tmp_path):
    """Return what starts a server with options of its own."""
    if not REDIS_SERVER:
        pytest.skip(MISSING)
    servers = []

    def start(*options):
        folder = tmp_path / f"redis{len(servers)}"
        folder.mkdir()
        servers.append(RedisServer(folder, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


async def test_a_sound_setup_has_nothing_but_good_lines(keepa, start_redis):
    """Redis that evicts nothing, a key that Keepa knows, callers with keys: 0, and all is good."""
    redis = start_redis()
    code, told = await check(
        keepa_base_url=keepa.url, redis_url=redis.url, service_keys="shop:of-the-shop"
    )
    assert (code, told["warning"], told["bad"]) == (0, [], [])
    version = re.search(rb"redis_version:([\d.]+)", redis.command("INFO", "server"))[1].decode()
    words_told = ("account", "1 services", f"Redis {version}", "noeviction", "77 tokens")
    for words in (*words_told, "30 requests a minute, 300 at once (RATE_LIMIT_PER_MINUTE=auto"):
        assert words in " ".join(told["good"])
    # Nothing is changed by looking.
    assert redis.command("DBSIZE") == b":0\r\n"
    assert keepa.state()["calls"] == {"token": 1}


@pytest.mark.parametrize(
    ("options", "code", "grade"),
    [
        (("--maxmemory", "99mb", "--maxmemory-policy", "allkeys-lru"), 1, "bad"),
        (("--maxmemory", "99mb", "--maxmemory-policy", "volatile-lru"), 0, "warning"),
        (("--maxmemory-policy", "allkeys-lru"), 0, "warning"),
    ],
    ids=["evicts", "evicts what may go", "would evict"],
)
async def test_a_store_that_may_evict_is_told(keepa, start_redis, options, code, grade):
    """A policy that can throw the ledger away is bad; one that cannot yet is a warning."""
    redis = start_redis(*options)
    got, told = await check(keepa_base_url=keepa.url, redis_url=redis.url)
    assert got == code
    assert re.search(rf"maxmemory-policy {options[-1]}.*set noeviction", " ".join(told[grade]))


@pytest.mark.parametrize(
    ("credentials", "word"),
    [
        (f":{PASSWORD}-not@", "WRONGPASS"),
        ("", "NOAUTH"),
        (f"reader:{PASSWORD}@", "user of REDIS_URL"),
    ],
    ids=["wrong password", "no password", "no rights"],
)
async def test_a_store_that_does_not_let_it_in_is_told(keepa, start_redis, credentials, word):
    """A wrong password, none, or a user who may not run scripts: bad, and the word Redis said."""
    rights = ("on", f">{PASSWORD}", "~*", "+@all", "-evalsha", "-eval")
    redis = start_redis("--requirepass", PASSWORD, "--user", "reader", *rights)
    url = redis.url.replace("://", f"://{credentials}")
    code, told = await check(keepa_base_url=keepa.url, redis_url=url)
    assert code == 1
    assert word in told["bad"][0]
    assert "REDIS_URL" in told["bad"][0]


async def test_a_replica_is_no_store(keepa, start_redis):
    """A server that only copies another one's data cannot keep the ledger."""
    redis = start_redis()
    replica = start_redis("--replicaof", "127.0.0.1", str(redis.port))
    code, told = await check(keepa_base_url=keepa.url, redis_url=replica.url)
    assert code == 1
    assert "READONLY" in " ".join(told["bad"])


async def test_an_old_redis_is_told(keepa, start_redis):
    """A server that says it is older than 6.2 is bad."""
    redis = start_redis()

    async def relay(reader, writer, *, rewrites=False):
        while data := await reader.read(65536):
            if rewrites:
                data = re.sub(rb"(redis_version:)\d\.\d", rb"\g<1>6.0", data)
            writer.write(data)
        writer.close()

    async def meet(reader, writer):
        to_redis = await asyncio.open_connection("127.0.0.1", redis.port)
        await asyncio.gather(relay(reader, to_redis[1]), relay(to_redis[0], writer, rewrites=True))

    async with await asyncio.start_server(meet, "127.0.0.1", 0) as front:
        url = f"redis://127.0.0.1:{front.sockets[0].getsockname()[1]}/0"
        code, told = await check(keepa_base_url=keepa.url, redis_url=url)
    assert code == 1
    assert "older than 6.2" in told["bad"][0]


@pytest.mark.parametrize(
    ("settings", "code", "grade", "words"),
    [
        ({"min_balance_threshold": 1800}, 1, "bad", "MIN_BALANCE_THRESHOLD=1800"),
        ({"min_balance_threshold": 77}, 0, "warning", "not above the floor of 77"),
        ({"service_policies": '{"shop": {"floor": 1800}}'}, 0, "warning", "shop.*floor of 1800"),
        ({"alert_balance": 9}, 0, "warning", "ALERT_BALANCE=9 is below the floor of 10"),
        ({"safety_buffer": 9}, 0, "warning", "SAFETY_BUFFER=9 is below the floor of 10"),
        ({"enforce": "false"}, 0, "warning", "ENFORCE=false"),
        ({"host": "0.0.0.0", "allow_anonymous": "true"}, 0, "warning", "ALLOW_ANONYMOUS.*0.0.0.0"),
        ({"host": "0.0.0.0", "service_keys": "a:of-the-a"}, 0, "warning", "without ADMIN_TOKEN"),
        ({"keepa_api_key": f"{REAL_KEY}\n"}, 0, "good", "77 tokens"),
        ({"alert_balance": 901}, 0, "warning", "more than half of the bucket of 1800"),
        ({"http_proxy": "http://u:pw@p.example:1"}, 0, "warning", "HTTP_PROXY set, and not used"),
        ({"keepa_api_key": "another"}, 1, "bad", "KEEPA_API_KEY"),
        ({"keepa_base_url": "simulator"}, 0, "warning", "no real Keepa"),
        ({}, 0, "warning", "embedded"),
    ],
    ids=[
        "floor above the bucket", "balance below the floor", "service's floor", "alert", "buffer",
        "shadow", "anybody", "no admin token", "blanks", "plan", "proxy", "wrong key",
        "simulator", "embedded",
    ],
)  # fmt: skip
async def test_what_is_set_is_judged(keepa, settings, code, grade, words):
    """What cannot work is bad; what works and is perhaps not meant is a warning."""
    got, told = await check(**{"keepa_base_url": keepa.url, **settings})
    assert got == code, told
    assert re.search(words, "\n".join(told[grade])), told


async def test_what_is_no_keepa_is_told():
    """A server that answers something else is not taken for a wrong key."""
    async with scripted_keepa() as keepa:
        keepa.token = b"<html>welcome</html>"
        code, told = await check(keepa_base_url=keepa.url)
    assert code == 1
    assert "no Keepa; check KEEPA_BASE_URL" in told["bad"][0]


async def test_another_file_than_env_is_read(keepa, tmp_path):
    """`--env-file` names it; misspelt names in it are told, settings in force without secrets."""
    file = tmp_path / "settings.env"
    file.write_text(
        "SERVICE_KEYS=shop:of-the-shop,shop:of-old\nADMIN_TOKEN=of-the-admin\n"
        "REDIS_URL=redis://me:hunter2@127.0.0.1:1/3\nMIN_BALANCE_TRESHOLD=5\nLOG_FORMAT=console\n"
    )
    _, told = await check("--env-file", str(file), keepa_base_url=keepa.url)
    assert (
        "settings: MIN_BALANCE_TRESHOLD is no setting; did you mean MIN_BALANCE_THRESHOLD?"
        in told["warning"]
    )
    assert {
        "KEEPA_API_KEY=***", f"KEEPA_BASE_URL={keepa.url}", "ADMIN_TOKEN=***",
        "REDIS_URL=redis://***@127.0.0.1:1/3", "SERVICE_KEYS=shop:***,shop:***",
        "LOG_FORMAT=console", "MIN_BALANCE_THRESHOLD=10 (default)", "ENDPOINT_COSTS={} (default)",
        "RESERVATION_TTL_SECONDS= (default)", "ENFORCE=true (default)",
    } <= set(told["setting"])  # fmt: skip
    for secret in ("of-the-shop", "of-old", "of-the-admin", "hunter2"):
        assert secret not in str(told)


async def test_a_file_that_is_not_there_is_told():
    """A slip in its name must not check the environment alone."""
    ended = await run_beside("check", "--env-file", "/nowhere/settings.env", keepa_api_key=REAL_KEY)
    assert ended.code == 2
    assert ended.errors == "--env-file /nowhere/settings.env: there is no such file\n"


async def test_tls_to_a_plain_port_is_named(keepa, start_redis):
    """https and rediss:// where nobody speaks TLS: both lines say that TLS is the matter."""
    redis = start_redis()
    code, told = await check(
        keepa_base_url=keepa.url.replace("http:", "https:"),
        redis_url=redis.url.replace("redis:", "rediss:"),
    )
    assert code == 1
    store, upstream = told["bad"]
    assert re.match("store: .*speaks no TLS.*redis://", store)
    assert re.match(r"keepa: no connection \(TLS: .*http://", upstream)


async def test_a_plain_call_to_a_tls_port_is_told(tmp_path):
    """http and redis:// where TLS is spoken: both lines say what the URL begins with then."""
    sign_for_loopback(tmp_path)

    async def hear(reader, writer):
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", 0, ssl=serve_with(tmp_path)) as server:
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        code, told = await check(keepa_base_url=f"http://{place}", redis_url=f"redis://{place}")
    assert code == 1
    store, upstream = told["bad"]
    assert re.match("store: .*rediss://", store)
    assert re.match("keepa: .*speaks TLS.*https://", upstream)


@pytest.mark.parametrize("status", [200, 404, 302])
async def test_a_test_alert_is_posted(keepa, status):
    """`--webhook` posts one alert that says it is a test, and tells what the receiver answered."""
    async with receiving() as receiver:
        receiver.script = [status]
        code, told = await check(
            "--webhook", keepa_base_url=keepa.url, alert_webhook_url=receiver.url
        )
    (event,) = receiver.events
    assert (event["name"], event["state"]) == ("test", "firing")
    assert event["text"].startswith(f"Keepa account {event['account']}: this is a test from ")
    is_good = status == 200
    assert code == (0 if is_good else 1)
    (line,) = [line for line in told["good" if is_good else "bad"] if line.startswith("webhook:")]
    assert str(status) in line
    assert SECRET_PATH not in str(told)


async def test_a_test_alert_wants_a_webhook(keepa):
    """Without ALERT_WEBHOOK_URL there is nowhere to post; without the option nothing is posted."""
    code, told = await check("--webhook", keepa_base_url=keepa.url)
    assert code == 1
    assert "ALERT_WEBHOOK_URL is empty" in told["bad"][0]


async def test_check_has_nothing_against_good_policies(keepa):
    """`check` with every field of a policy, two secrets for a service and waits ends with 0."""
    policy = {
        "floor": 300, "tokens_per_hour": 500, "tokens_per_day": 4000, "max_cost": 100,
        "max_concurrency": 4, "endpoints": ["product", "deals", "unknown", "tomorrow"],
        "code_limit": 5, "max_offers": 40, "overdraft": "when_full",
    }  # fmt: skip
    policies = json.dumps({"batch": policy, "default": {"floor": 20}})
    code, told = await check(
        keepa_base_url=keepa.url, service_keys="shop:of-shop,batch:of-batch,shop:a-newer-one",
        service_policies=policies, overdraft="when_full", enforce="false",
        endpoint_costs='{"tomorrow": 3}', default_wait_seconds=5, max_wait_seconds=30,
    )  # fmt: skip
    assert (code, told["bad"]) == (0, [])
    assert "of-shop" not in str(told)


async def test_a_running_gateway_is_asked_what_it_paid_again(serve, simulator, keepa):
    """What a cache would have saved, in tokens and minutes; no line where none runs, or tells."""
    gateway = await serve(simulator, admin_token="of-the-operator")
    product = "/product?domain=1&asin=B0MAX00001,B0MAX00002&key=k"
    for _ in range(2):
        assert (await gateway.ask(product)).status == 200
    port, setup = int(gateway.url.rpartition(":")[2]), {"keepa_base_url": keepa.url}

    async def repeats(**settings):
        _, told = await check(**setup, **settings)
        return [line for line in told["good"] if line.startswith("repeats")]

    asked = await until(partial(repeats, port=port, admin_token="of-the-operator"))
    assert asked == [
        (
            f"repeats: the gateway at port {port} has paid 2 tokens (0.1 minutes of the plan) for "
            "answers that it had paid for within a day, since it started"
        )
    ]
    assert await repeats(port=port, admin_token="of-nobody") == []
    assert await repeats(port=int(keepa.url.rpartition(":")[2])) == []
    assert await repeats(port=0) == []
