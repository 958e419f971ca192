"""What may be printed of a setting."""

import json
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

MASK = "***"
_SECRET = {"keepa_api_key", "redis_url", "service_keys", "admin_token", "alert_webhook_url"}
# What stands behind the host of a webhook's URL is what makes it a secret; a word of the language
# as short as this is none, and would be masked in every line.
_SHORTEST_SECRET = 12


def describe_error(error: ValidationError) -> str:
    """Return one line: the variable, its value (masked) and what is allowed."""
    first = error.errors(include_url=False)[0]
    field, message = str(first["loc"][0]), first["msg"]
    shown = f"{field.upper()}={mask(field, first['input'])}"
    if first["type"] == "value_error":
        return f"{shown}: allowed is {first['ctx']['error']}"
    return f"{shown}: {message[0].lower()}{message[1:]}"


def mask(field: str, value: object) -> str:
    """Return a value as the operator wrote it, unless it is a secret or may hold one."""
    text = str(value)
    if field in _SECRET or "@" in text:
        return MASK
    return "".join(char if char.isprintable() else "?" for char in text[:80])


def show(name: str, value: Any) -> str:
    """Return a checked value as it is written in the environment, without its secrets."""
    if isinstance(value, SecretStr):
        return _show_secret(name, value.get_secret_value())
    if name == "service_keys":
        return ",".join(f"{service}:{MASK}" for service, each in value.items() for _ in each)
    if isinstance(value, bool | dict):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}"
    # JSON may have been written on several lines.
    return "" if value is None else " ".join(str(value).split())


def secrets_of_url(url: str) -> tuple[str, ...]:
    """Return what may not be printed of a webhook's URL: all of it, its path, its password."""
    parts = urlsplit(url)
    path = url[url.find(parts.netloc) + len(parts.netloc) :]
    return (url, path if len(path) >= _SHORTEST_SECRET else "", parts.password or "")


def _show_secret(name: str, text: str) -> str:
    """Return what of a secret says which one it is: nothing, but of a URL where it leads."""
    if not text or not name.endswith("_url"):
        return MASK if text else ""
    scheme, _, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    _, at, hosts = authority.rpartition("@")
    # A database or a master is no secret; the path of a webhook is all that makes it one.
    tail = f"{slash}{path.partition('?')[0]}" if name == "redis_url" else f"/{MASK}"
    return f"{scheme}://{MASK if at else ''}{at}{hosts}{tail}"
