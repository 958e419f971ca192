"""Proxies that the environment names for other programs; the gateway uses none."""

import os
from urllib.parse import urlsplit
from urllib.request import proxy_bypass


def find_proxies(url: str) -> list[str]:
    """Return the variables that name a proxy for a URL; their values may hold a password."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return []
    names = {f"{parts.scheme}_proxy", "all_proxy"}
    return sorted(name for name, value in os.environ.items() if value and name.lower() in names)
