"""Settings: what is allowed, what a bad value is told, and that no secret shows."""

import os

import pytest

from gateway.errors import BadSetting
from gateway.settings import Settings, read_settings

KEY = "realkey0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijk"


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.setenv("KEEPA_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)


def refused(monkeypatch, **environment):
    """Return the one line that a bad environment is told."""
    for name, value in environment.items():
        monkeypatch.setenv(name.upper(), value)
    with pytest.raises(BadSetting) as caught:
        read_settings()
    line = str(caught.value)
    assert "\n" not in line
    assert KEY not in line
    return line


DEFAULTS = {
    "keepa_base_url": "https://api.keepa.com", "host": "127.0.0.1", "port": 8080,
    "min_balance_threshold": 10, "safety_buffer": 20, "endpoint_costs": {},
    "balance_max_age_seconds": 60, "rate_limit_per_minute": "auto", "rate_limit_burst": "auto",
    "max_concurrency": 100, "max_queue": 2000, "upstream_timeout_seconds": 120,
    "hold_seconds": 150, "service_keys": {}, "service_policies": "{}", "overdraft": "never",
    "allow_anonymous": False, "default_wait_seconds": 0, "max_wait_seconds": 60, "enforce": True,
    "drain_seconds": 2, "log_level": "INFO", "log_format": "json",
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_defaults_are_those_of_the_contract(name, value):
    """Where nothing is set a setting has the contract's default."""
    assert getattr(read_settings(), name) == value


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PORT", "http", "integer"), ("PORT", "-1", "0"), ("PORT", "65536", "65535"),
        ("PORT", "80.5", "integer"), ("MIN_BALANCE_THRESHOLD", "ten", "integer"),
        ("MIN_BALANCE_THRESHOLD", "1e1", "integer"), ("SAFETY_BUFFER", "", None),
        ("SAFETY_BUFFER", "x", "integer"), ("RATE_LIMIT_PER_MINUTE", "-1", "`auto`"),
        ("RATE_LIMIT_PER_MINUTE", "off", "0 to 1000000"), ("RATE_LIMIT_BURST", "1000001", "`auto`"),
        ("RATE_LIMIT_BURST", "-1", "1"), ("MAX_CONCURRENCY", "0", "1"), ("MAX_QUEUE", "-1", "0"),
        ("UPSTREAM_TIMEOUT_SECONDS", "0", "1"), ("UPSTREAM_TIMEOUT_SECONDS", "soon", "number"),
        ("UPSTREAM_TIMEOUT_SECONDS", "nan", ""), ("UPSTREAM_TIMEOUT_SECONDS", "inf", ""),
        ("BALANCE_MAX_AGE_SECONDS", "0", "1"), ("BALANCE_MAX_AGE_SECONDS", "-5", "1"),
        ("RESERVATION_TTL_SECONDS", "x", "number"), ("DRAIN_SECONDS", "-1", "0"),
        ("ALLOW_ANONYMOUS", "perhaps", "bool"), ("LOG_LEVEL", "LOUD", "DEBUG"),
        ("LOG_FORMAT", "xml", "json"), ("ACCOUNT", "a b", "A-Z"), ("ACCOUNT", "{x}", "A-Z"),
        ("ACCOUNT", "x" * 65, "64"),
        ("KEEPA_BASE_URL", "api.keepa.com", "http"), ("KEEPA_BASE_URL", "ftp://x", "http"),
        ("KEEPA_BASE_URL", "https://", "http"), ("KEEPA_BASE_URL", "http://x:port", "http"),
        ("KEEPA_BASE_URL", "https://api.keepa.com/?key=1", "without query"),
        ("KEEPA_BASE_URL", "https://[::1", "http"),
        ("KEEPA_BASE_URL", "https://api.keepa.com/product", "path, as https://api.keepa.com"),
        ("KEEPA_BASE_URL", "https://api.keepa.com/v1/", "path, as https://api.keepa.com"),
        ("HOST", "127.0.0.1:8080", "without port"), ("HOST", "[::1]:8080", "without port"),
        ("HOST", "http://localhost", "without port"), ("HOST", "*", "0.0.0.0"),
        ("HOST", "[localhost", "address"), ("HOST", "local host", "address"),
        ("ENDPOINT_COSTS", "deal=5", "JSON"), ("ENDPOINT_COSTS", "[5]", "JSON"),
        ("ENDPOINT_COSTS", '{"deal": -1}', "JSON"), ("ENDPOINT_COSTS", '{"deal": 1.5}', "JSON"),
        ("ENDPOINT_COSTS", '{"deal": true}', "JSON"), ("ENDPOINT_COSTS", '{"deal": "5"}', "JSON"),
        ("ENDPOINT_COSTS", '{"de al": 5}', "JSON"), ("ENDPOINT_COSTS", "[" * 100_000, "JSON"),
        ("ENDPOINT_COSTS", '{"deal": null}', "JSON"),
        ("OVERDRAFT", "always", "'never' or 'when_full'"), ("OVERDRAFT", "true", "when_full"),
        ("DEFAULT_WAIT_SECONDS", "-1", "0"), ("DEFAULT_WAIT_SECONDS", "3601", "3600"),
        ("DEFAULT_WAIT_SECONDS", "nan", ""), ("DEFAULT_WAIT_SECONDS", "soon", "number"),
        ("DEFAULT_WAIT_SECONDS", "60.5", "may not exceed MAX_WAIT_SECONDS=60"),
        ("MAX_WAIT_SECONDS", "-0.1", "0"), ("MAX_WAIT_SECONDS", "3601", "3600"),
        ("MAX_WAIT_SECONDS", "inf", ""), ("MAX_WAIT_SECONDS", "1m", "number"),
        ("ENFORCE", "shadow", "bool"), ("ENFORCE", "2", "bool"),
        ("SERVICE_POLICIES", "batch=300", "allowed is a JSON object"),
        ("SERVICE_POLICIES", "[" * 100_000, "allowed is a JSON object"),
        ("SERVICE_POLICIES", '{"batch": {"floor": 9}}', "below MIN_BALANCE_THRESHOLD=10"),
        ("SERVICE_POLICIES", '{"batch": {"max_cost": 0}}', 'service "batch": max_cost=0: '),
        ("SERVICE_POLICIES", '{"batch": {"color": 1}}', 'service "batch": unknown field "color"'),
    ],
)  # fmt: skip
def test_bad_value_is_one_line_that_names_the_variable(monkeypatch, name, value, allowed):
    """A bad value is told in one line: the variable, the value, and what is allowed."""
    if allowed is None:
        monkeypatch.setenv(name, value)
        assert read_settings().safety_buffer == 20
        return
    line = refused(monkeypatch, **{name: value})
    assert line.startswith(f"{name}={value[:60]}")
    assert allowed.lower() in line.lower()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://user:hunter2@x"), ("REDIS_URL", "hunter2"),
        ("REDIS_URL", "redis://:hunter2@x:port/0"), ("REDIS_URL", "redis://:hunter2@x/notanumber"),
        ("REDIS_URL", "redis://:hunter2@"),
        ("SERVICE_KEYS", "hunter2"), ("SERVICE_KEYS", "pricing:"), ("SERVICE_KEYS", ":hunter2"),
        ("SERVICE_KEYS", "Pricing:hunter2"), ("SERVICE_KEYS", "a:hunter2,a:b,a:c"),
        ("SERVICE_KEYS", "a:b,a:c,b:d,a:hunter2"), ("SERVICE_KEYS", "a:hunter2,a:hunter2"),
        ("SERVICE_KEYS", "a:hunter2,b:hunter2"), ("SERVICE_KEYS", "default:hunter2"),
        ("SERVICE_KEYS", "unknown:hunter2"), ("SERVICE_KEYS", f"a:hunter2,a:{KEY}"),
        ("SERVICE_KEYS", "anonymous:hunter2"),
        ("SERVICE_KEYS", "other:hunter2"), ("SERVICE_KEYS", f"{'x' * 41}:hunter2"),
        ("SERVICE_KEYS", "a b:hunter2"), ("SERVICE_KEYS", f"a:hunter2,b:{KEY}"),
        ("KEEPA_BASE_URL", "https://user:hunter2@api.keepa.com"),
    ],
)  # fmt: skip
def test_bad_secret_is_masked(monkeypatch, name, value):
    """A bad value that is a secret, or may hold one, is told without it."""
    line = refused(monkeypatch, **{name: value})
    assert line.startswith(f"{name}=***")
    assert "hunter2" not in line


