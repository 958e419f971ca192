"""Dashboard sessions: a signed cookie for a browser that has shown ADMIN_TOKEN."""

import hashlib
import hmac
import secrets
import time
from http.cookies import CookieError, SimpleCookie

from gateway.balance import HOUR_SECONDS
from gateway.front.request import Request

_COOKIE = "keepa_gateway_session"
_SESSION_SECONDS = 12 * HOUR_SECONDS
_PURPOSE = b"keepa-gateway dashboard session 1"


class Sessions:
    """Issues and checks cookies; nothing is stored.

    A cookie is `<end, seconds>.<random>.<HMAC-SHA256 of both>`, with a key derived from the token:
    all gateways accept it, it reveals nothing of the token, and a new token makes it invalid.

    Args:
        token: ADMIN_TOKEN.
    """

    def __init__(self, token: str) -> None:
        secret = token.encode("utf-8", "surrogateescape")
        self._key = hmac.digest(secret, _PURPOSE, hashlib.sha256)

    def end_of(self, request: Request) -> float | None:
        """Return when the request's session ends, seconds since 1970; None: it has none."""
        try:
            cookies = SimpleCookie(request.headers.get("Cookie", ""))
        except CookieError:
            return None
        cookie = cookies.get(_COOKIE)
        return self._end_of_cookie(cookie.value) if cookie else None

    def begin(self, *, is_secure: bool) -> str:
        """Return the Set-Cookie that begins a session."""
        said = f"{int(time.time()) + _SESSION_SECONDS}.{secrets.token_urlsafe(12)}"
        return _set_cookie(f"{said}.{self._sign(said)}", _SESSION_SECONDS, is_secure=is_secure)

    def finish(self, *, is_secure: bool) -> str:
        """Return the Set-Cookie that ends a session in this browser."""
        return _set_cookie("", 0, is_secure=is_secure)

    def _end_of_cookie(self, value: str) -> float | None:
        said, _, signature = value.rpartition(".")
        expected = self._sign(said).encode()
        if not hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), expected):
            return None
        end = int(said.partition(".")[0])
        return end if end > time.time() else None

    def _sign(self, said: str) -> str:
        text = said.encode("utf-8", "surrogateescape")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()


def _set_cookie(value: str, seconds: int, *, is_secure: bool) -> str:
    cookie = f"{_COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict"
    return f"{cookie}; Secure" if is_secure else cookie
