"""Where calls for Keepa go instead, and under what terms."""

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.client.stock import KEEPA, NotRouted

# As `requests` and OpenSSL read them; here either does for both clients.
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Route:
    """The way to a gateway.

    Attributes:
        base_url: Of the gateway, with nothing behind its host and port but, perhaps, a path.
        wait: Whether refusals that pass are slept on.
        prefer_wait_seconds: How long each call may wait inside the gateway; 0: not at all.
        ca_file: Certificates that the gateway's is checked against; None: the libraries' own.
        tls: The same for aiohttp.
    """

    base_url: str
    wait: bool
    prefer_wait_seconds: int
    ca_file: str | None
    tls: ssl.SSLContext | None = field(compare=False)

    def redirect(self, url: str) -> str | None:
        """Return where a call for Keepa goes; None: it is not for Keepa."""
        return f"{self.base_url}/{url.removeprefix(KEEPA)}" if url.startswith(KEEPA) else None

    def adapt(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a call, with the wish to wait and the time for it."""
        if self.prefer_wait_seconds <= 0:
            return options
        prefer = {"Prefer": f"wait={self.prefer_wait_seconds}"}
        changed = {**options, "headers": {**(options.get("headers") or {}), **prefer}}
        if options.get("timeout"):
            # The client's time-out is for the answer; the line comes before.
            changed["timeout"] = options["timeout"] + self.prefer_wait_seconds
        return changed


def plan_route(
    base_url: str | None, *, wait: bool, prefer_wait_seconds: int, ca_file: str | Path | None
) -> Route:
    """Return the route; what is None comes from the environment. NotRouted: it leads nowhere."""
    url = (base_url or os.environ.get("KEEPA_BASE_URL", "")).rstrip("/")
    if not url:
        raise NotRouted("No gateway: set KEEPA_BASE_URL, as in http://gateway:8080")
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or parts.query or parts.fragment or parts.username:
        raise NotRouted("KEEPA_BASE_URL has to be a gateway's URL, as in http://gateway:8080")
    if parts.hostname == urlsplit(KEEPA).hostname:
        raise NotRouted("KEEPA_BASE_URL is Keepa's own address: it has to be the gateway's")
    chosen = str(ca_file) if ca_file else _ca_of_environment()
    return Route(url, wait, prefer_wait_seconds, chosen, _tls(chosen))


def _ca_of_environment() -> str | None:
    return next((os.environ[name] for name in _CA_VARIABLES if os.environ.get(name)), None)


def _tls(ca_file: str | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    try:
        if Path(ca_file).is_dir():
            return ssl.create_default_context(capath=ca_file)
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise NotRouted(f"No certificates in {ca_file}: {error.strerror or error}") from error