@pytest.mark.parametrize("key", [None, "", "   "])
def test_key_is_required(monkeypatch, key):
    """Without a key the start stops, but for the simulator."""
    monkeypatch.delenv("KEEPA_API_KEY")
    environment = {} if key is None else {"KEEPA_API_KEY": key}
    assert refused(monkeypatch, **environment).startswith("KEEPA_API_KEY")
    monkeypatch.setenv("KEEPA_BASE_URL", "simulator")
    assert read_settings().simulated


@pytest.mark.parametrize("ttl", ["119", "120"])
def test_hold_must_outlive_the_call(monkeypatch, ttl):
    """A hold as short as the upstream time-out, or shorter, is refused."""
    line = refused(monkeypatch, reservation_ttl_seconds=ttl)
    assert line.startswith(f"RESERVATION_TTL_SECONDS={ttl}")
    assert "UPSTREAM_TIMEOUT_SECONDS=120" in line


def test_hold_follows_the_time_out(monkeypatch):
    """Where it is not set, a hold lives 30 seconds longer than a call may take."""
    monkeypatch.setenv("UPSTREAM_TIMEOUT_SECONDS", "200")
    assert read_settings().hold_seconds == 230


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.example", ""])
def test_open_door_needs_keys_or_a_word(monkeypatch, host):
    """A host others can reach needs SERVICE_KEYS or ALLOW_ANONYMOUS."""
    if not host:
        monkeypatch.setenv("HOST", host)
        assert read_settings().host == "127.0.0.1"
        return
    line = refused(monkeypatch, host=host)
    assert line.startswith(f"HOST={host}")
    assert "SERVICE_KEYS" in line
    assert "ALLOW_ANONYMOUS" in line
    monkeypatch.setenv("ALLOW_ANONYMOUS", "true")
    assert read_settings().host == host
    monkeypatch.delenv("ALLOW_ANONYMOUS")
    monkeypatch.setenv("SERVICE_KEYS", "a:secret")
    assert read_settings().host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "[::1]"])
