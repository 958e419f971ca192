"""The dashboard's files: package data, read once, served by name."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from isal import isal_zlib

from gateway.front.headers import accepts_gzip
from gateway.front.request import Request
from gateway.front.response import Response

_FOLDER = files("gateway.views.dashboard") / "assets"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "png": "image/png",
    "txt": "text/plain; charset=utf-8",
}
# Nothing from elsewhere, nothing inline, in nobody's frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
GUARDS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every response of the dashboard."""
_PROBLEM = (
    '      <p class="problem" role="alert">That was not the admin token. Check it, wait a moment, '
    "and try again.</p>\n"
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, plain and gzipped, with its ETag."""

    type: str
    plain: bytes
    packed: bytes
    tag: str


def read_asset(name: str) -> Asset:
    """Read one of the package's files."""
    return _pack(name, (_FOLDER / name).read_bytes())


def read_login_page(*, is_wrong: bool) -> Asset:
    """Read the login page.

    Args:
        is_wrong: Whether it answers a form with a wrong token, at the path that takes the form.
    """
    template = Template((_FOLDER / "login.html").read_text(encoding="utf-8"))
    page = template.substitute(
        here="" if is_wrong else "dashboard/",
        problem=_PROBLEM if is_wrong else "",
        invalid=' aria-invalid="true"' if is_wrong else "",
    )
    return _pack("login.html", page.encode())


def _pack(name: str, plain: bytes) -> Asset:
    return Asset(
        _TYPES[name.rpartition(".")[2]],
        plain,
        isal_zlib.compress(plain, 3, wbits=31),
        f'W/"{hashlib.sha256(plain).hexdigest()[:24]}"',
    )


def serve_asset(request: Request, asset: Asset) -> Response:
    """Respond with a file that is the same for everybody; browsers keep it and revalidate it."""
    fields = {"ETag": asset.tag, "Cache-Control": "no-cache", **GUARDS}
    if asset.tag in request.headers.get("If-None-Match", ""):
        return Response(304, fields, b"")
    return _send(request, asset, 200, fields)


def serve_page(request: Request, asset: Asset, status: int, extra: dict[str, str]) -> Response:
    """Respond with a page that depends on who asks, and is not cached."""
    return _send(request, asset, status, {"Cache-Control": "no-store", **GUARDS, **extra})


def _send(request: Request, asset: Asset, status: int, fields: dict[str, str]) -> Response:
    fields["Content-Type"] = asset.type
    fields["Vary"] = "Accept-Encoding"
    if accepts_gzip(request.headers):
        return Response(status, fields | {"Content-Encoding": "gzip"}, asset.packed)
    return Response(status, fields, asset.plain)
