"""The values of single variables; a ValueError says what is allowed, without the value."""

import json
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from gateway.settings.pasted import read_secret
from gateway.settings.redis_url import read_redis_url

SIMULATOR = "simulator"

# No call of Keepa's costs nearly as much; a larger number is a typing error.
_DEAREST = 1_000_000
_ENDPOINT = re.compile(r"[a-z0-9_-]{1,40}")
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
_MOST_REQUESTS = 1_000_000
# Shorter tokens can be guessed.
_SHORTEST_ADMIN_TOKEN = 8


def read_host(text: str) -> str:
    """Return an address, an IPv6 one without its brackets, or a name."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not _HOST_NAME.fullmatch(host) and not _is_address(host):
        raise ValueError(
            "an address or a name without port, as 127.0.0.1, ::1 or localhost; "
            "0.0.0.0 or :: for all addresses of this machine"
        )
    return host


def read_base_url(text: str) -> str:
    """Return Keepa's URL without a slash at its end, or `simulator`."""
    if text.lower() == SIMULATOR:
        return SIMULATOR
    url = _split(text)
    if not url or not url.hostname or url.query or url.fragment:
        raise ValueError("`simulator` or an http(s) URL without query, as https://api.keepa.com")
    if url.username or url.password:
        raise ValueError("a URL without user and password")
    if url.hostname.endswith("keepa.com") and url.path.strip("/"):
        # The path of each call would be appended to this one.
        raise ValueError(f"a URL without path, as {url.scheme}://{url.netloc}")
    return text.rstrip("/")


def read_endpoint_costs(value: Any) -> Any:
    """Return the tokens by endpoint."""
    allowed = 'a JSON object of endpoint names and whole tokens of 0 or more, as {"deal": 5}'
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(allowed) from None
    if not isinstance(value, Mapping):
        raise ValueError(allowed)  # noqa: TRY004 - pydantic wants a ValueError
    for name, cost in value.items():
        if not _ENDPOINT.fullmatch(name) or type(cost) is not int or not 0 <= cost <= _DEAREST:
            raise ValueError(allowed)
    return {"deal" if name == "deals" else name: cost for name, cost in value.items()}


def read_request_count(value: Any) -> Any:
    """Return a number of requests, or `auto`."""
    text = str(value).lower()
    if text == "auto":
        return text
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or int(text) > _MOST_REQUESTS:
        raise ValueError(f"`auto`, or a whole number of 0 to {_MOST_REQUESTS}")
    return int(text)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach that host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _read_secret(value: Any) -> Any:
    return read_secret(value) if isinstance(value, str) else value


def _check_admin_token(value: SecretStr) -> SecretStr:
    if 0 < len(value.get_secret_value()) < _SHORTEST_ADMIN_TOKEN:
        raise ValueError(f"{_SHORTEST_ADMIN_TOKEN} characters or more")
    return value


def _check_redis_url(value: SecretStr) -> SecretStr:
    if text := value.get_secret_value():
        read_redis_url(text)
    return value


def _check_webhook_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    url = _split(text)
    is_good = url and url.hostname and not url.fragment
    if text and not (is_good and re.fullmatch(r"[!-~]+", text)):
        raise ValueError("an http(s) URL, percent-encoded, as https://alerts.example/hook")
    return value


def _split(text: str) -> SplitResult | None:
    """Return the parts of an http(s) URL, or None."""
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return None
    return url if url.scheme in {"http", "https"} else None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


RequestCount = Annotated[int | Literal["auto"], BeforeValidator(read_request_count)]
Secret = Annotated[SecretStr, BeforeValidator(_read_secret)]
AdminToken = Annotated[Secret, AfterValidator(_check_admin_token)]
RedisLocation = Annotated[Secret, AfterValidator(_check_redis_url)]
WebhookUrl = Annotated[Secret, AfterValidator(_check_webhook_url)]