def test_loopback_is_open_to_all_on_it(monkeypatch, host):
    """On a loopback address, in brackets too, anybody on the machine may call."""
    monkeypatch.setenv("HOST", host)
    assert read_settings().host == host.strip("[]")


@pytest.mark.parametrize("floor", ["-200", "0", "1000000"])
def test_floor_may_be_any_whole_number(monkeypatch, floor):
    """The floor may be negative, a deliberate deficit."""
    monkeypatch.setenv("MIN_BALANCE_THRESHOLD", floor)
    assert read_settings().min_balance_threshold == int(floor)


def test_costs_are_read(monkeypatch):
    """ENDPOINT_COSTS is JSON, and `deals` is the `deal` endpoint."""
    monkeypatch.setenv("ENDPOINT_COSTS", '{"deals": 7, "product": 0, "new-one": 3}')
    assert read_settings().endpoint_costs == {"deal": 7, "product": 0, "new-one": 3}


def test_service_keys_are_read(monkeypatch):
    """SERVICE_KEYS is name:secret pairs; a secret may have colons, blanks around pairs are none."""
    monkeypatch.setenv("SERVICE_KEYS", " pricing:a:b , research:s3cret ,")
    assert read_settings().service_secrets == {"pricing": ("a:b",), "research": ("s3cret",)}


def test_a_service_may_have_two_secrets(monkeypatch):
    """For rotation a name may stand twice in SERVICE_KEYS, next to each other or not."""
    monkeypatch.setenv("SERVICE_KEYS", "pricing:new,research:s3cret,pricing:old,research:s3cret2")
    assert read_settings().service_secrets == {
        "pricing": ("new", "old"),
        "research": ("s3cret", "s3cret2"),
    }


def test_policies_are_read(monkeypatch):
    """SERVICE_POLICIES gives each service its policy, `default` those without one."""
    monkeypatch.setenv("SERVICE_KEYS", "batch:a,shop:b")
    monkeypatch.setenv(
        "SERVICE_POLICIES", '{"batch": {"floor": 300, "endpoints": ["deals"]}, "default": {}}'
    )
    policies = read_settings().policies
    assert (policies.of("batch").floor, policies.of("shop").floor) == (300, None)
    assert list(policies.endpoints_named()) == [("batch", "deal")]


def test_policies_are_held_to_the_other_settings(monkeypatch):
    """With keys only their names may have a policy, and no floor may be below the account's."""
    line = refused(
        monkeypatch, service_keys="shop:hunter2", service_policies='{"batch": {"floor": 300}}'
    )
    assert line.startswith('SERVICE_POLICIES={"batch": {"floor": 300}}: service "batch": ')
    assert "hunter2" not in line
    line = refused(monkeypatch, service_keys="batch:hunter2", min_balance_threshold="301")
    assert line == (
        'SERVICE_POLICIES={"batch": {"floor": 300}}: service "batch": '
        "floor=300 is below MIN_BALANCE_THRESHOLD=301, which holds for all"
    )
    monkeypatch.setenv("MIN_BALANCE_THRESHOLD", "300")
    assert read_settings().policies.of("batch").floor == 300


