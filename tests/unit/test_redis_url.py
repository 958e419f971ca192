"""REDIS_URL: what is taken, what it means, and what a bad one is told."""

import pytest

from gateway.errors import BadSetting
from gateway.settings import read_settings
from gateway.settings.redis_url import BadRedisUrl, Kind, RedisUrl, read_redis_url

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "kind", "hosts"),
    [
        ("redis://h", Kind.SERVER, [("h", 6379)]),
        ("redis:///3", Kind.SERVER, [("localhost", 6379)]),
        ("REDIS://h:1", Kind.SERVER, [("h", 1)]),
        ("valkey://h:1", Kind.SERVER, [("h", 1)]),
        ("valkeys://h:1", Kind.SERVER, [("h", 1)]),
        ("redis://my_redis.ns.svc:1/0", Kind.SERVER, [("my_redis.ns.svc", 1)]),
        ("redis://[::1]:7/0", Kind.SERVER, [("::1", 7)]),
        ("redis://[fd00::2]", Kind.SERVER, [("fd00::2", 6379)]),
        ("redis+sentinel://a,b:1/main", Kind.SENTINEL, [("a", 26379), ("b", 1)]),
        ("redis+sentinel://a:1,[::1]:2/main", Kind.SENTINEL, [("a", 1), ("::1", 2)]),
        ("rediss+sentinel://a/main/0", Kind.SENTINEL, [("a", 26379)]),
        ("valkey+sentinel://a/main", Kind.SENTINEL, [("a", 26379)]),
        ("redis+cluster://a:7000,b", Kind.CLUSTER, [("a", 7000), ("b", 6379)]),
        ("rediss+cluster://a:7000/0", Kind.CLUSTER, [("a", 7000)]),
        ("unix:///run/redis.sock", Kind.SOCKET, []),
    ],
)  # fmt: skip
def test_servers_are_read(url: str, kind: Kind, hosts: list[tuple[str, int]]) -> None:
    """Every scheme of the contract, with and without ports."""
    read = read_redis_url(url)
    assert (read.kind, list(read.hosts)) == (kind, hosts)


@pytest.mark.parametrize(
    ("url", "db", "master", "path"),
    [
        ("redis://h", 0, "", ""), ("redis://h/", 0, "", ""), ("redis://h/4", 4, "", ""),
        ("redis://h?db=5", 5, "", ""), ("redis+sentinel://a/my-master.1", 0, "my-master.1", ""),
        ("redis+sentinel://a/m/3", 3, "m", ""), ("redis+sentinel://a/m/", 0, "m", ""),
        ("unix:///run/a%20b.sock?db=2", 2, "", "/run/a b.sock"), ("redis+cluster://a/", 0, "", ""),
    ],
)  # fmt: skip
def test_the_path_is_read(url: str, db: int, master: str, path: str) -> None:
    """A database, the name that sentinels know, or a socket."""
    read = read_redis_url(url)
    assert (read.db, read.master, read.path) == (db, master, path)


@pytest.mark.parametrize("scheme", ["redis", "rediss+cluster", "valkey", "unix"])
@pytest.mark.parametrize(
    ("credentials", "username", "password"),
    [
        ("user:hunter2", "user", SECRET), (":hunter2", "", SECRET),
        ("a%40b:h%2Fu:x", "a@b", "h/u:x"),
    ],
)  # fmt: skip
def test_credentials_are_read(scheme: str, credentials: str, username: str, password: str) -> None:
    """User and password, percent-encoded where they have to be."""
    place = "/run/redis.sock" if scheme == "unix" else "h:1"
    read = read_redis_url(f"{scheme}://{credentials}@{place}")
    assert (read.username, read.password) == (username, password)
    assert password in read.secrets
    assert credentials.partition(":")[2] in read.secrets
    assert SECRET not in repr(read)


def test_a_password_may_have_what_a_single_host_leaves_clear() -> None:
    """The last @ is the one before the host."""
    assert read_redis_url("redis://:p@ss:w@h:1").password == "p@ss:w"


