"""Parses REDIS_URL: which servers it names, and how to reach them."""

import re
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qsl, unquote

from gateway.settings.pasted import BadText, read_secret

_SCHEME = re.compile(r"(?:redis|valkey)(?P<tls>s?)(?:\+(?P<kind>sentinel|cluster))?")
_PARTS = re.compile(r"(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:@\[\]]+))(?::(?P<port>\d{1,5}))?")
_MASTER = re.compile(r"/(?P<master>[A-Za-z0-9._-]+)(?:/(?P<db>\d{0,5}))?")
_HIGHEST_PORT = 65535
_TLS_OPTIONS = {
    "ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname",
    "ssl_keyfile",
}  # fmt: skip
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class BadRedisUrl(ValueError):
    """Says what is allowed, without any part of the URL."""


class Kind(Enum):
    """What a URL names."""

    SERVER = "server"
    SOCKET = "socket"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_PORTS = {Kind.SERVER: 6379, Kind.SENTINEL: 26379, Kind.CLUSTER: 6379}


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A store's URL.

    Attributes:
        hosts: The server, the sentinels, or some nodes of the cluster.
        username: Of the data servers; of sentinels only if they ask for one.
        password: As `username`.
        master: The name that the sentinels know the master by.
        path: Of the socket.
        tls: None without TLS, else redis-py's `ssl_` arguments.
        secrets: Every spelling of the password, for the log to mask.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    username: str = ""
    password: str = field(default="", repr=False)
    db: int = 0
    master: str = ""
    path: str = ""
    tls: dict[str, str | bool] | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)


def read_redis_url(text: str) -> RedisUrl:
    """Parse a URL.

    Raises:
        BadRedisUrl: One line for the operator.
    """
    scheme, _, rest = text.partition("://")
    parts = _PARTS.fullmatch(rest)
    if not parts or re.search(r"[\s\x00-\x1f]", text):
        raise BadRedisUrl("a URL without blanks and #; in a password write them as %20 and %23")
    if scheme.lower() == "unix":
        return _read_socket(parts)
    form = _SCHEME.fullmatch(scheme.lower())
    if not form:
        raise BadRedisUrl(
            "empty, or a URL that begins with one of redis://, rediss://, unix://, valkey://, "
            "valkeys://, redis+sentinel://, redis+cluster://, rediss+sentinel://, "
            "rediss+cluster://"
        )
    kind = Kind(form["kind"] or "server")
    names, username, password, secrets = _read_authority(kind, parts["authority"])
    if not names and (kind is not Kind.SERVER or parts["authority"] or not parts["path"]):
        raise BadRedisUrl("a URL with a host, as redis://localhost:6379/0")
    hosts = tuple(_read_host(name, _PORTS[kind]) for name in names or ["localhost"])
    if kind is Kind.SERVER and len(hosts) > 1:
        raise BadRedisUrl("one host; several with redis+sentinel:// or redis+cluster://")
    options = _read_options(parts["query"], {"db", *(_TLS_OPTIONS if form["tls"] else ())})
    master, db = _read_path(kind, parts["path"], options.pop("db", ""))
    return RedisUrl(
        kind, hosts, username, password, db, master,
        tls=_read_tls(options) if form["tls"] else None, secrets=secrets,
    )  # fmt: skip


def _read_socket(parts: re.Match[str]) -> RedisUrl:
    names, username, password, secrets = _read_authority(Kind.SOCKET, parts["authority"])
    if names or len(parts["path"]) <= 1:
        raise BadRedisUrl("an absolute path, as unix:///run/redis.sock")
    db = _read_db(_read_options(parts["query"], {"db"}).get("db", ""))
    return RedisUrl(
        Kind.SOCKET, (), username, password, db, path=unquote(parts["path"]), secrets=secrets
    )


def _read_authority(kind: Kind, authority: str) -> tuple[list[str], str, str, tuple[str, ...]]:
    """Return the hosts as written, the user, the password, and the password's spellings."""
    credentials, at, hosts = authority.rpartition("@")
    username, colon, password = credentials.partition(":")
    if at and not colon:
        raise BadRedisUrl("user:password@ before the host; without a user :password@")
    if "@" in credentials and kind in {Kind.SENTINEL, Kind.CLUSTER}:
        raise BadRedisUrl("one user:password@, before the first host; an @ in it as %40")
    names = hosts.split(",") if hosts else []
    try:
        secret = read_secret(unquote(password))
    except BadText as error:
        raise BadRedisUrl(f"as password, {error}") from None
    spellings = tuple(dict.fromkeys((password, secret))) if secret else ()
    return names, unquote(username), secret, spellings


def _read_host(name: str, default_port: int) -> tuple[str, int]:
    host = _HOST.fullmatch(name)
    port = int(host["port"] or default_port) if host else 0
    if not host or not 0 < port <= _HIGHEST_PORT:
        raise BadRedisUrl(
            "host:port, as localhost:6379; in a password write / as %2F, ? as %3F, @ as %40"
        )
    return host["v6"] or host["name"], port


def _read_path(kind: Kind, path: str, db_option: str) -> tuple[str, int]:
    """Return the master's name and the database."""
    if kind is Kind.SENTINEL:
        named = _MASTER.fullmatch(path)
        if not named:
            raise BadRedisUrl(
                "the master's name and a database as path, as redis+sentinel://h1:26379/mymaster/0"
            )
        return named["master"], _read_db(named["db"] or db_option)
    db = _read_db(path.removeprefix("/") or db_option)
    if kind is Kind.CLUSTER and db:
        raise BadRedisUrl("no database but 0: a cluster has no other")
    return "", db


def _read_db(text: str) -> int:
    if not re.fullmatch(r"[0-9]{0,5}", text):
        raise BadRedisUrl("a database number as path, as redis://localhost:6379/0")
    return int(text or 0)


def _read_options(query: str | None, allowed: set[str]) -> dict[str, str]:
    options = dict(parse_qsl(query or "", keep_blank_values=True))
    if options.keys() - allowed:
        raise BadRedisUrl(f"no options but {', '.join(sorted(allowed))}")
    return options


def _read_tls(options: dict[str, str]) -> dict[str, str | bool]:
    tls: dict[str, str | bool] = dict(options)
    verify = options.get("ssl_cert_reqs", "required")
    if verify not in {"none", "optional", "required"}:
        raise BadRedisUrl("ssl_cert_reqs=none, optional or required")
    check = options.get("ssl_check_hostname", "yes").lower()
    if check not in _TRUTH:
        raise BadRedisUrl("ssl_check_hostname=yes or no")
    # Without verification of the certificate there is no name to check.
    tls["ssl_check_hostname"] = _TRUTH[check] and verify != "none"
    return tls