@pytest.mark.parametrize("quote", ["", "'"])
def test_policies_are_read_from_the_env_file(tmp_path, quote):
    """JSON stands in `.env` as it is, or in single quotes."""
    text = '{"batch": {"floor": 300}, "shop": {"overdraft": "when_full"}}'
    (tmp_path / ".env").write_text(f"SERVICE_POLICIES={quote}{text}{quote}\n")
    assert read_settings().policies.of("shop").overdraft == "when_full"


@pytest.mark.parametrize(
    ("default", "most"), [("0", "0"), ("2.5", "2.5"), ("60", "60"), ("0", "3600"), ("3600", "3600")]
)
def test_waits_are_any_seconds_up_to_an_hour(monkeypatch, default, most):
    """A call may wait up to an hour, by default as long as it ever may."""
    monkeypatch.setenv("DEFAULT_WAIT_SECONDS", default)
    monkeypatch.setenv("MAX_WAIT_SECONDS", most)
    settings = read_settings()
    assert (settings.default_wait_seconds, settings.max_wait_seconds) == (
        float(default),
        float(most),
    )


def test_a_default_wait_above_the_longest_names_both(monkeypatch):
    """A default above the most that is allowed is refused, and the line names both."""
    line = refused(monkeypatch, default_wait_seconds="5", max_wait_seconds="4.5")
    assert line == "DEFAULT_WAIT_SECONDS=5: may not exceed MAX_WAIT_SECONDS=4.5"


@pytest.mark.parametrize(("word", "enforced"), [("false", False), ("0", False), ("TRUE", True)])
def test_shadow_mode_is_asked_for_in_words(monkeypatch, word, enforced):
    """ENFORCE is a truth value; nothing else changes by it."""
    usual = read_settings().model_dump()
    monkeypatch.setenv("ENFORCE", word)
    assert read_settings().model_dump() == {**usual, "enforce": enforced}


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost", "redis://:pw@h:6379/0", "rediss://h:6380/1", "unix:///run/redis.sock",
        "valkey://h:6379", "redis://user:pw@[::1]:6379/0",
    ],
)  # fmt: skip
def test_redis_urls_are_taken(monkeypatch, url):
    """Each URL scheme that this version knows is taken."""
    monkeypatch.setenv("REDIS_URL", url)
    assert read_settings().redis_url.get_secret_value() == url


@pytest.mark.parametrize("url", ["https://api.keepa.com/", "http://127.0.0.1:8090/base/"])
def test_base_url_has_no_slash_at_its_end(monkeypatch, url):
    """A slash at the end of KEEPA_BASE_URL is no part of it."""
    monkeypatch.setenv("KEEPA_BASE_URL", url)
    assert read_settings().keepa_base_url == url.rstrip("/")


def test_env_file_is_read_and_the_environment_wins(monkeypatch, tmp_path):
    """A `.env` file in the working folder counts, the environment counts more."""
    (tmp_path / ".env").write_text("PORT=9001\nSAFETY_BUFFER=77\nUNRELATED=1\n")
    monkeypatch.setenv("PORT", "9002")
    settings = read_settings()
    assert (settings.port, settings.safety_buffer) == (9002, 77)


def test_bad_value_in_the_env_file_is_named_too(tmp_path):
    """A bad value in `.env` is told as one of the environment is; so is a file that is no text."""
    (tmp_path / ".env").write_text("PORT=nope\n")
    with pytest.raises(BadSetting, match="PORT=nope"):
        read_settings()
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00PORT")
    with pytest.raises(BadSetting, match=r"\.env"):
        read_settings()


def test_account_is_a_digest_of_the_key(monkeypatch):
    """The ledger's name in Redis tells nothing of the key, and follows it."""
    name = read_settings().account_name
    assert len(name) == 16
    assert name not in KEY
    monkeypatch.setenv("KEEPA_API_KEY", KEY + "x")
    assert read_settings().account_name != name
    monkeypatch.setenv("ACCOUNT", "shop-1")
    assert read_settings().account_name == "shop-1"


def test_secrets_show_nowhere(monkeypatch):
    """Neither repr nor a dump of the settings shows a secret; `secrets` lists them all."""
    monkeypatch.setenv("REDIS_URL", "redis://:pass-of-redis@h/0")
    monkeypatch.setenv("SERVICE_KEYS", "a:secret-a,b:secret-b,a:secret-c")
    monkeypatch.setenv("ADMIN_TOKEN", "admin-token")
    settings = read_settings()
    secrets = {KEY, "pass-of-redis", "secret-a", "secret-b", "secret-c", "admin-token"}
    assert set(settings.secrets) == secrets
    for text in (repr(settings), str(settings), str(settings.model_dump())):
        assert not [secret for secret in secrets if secret in text]


def test_every_setting_says_what_it_means():
    """Every field has its meaning with it."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
