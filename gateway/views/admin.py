"""Access by ADMIN_TOKEN; wrong tokens are answered late, a few at a time, and logged."""

import asyncio
import hmac
from typing import Any

import structlog

from gateway.errors import NotAdmin, Refusal, TooManyGuesses
from gateway.front.headers import credentials_of
from gateway.front.request import Request

_log: Any = structlog.get_logger(__name__)

# How late a wrong token is answered.
_WRONG_SECONDS = 1.0
# How many wrong tokens may wait at a time, each with its connection; others are refused at once.
_WRONG_AT_MOST = 64
# At most one log line in so long: fast guesses must not fill the log.
_LOG_SECONDS = 10.0


class Admin:
    """Checks ADMIN_TOKEN. The right one is never refused, however many wrong ones come.

    Args:
        token: ADMIN_TOKEN; empty: no token is needed.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode("utf-8", "surrogateescape")
        self._waiting = 0
        self._unlogged = 0
        self._log_at = 0.0

    @property
    def is_needed(self) -> bool:
        """Whether a token has to be shown."""
        return bool(self._token)

    def knows(self, token: str) -> bool:
        """Say in constant time whether this is the token."""
        return hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self._token)

    async def check(self, request: Request) -> None:
        """Check that a request shows the token, where one is needed.

        Raises:
            NotAdmin: It shows none or, raised a second later, a wrong one.
            TooManyGuesses: It shows a wrong one, and too many others wait already.
        """
        if self._token and not await self.is_shown(request):
            raise NotAdmin

    async def is_shown(self, request: Request) -> bool:
        """Say whether the request's headers hold the token; False: they hold none at all.

        Raises:
            NotAdmin, TooManyGuesses: As `check`.
        """
        tokens = list(credentials_of(request.headers))
        if any(map(self.knows, tokens)):
            return True
        if tokens:
            raise await self.refuse(request)
        return False

    async def refuse(self, request: Request) -> Refusal:
        """Return the refusal of a wrong token, after a pause."""
        self._log_guess(request)
        if self._waiting >= _WRONG_AT_MOST:
            return TooManyGuesses()
        self._waiting += 1
        try:
            await asyncio.sleep(_WRONG_SECONDS)
        finally:
            self._waiting -= 1
        return NotAdmin()

    def _log_guess(self, request: Request) -> None:
        self._unlogged += 1
        now = asyncio.get_running_loop().time()
        if now >= self._log_at:
            _log.warning(
                "admin_token_refused",
                address=request.connection.remote,
                path=request.raw_path.partition("?")[0],
                guesses=self._unlogged,
            )
            self._unlogged = 0
            self._log_at = now + _LOG_SECONDS
