"""Who used what in each clock hour (UTC): where it stands in the store, and how it is read."""

import math
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

from gateway.balance import HOUR_SECONDS
from gateway.ledger.scripts import READ_USAGE, name_keys, name_usage_key
from gateway.ledger.store import Store

DAYS_KEPT = 35
"""`USAGE_SECONDS` in counters.lua is a day more: the first of these days is there whole."""

# Each of an hour's fields, 2 200 at most, costs Redis half a microsecond: no script keeps it long.
_HOURS_AT_A_TIME = 2


class HourKeys:
    """The ledger's keys, the one that is another every hour among them.

    The gateway's own clock tells the hour: where it is a little wrong, so is what is counted about
    the full hour.
    """

    def __init__(self, account: str) -> None:
        self._account = account
        self._lasting = name_keys(account)
        self._keys = self._lasting
        self._begins_at = self._ends_at = -math.inf

    def now(self) -> tuple[str, ...]:
        """Return the keys in the order of `keys.lua`."""
        # A clock may be set back, too.
        if not self._begins_at <= time.time() < self._ends_at:
            self._renew()
        return self._keys

    def _renew(self) -> None:
        hour = int(time.time() // HOUR_SECONDS)
        self._begins_at = hour * HOUR_SECONDS
        self._ends_at = self._begins_at + HOUR_SECONDS
        self._keys = (*self._lasting, name_usage_key(self._account, hour))


class Item(NamedTuple):
    """What is counted."""

    service: str
    endpoint: str
    what: str
    """`tokens`, `calls`, `refusals`; or `lost`: tokens that a full bucket did not take, nobody's,
    so without service and endpoint."""


class UsageHistory:
    """Reads what the ledger's scripts have counted."""

    def __init__(self, store: Store, account: str) -> None:
        self._store = store
        self._account = account

    async def read(
        self, first_hour: int, end_hour: int
    ) -> AsyncIterator[tuple[int, dict[Item, int]]]:
        """Yield the hours in which anything was counted, in their order.

        Args:
            first_hour: Hours since 1970.
            end_hour: The first that is not read.

        Raises:
            LedgerUnavailable: No answer from the store.
        """
        # The same ones hour after hour: made once, they cost neither time nor room again.
        items = _Items()
        for first in range(first_hour, end_hour, _HOURS_AT_A_TIME):
            hours = range(first, min(first + _HOURS_AT_A_TIME, end_hour))
            keys = [name_usage_key(self._account, hour) for hour in hours]
            for hour, flat in zip(
                hours, await self._store.run(READ_USAGE, keys, tuple), strict=True
            ):
                if flat:
                    fields = map(items.__getitem__, flat[::2])
                    yield hour, dict(zip(fields, map(int, flat[1::2]), strict=True))


class _Items(dict[bytes, Item]):
    """Items by their fields."""

    def __missing__(self, field: bytes) -> Item:
        item = self[field] = Item(*field.decode().split("|"))
        return item
