"""What dashboards show beside the ledger: the last hour, the latest refusals, who is there."""

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from gateway.balance import Balance
from gateway.ledger import scripts
from gateway.ledger.scripts import name_chronicle_keys
from gateway.ledger.store import Store


class Sample(NamedTuple):
    """The bucket at one moment. Tokens."""

    at: int
    """Seconds since 1970, by the store's clock."""
    balance: int | None
    """None: it was not known."""
    held: int
    used: int
    """Since the store was empty."""


class Told(NamedTuple):
    """What the chronicle tells. Newest first."""

    gateways: int
    refusals: list[tuple[int, str]]
    """When, milliseconds since 1970 by the store's clock, and what the gateway wrote of it."""
    samples: list[Sample]


class Chronicle:
    """Kept by all gateways of an account together, in bounded memory; no part of the accounting."""

    def __init__(self, store: Store, account: str) -> None:
        self._store = store
        self._keys = name_chronicle_keys(account)
        self._name = secrets.token_hex(6)

    async def visit(
        self,
        *,
        refusals: Sequence[tuple[int, str]] = (),
        sample: tuple[Balance, int] | None = None,
        samples: bool = False,
    ) -> Told:
        """Bring what happened here, take what is known of all gateways; safe to repeat.

        Args:
            refusals: Oldest first: milliseconds since it happened, and a text like no other.
            sample: The bucket now, and the tokens used since the store was empty. It is kept where
                nobody has brought one in the same ten seconds.
            samples: Whether to tell the samples, too.

        Raises:
            LedgerUnavailable: No answer from the store.
        """
        flat = [part for refusal in refusals for part in refusal]
        shown = "" if sample is None else _write_sample(*sample)
        arguments = (self._name, shown, int(samples), len(refusals), *flat)
        present, told, kept = await self._store.run(
            scripts.CHRONICLE, self._keys, lambda: arguments
        )
        return Told(
            present,
            [_read_refusal(line) for line in told],
            [_read_sample(line) for line in kept],
        )


def _write_sample(balance: Balance, used: int) -> str:
    tokens = balance.tokens if balance.known else ""
    return f"{tokens}|{balance.held}|{used}"


def _read_sample(line: bytes) -> Sample:
    at, balance, held, used = line.split(b"|")
    return Sample(int(at), int(balance) if balance else None, int(held), int(used))


def _read_refusal(line: bytes) -> tuple[int, str]:
    at, _, text = line.partition(b"|")
    return int(at), text.decode()
