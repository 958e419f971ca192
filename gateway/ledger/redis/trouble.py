"""Why the store is away: one word for the log, once an outage."""

from typing import Any

import structlog
from redis.exceptions import AuthenticationError, RedisError

from gateway.ledger.redis.link import Elsewhere
from gateway.ledger.redis.servers import NoServerError

_log: Any = structlog.get_logger(__name__)

HINTS = {
    "OOM": "Redis is full: raise maxmemory, or find what else fills it",
    "MISCONF": "Redis cannot save: see its log and its disk",
    "NOREPLICAS": "fewer replicas than min-replicas-to-write follow Redis",
    "READONLY": "REDIS_URL leads to a replica",
    "NOPERM": "the user of REDIS_URL may not write the ledger's keys",
}

# What a greeting over TLS ends with at a port without it (Redis waits for more), and the reverse.
_OF_NO_TLS = {"SSLError", "TimeoutError", "ConnectionResetError"}
_OF_TLS = {"ConnectionResetError", "InvalidResponse"}


class Trouble:
    """Logs that the store goes, and that it comes.

    Attributes:
        word: The latest reason.
        hint: What to do about it; empty: nothing that is known.
    """

    def __init__(self, store: str, *, has_tls: bool = False) -> None:
        self.word = ""
        self.hint = ""
        self._has_tls = has_tls
        self._store = store
        self._is_told = False

    def begin(self, error: BaseException) -> None:
        """The store is away, or still is."""
        self.word = _word_of(error)
        self.hint = self._hint_for(error)
        if self._is_told:
            return
        self._is_told = True
        facts = {"store": self._store, "error": self.word}
        if self.hint:
            facts["hint"] = self.hint
        _log.warning("store_down", **facts)

    def _hint_for(self, error: BaseException) -> str:
        if isinstance(error, AuthenticationError):
            return "check user and password of REDIS_URL"
        if self._has_tls and self.word in _OF_NO_TLS:
            return "if the port speaks no TLS, REDIS_URL begins with redis://"
        if not self._has_tls and self.word in _OF_TLS:
            return "if the port speaks TLS, REDIS_URL begins with rediss://"
        if self.word == "SSLCertVerificationError":
            return "TLS: the server's certificate was not accepted; see ssl_ca_certs of REDIS_URL"
        return HINTS.get(self.word, "")

    def end(self) -> None:
        """The store is there."""
        self._is_told = False
        _log.info("store_up", store=self._store)


def _word_of(error: BaseException) -> str:
    """One word of what went wrong: the rest may hold an address or a password."""
    if isinstance(error, Elsewhere | NoServerError):
        return str(error)
    if not isinstance(error, RedisError):
        return type(error).__name__
    # What the server said, or what the system did, which redis-py wraps.
    return error.status_code or type(error.__cause__ or error.__context__ or error).__name__
