"""Who may see what operators see: the bearer of ADMIN_TOKEN; guesses are slow, few, and logged."""

import asyncio
import hmac
from typing import Any

import structlog

from gateway.errors import NotAdmin, Refusal, TooManyGuesses
from gateway.front.headers import credentials_of
from gateway.front.request import Request

_log: Any = structlog.get_logger(__name__)

# A wrong token is answered so late.
_WRONG_SECONDS = 1.0
# So many wait for that at a time: each keeps a connection. Further ones are refused at once.
_WRONG_AT_MOST = 64
# Whoever guesses fast must not fill the log.
_LOG_SECONDS = 10.0


class Admin:
    """Knows ADMIN_TOKEN. The right one is never refused, however many guess meanwhile.

    Args:
        token: ADMIN_TOKEN; empty: everybody may see everything.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode("utf-8", "surrogateescape")
        self._waiting = 0
        self._unlogged = 0
        self._log_at = 0.0

    @property
    def is_needed(self) -> bool:
        """Whether anybody has to show the token."""
        return bool(self._token)

    def knows(self, token: str) -> bool:
        """Say, in a time that tells nothing, whether this is the token."""
        return hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self._token)

    async def check(self, request: Request) -> None:
        """Let a request with the token pass.

        Raises:
            NotAdmin: It has none, or, a second later, another one.
            TooManyGuesses: It has another one, and so have many more.
        """
        if self._token and not await self.is_shown(request):
            raise NotAdmin

    async def is_shown(self, request: Request) -> bool:
        """Say whether the request has the token among its headers; False: it has no token at all.

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
        """Return, after a while, what is told to a wrong token."""
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
                address=request.remote,
                path=request.raw_path.partition("?")[0],
                guesses=self._unlogged,
            )
            self._unlogged = 0
            self._log_at = now + _LOG_SECONDS