def test_tls_options_are_read() -> None:
    """Those of redis-py that say what to trust; without a certificate no name is checked."""
    assert read_redis_url("redis://h").tls is None
    assert read_redis_url("rediss://h").tls == {"ssl_check_hostname": True}
    assert read_redis_url("rediss+cluster://h?ssl_ca_certs=/ca.pem&ssl_check_hostname=no").tls == {
        "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False,
    }  # fmt: skip
    assert read_redis_url("rediss://h?ssl_cert_reqs=none").tls == {
        "ssl_cert_reqs": "none", "ssl_check_hostname": False,
    }  # fmt: skip


BAD = [
    ("hunter2", "begins with"), ("http://u:hunter2@x", "begins with"), ("://:hunter2@h", "begins"),
    ("redis+sentinels://:hunter2@h/m", "begins with"), ("redis://", "a host"),
    ("redis://:hunter2@", "a host"), ("redis://:hunter2@/0", "a host"),
    ("redis://:hunter2@h:port/0", "host:port"), ("redis://:hunter2@h:0", "host:port"),
    ("redis://:hunter2@h:65536", "host:port"), ("redis://:hun/ter2@h", "host:port"),
    ("redis://:hunter2@h/nil", "database number"), ("redis://:hunter2@h/1/2", "database number"),
    ("redis://hunter2@h", "user:password@"), ("redis://:hunter2@a,b", "one host"),
    ("redis://:hunter2@h#x", "without blanks"), ("redis://:hunter2 @h", "without blanks"),
    ("redis://:hunter2@h\n0", "without"), ("redis://h?password=hunter2", "no options but db"),
    ("redis://h?socket_timeout=x", "no options but db"), ("redis://h?db=x", "database number"),
    ("redis://h?ssl_ca_certs=x", "no options but db"),
    ("rediss://h?ssl_cert_reqs=hunter2", "ssl_cert_reqs"),
    ("rediss://h?ssl_check_hostname=hunter2", "ssl_check_hostname"),
    ("redis+sentinel://:hunter2@a,b", "master's name"),
    ("redis+sentinel://:hunter2@a/m/x", "master's name"),
    ("redis+sentinel://:hunter2@a,:hunter2@b/m", "before the first host"),
    ("redis+sentinel://:hunter2@a,,b/m", "host:port"), ("redis+sentinel:///m", "a host"),
    ("redis+cluster://:hunter2@a/1", "no database but 0"), ("redis+cluster://", "a host"),
    ("unix://:hunter2@", "absolute path"), ("unix://run/redis.sock", "absolute path"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "allowed"), BAD)
def test_a_bad_url_stops_the_start_in_one_line(
    monkeypatch: pytest.MonkeyPatch, url: str, allowed: str
) -> None:
    """The line says what is allowed, and nothing of the URL."""
    with pytest.raises(BadRedisUrl):
        read_redis_url(url)
    monkeypatch.setenv("KEEPA_API_KEY", "any")
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(BadSetting) as caught:
        read_settings(env_file=None)
    line = str(caught.value)
    assert line.startswith("REDIS_URL=***: allowed is ")
    assert allowed in line
    assert SECRET not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "url", ["redis+sentinel://u:h%40unter2@a,b/m", "redis+cluster://u:h%40unter2@a:1,b:2"]
)
def test_the_password_of_several_hosts_is_among_the_secrets(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """As it stands and as it is meant, so that the log leaves out both."""
    monkeypatch.setenv("KEEPA_API_KEY", "any")
    monkeypatch.setenv("REDIS_URL", url)
    assert {"h%40unter2", "h@unter2"} <= set(read_settings(env_file=None).secrets)


def test_an_empty_path_is_no_url() -> None:
    """What is not there is told like anything else that is wrong."""
    with pytest.raises(BadRedisUrl):
        read_redis_url("")
    assert isinstance(read_redis_url("redis://h"), RedisUrl)
