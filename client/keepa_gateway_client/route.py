"""Where calls for Keepa go instead, and under what terms."""

import math
import os
import re
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keepa_gateway_client.stock import KEEPA, NotRouted

# As `requests` and OpenSSL read them; here either does for both clients.
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_NAME = re.compile(r"[a-z0-9_-]{1,40}")


@dataclass(frozen=True)
class Route:
    """The way to a gateway.

    Attributes:
        base_url: Of the gateway, with nothing behind its host and port but, perhaps, a path.
        wait: Whether refusals that pass are slept on.
        max_wait_seconds: How long one call may sleep on them, in all.
        service_name: Sent as `X-Service-Name`; empty: not.
        service_key: Sent in place of the key that the program has; empty: that is sent.
        prefer_wait_seconds: How long each call may wait inside the gateway; 0: not at all.
        ca_file: Certificates that the gateway's is checked against; None: the libraries' own.
        tls: The same for aiohttp.
    """

    base_url: str
    wait: bool
    max_wait_seconds: float
    service_name: str
    service_key: str = field(repr=False)
    prefer_wait_seconds: int
    ca_file: str | None
    tls: ssl.SSLContext | None = field(compare=False)

    def redirect(self, url: str) -> str | None:
        """Return where a call for Keepa goes; None: it is not for Keepa."""
        return f"{self.base_url}/{url.removeprefix(KEEPA)}" if url.startswith(KEEPA) else None

    def adapt(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a call: who calls, the wish to wait and the time for it."""
        changed, headers = dict(options), dict(options.get("headers") or {})
        if self.service_name:
            headers["X-Service-Name"] = self.service_name
        if self.service_key:
            # In a header, and the program's own key not at all: URLs end up in logs.
            headers["X-Api-Key"] = self.service_key
            changed["params"] = {n: v for n, v in options["params"].items() if n != "key"}
        if self.prefer_wait_seconds > 0:
            headers["Prefer"] = f"wait={self.prefer_wait_seconds}"
            if options.get("timeout"):
                # The client's time-out is for the answer; the queue comes before.
                changed["timeout"] = options["timeout"] + self.prefer_wait_seconds
        return {**changed, "headers": headers}

    def latest(self) -> float:
        """Return when a call that begins now has to stop waiting, on the monotonic clock."""
        return time.monotonic() + self.max_wait_seconds


def plan_route(
    base_url: str | None,
    *,
    wait: bool | None,
    max_wait_seconds: float | None,
    prefer_wait_seconds: int,
    service_name: str | None,
    service_key: str | None,
    ca_file: str | Path | None,
) -> Route:
    """Return the route; what is None comes from the environment. NotRouted: it leads nowhere."""
    chosen = str(ca_file) if ca_file else _ca_of_environment()
    return Route(
        base_url=_read_url(base_url),
        wait=_read_wait() if wait is None else wait,
        max_wait_seconds=_read_max_wait(max_wait_seconds),
        service_name=_read_name(service_name),
        service_key=_read_key(service_key),
        prefer_wait_seconds=prefer_wait_seconds,
        ca_file=chosen,
        tls=_tls(chosen),
    )


def _read_url(base_url: str | None) -> str:
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
    return url


def _read_wait() -> bool:
    word = os.environ.get("KEEPA_WAIT") or "true"
    if word.lower() not in _WORDS:
        raise NotRouted(f"KEEPA_WAIT={word}: it has to be true or false")
    return _WORDS[word.lower()]


def _read_max_wait(given: float | None) -> float:
    """Return seconds; without any, for ever, as the stock client waits."""
    told = given if given is not None else os.environ.get("KEEPA_MAX_WAIT_SECONDS") or math.inf
    try:
        seconds = float(told)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise NotRouted(f"KEEPA_MAX_WAIT_SECONDS={told}: it has to be a number of seconds")
    return seconds


def _read_name(given: str | None) -> str:
    name = given if given is not None else os.environ.get("KEEPA_SERVICE_NAME", "")
    if name and not _NAME.fullmatch(name):
        raise NotRouted(f"KEEPA_SERVICE_NAME={name}: it has to be 1 to 40 of a-z, 0-9, `-` and `_`")
    return name


def _read_key(given: str | None) -> str:
    key = (given if given is not None else os.environ.get("KEEPA_SERVICE_KEY", "")).strip()
    if not key.isascii() or not key.isprintable():
        raise NotRouted("KEEPA_SERVICE_KEY has a character that no header can carry")
    return key


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
