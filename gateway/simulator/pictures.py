"""The pictures Keepa has drawn lately, which it gives away."""

KEPT_MS = 90 * 60_000
MOST_KEPT = 10_000
"""Enough for any test; the oldest give way, so that a long run cannot fill the memory."""


class Pictures:
    """Remembers the pictures asked for in the last 90 minutes; told the time, as `Bucket` is."""

    def __init__(self) -> None:
        self._asked_ms: dict[str, int] = {}

    def is_kept(self, picture: str, now_ms: int) -> bool:
        """Tell whether a picture was asked for in the last 90 minutes, so that it is free."""
        asked_ms = self._asked_ms.get(picture)
        return asked_ms is not None and now_ms - asked_ms <= KEPT_MS

    def keep(self, picture: str, now_ms: int) -> None:
        """Note that a picture was asked for."""
        self._asked_ms.pop(picture, None)
        self._asked_ms[picture] = now_ms
        if len(self._asked_ms) > MOST_KEPT:
            del self._asked_ms[next(iter(self._asked_ms))]
