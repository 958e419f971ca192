"""`check` as an operator meets it: each finding is a line, good, a warning or bad; no secret."""

import asyncio
import re

import pytest
from support.processes import KEY
from support.redis_server import MISSING, REDIS_SERVER, RedisServer
from support.scripted_keepa import scripted_keepa

pytestmark = pytest.mark.e2e

PASSWORD = "hunter2-of-redis"


async def check(machines, **settings):
    """Run it; return the exit code and the lines by their grade."""
    process = machines.run("check", **{"keepa_api_key": KEY, **settings})
    code = await process.ended()
    assert process.errors == ""
    assert not [secret for secret in (KEY, PASSWORD) if secret in process.output]
    graded = {"good": [], "warning": [], "bad": []}
    for line in process.output.splitlines():
        grade, _, text = line.partition(" ")
        graded[grade].append(text.strip())
    return code, graded


@pytest.fixture
async def keepa(machines):
    return await machines.simulate(tokens=77, rate=30).started()


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


async def test_a_sound_setup_has_nothing_but_good_lines(machines, keepa, redis):
    """Redis that evicts nothing, a key that Keepa knows, callers with keys: 0, and all is good."""
    code, told = await check(
        machines, keepa_base_url=keepa.url, redis_url=redis.url, service_keys="shop:of-the-shop"
    )
    assert (code, told["warning"], told["bad"]) == (0, [], [])
    version = re.search(rb"redis_version:([\d.]+)", redis.command("INFO", "server"))[1].decode()
    for words in ("account", "1 services", f"Redis {version}", "noeviction", "77 tokens"):
        assert words in " ".join(told["good"])
    # Nothing is changed by looking.
    assert redis.command("DBSIZE") == b":0\r\n"
    assert (await keepa.state())["calls"] == {"token": 1}


@pytest.mark.parametrize(
    ("options", "code", "grade"),
    [
        (("--maxmemory", "99mb", "--maxmemory-policy", "allkeys-lru"), 1, "bad"),
        (("--maxmemory", "99mb", "--maxmemory-policy", "volatile-lru"), 0, "warning"),
        (("--maxmemory-policy", "allkeys-lru"), 0, "warning"),
    ],
    ids=["evicts", "evicts what may go", "would evict"],
)
async def test_a_store_that_may_evict_is_told(machines, keepa, start_redis, options, code, grade):
    """A policy that can throw the ledger away is bad; one that cannot yet is a warning."""
    redis = start_redis(*options)
    got, told = await check(machines, keepa_base_url=keepa.url, redis_url=redis.url)
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
async def test_a_store_that_does_not_let_it_in_is_told(
    machines, keepa, start_redis, credentials, word
):
    """A wrong password, none, or a user who may not run scripts: bad, and the word Redis said."""
    rights = ("on", f">{PASSWORD}", "~*", "+@all", "-evalsha", "-eval")
    redis = start_redis("--requirepass", PASSWORD, "--user", "reader", *rights)
    url = redis.url.replace("://", f"://{credentials}")
    code, told = await check(machines, keepa_base_url=keepa.url, redis_url=url)
    assert code == 1
    assert word in told["bad"][0]
    assert "REDIS_URL" in told["bad"][0]


async def test_a_replica_is_no_store(machines, keepa, redis, start_redis):
    """A server that only copies another one's data cannot keep the ledger."""
    replica = start_redis("--replicaof", "127.0.0.1", str(redis.port))
    code, told = await check(machines, keepa_base_url=keepa.url, redis_url=replica.url)
    assert code == 1
    assert "READONLY" in " ".join(told["bad"])


async def test_an_old_redis_is_told(machines, keepa, redis):
    """A server that says it is older than 6.2 is bad."""

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
        code, told = await check(machines, keepa_base_url=keepa.url, redis_url=url)
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
        ({"keepa_api_key": f"{KEY}\n"}, 1, "warning", "KEEPA_API_KEY has blanks"),
        ({"keepa_api_key": "another"}, 1, "bad", "KEEPA_API_KEY"),
        ({"keepa_base_url": "simulator"}, 0, "warning", "no real Keepa"),
        ({}, 0, "warning", "embedded"),
    ],
    ids=[
        "floor above the bucket", "balance below the floor", "service's floor", "alert", "buffer",
        "shadow", "anybody", "no admin token", "blanks", "wrong key", "simulator", "embedded",
    ],
)  # fmt: skip
async def test_what_is_set_is_judged(machines, keepa, settings, code, grade, words):
    """What cannot work is bad; what works and is perhaps not meant is a warning."""
    got, told = await check(machines, **{"keepa_base_url": keepa.url, **settings})
    assert got == code, told
    assert re.search(words, "\n".join(told[grade])), told


async def test_what_is_no_keepa_is_told(machines):
    """A server that answers something else is not taken for a wrong key."""
    async with scripted_keepa() as keepa:
        keepa.token = b"<html>welcome</html>"
        code, told = await check(machines, keepa_base_url=keepa.url)
    assert code == 1
    assert "no Keepa; check KEEPA_BASE_URL" in told["bad"][0]
