"""Who is calling: the service behind a key, or behind the name it gives itself."""

import hashlib
from collections.abc import Iterable, Mapping

from gateway.errors import Unauthorized
from gateway.settings.policies import SERVICE_NAME

ANONYMOUS = "anonymous"
OTHER = "other"
# Names become metric labels and tallies: callers must not be able to make any number of them.
_NAMES_AT_MOST = 50


class Services:
    """Names callers.

    With keys only their owners get in, whatever they call themselves. Without, everybody does,
    under the name in `X-Service-Name` (the first 50 names, then `other`).

    Args:
        keys: Service name to its secrets, each of which will do.
        known: Names that have a policy: without keys they are always taken, besides the first 50.
    """

    def __init__(self, keys: Mapping[str, tuple[str, ...]], known: Iterable[str] = ()) -> None:
        # Looked up by digest, so that the time it takes tells nothing of a secret.
        self._by_digest = {
            _digest(secret): name for name, secrets in keys.items() for secret in secrets
        }
        self._known = frozenset(known)
        self._claimed: set[str] = set()

    def identify(self, credentials: Iterable[str], claimed: str | None) -> str:
        """Return the caller's service.

        Args:
            credentials: Every key the call carries; the first known one counts.
            claimed: Its `X-Service-Name`.

        Raises:
            Unauthorized: Keys are required and none is known.
        """
        if self._by_digest:
            for credential in credentials:
                name = self._by_digest.get(_digest(credential))
                if name:
                    return name
            raise Unauthorized
        if claimed is None or not SERVICE_NAME.fullmatch(claimed):
            return ANONYMOUS
        if claimed not in self._known and claimed not in self._claimed:
            if len(self._claimed) >= _NAMES_AT_MOST:
                return OTHER
            self._claimed.add(claimed)
        return claimed


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
