"""How a setting is printed: with secrets masked."""

import json
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

MASK = "***"
_SECRET = {"keepa_api_key", "redis_url", "service_keys", "admin_token", "alert_webhook_url"}
# The path of a webhook's URL is its secret. A shorter path may be a common word, which would then
# be masked in every line.
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
    """Return a value as the operator wrote it; masked if it is a secret or may contain one."""
    text = str(value)
    if field in _SECRET or "@" in text:
        return MASK
    return "".join(char if char.isprintable() else "?" for char in text[:80])


def show(name: str, value: Any) -> str:
    """Return a checked value as one would write it in the environment, secrets masked."""
    if isinstance(value, SecretStr):
        return _show_secret(name, value.get_secret_value())
    if name == "service_keys":
        return ",".join(f"{service}:{MASK}" for service, each in value.items() for _ in each)
    if isinstance(value, bool | dict):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}"
    # JSON may span several lines.
    return "" if value is None else " ".join(str(value).split())


def secrets_of_url(url: str) -> tuple[str, ...]:
    """Return the parts of a webhook's URL that are never printed: URL, path, password."""
    parts = urlsplit(url)
    path = url[url.find(parts.netloc) + len(parts.netloc) :]
    return (url, path if len(path) >= _SHORTEST_SECRET else "", parts.password or "")


def _show_secret(name: str, text: str) -> str:
    """Return a masked secret; of a URL the host stays."""
    if not text or not name.endswith("_url"):
        return MASK if text else ""
    scheme, _, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    _, at, hosts = authority.rpartition("@")
    # The database or master of a Redis URL is not secret; the path of a webhook is.
    tail = f"{slash}{path.partition('?')[0]}" if name == "redis_url" else f"/{MASK}"
    return f"{scheme}://{MASK if at else ''}{at}{hosts}{tail}"
