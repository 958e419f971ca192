"""What a request's target asks for: a path of one plain word, and a query that is left as it is."""

import re
from urllib.parse import unquote

from gateway.errors import BadRequest, MethodNotAllowed, NotFound, NoTunnel, UriTooLong
from gateway.front.request import Request

MAX_URL = 128 * 1024
_PATH = re.compile(r"/([A-Za-z0-9_-]{1,64})/?")
# The gateway's own words, whether they are served yet or not: never taken for Keepa's.
OWN_PATHS = frozenset(
    {
        "calls", "dashboard", "healthz", "inflight", "metrics", "overrides", "quote", "readyz",
        "status", "usage",
    }
)  # fmt: skip
# What balancers, crawlers and people try. Taken for an endpoint that is not known yet, each would
# hold tokens, and be sent to Keepa with the real key.
_PROBES = frozenset(
    {
        "admin", "alive", "api", "docs", "graphql", "health", "health-check", "health_check",
        "healthcheck", "heartbeat", "help", "home", "index", "info", "live", "liveness", "livez",
        "login", "mcp", "openapi", "ping", "pong", "probe", "ready", "readiness", "server-status",
        "sse", "startup", "startupz", "swagger", "up", "v1", "version",
    }
)  # fmt: skip
_RESERVED = OWN_PATHS | _PROBES


def split_target(request: Request) -> tuple[str, str, str]:
    """Return path, endpoint and query of the request's raw target."""
    if request.method == "CONNECT":
        raise NoTunnel
    path, query = _read_target(request)
    match = _PATH.fullmatch(path)
    if not match or match[1].lower() in _RESERVED or "#" in query:
        raise NotFound
    _check(request, query)
    return path, match[1], query


def split_quoted(request: Request) -> tuple[str, str, str]:
    """Return path, endpoint and query of the call that is asked about."""
    _, query = _read_target(request)
    fields = query.split("&")
    named = next((field for field in fields if field.lower().startswith("path=")), "")
    word = unquote(named[len("path=") :]).strip("/")
    match = _PATH.fullmatch(f"/{word}")
    if not match or match[1].lower() in _RESERVED:
        raise NotFound("Name the endpoint in question, as in /quote?path=product&asin=...")
    _check(request, query)
    fields.remove(named)
    return f"/{word}", match[1], "&".join(fields)


def _read_target(request: Request) -> tuple[str, str]:
    """Return path and query of the request's raw target."""
    target = request.raw_path
    if len(target) > MAX_URL:
        raise UriTooLong
    path, _, query = target.partition("?")
    return path, query


def _check(request: Request, query: str) -> None:
    if request.method not in {"GET", "POST"}:
        raise MethodNotAllowed
    try:
        query.encode()
    except UnicodeEncodeError:
        raise BadRequest("The request target is not valid UTF-8") from None
