"""Which faults are crossed with which operations, and why the others are not.

Calls and holds are short-lived here, so that a cell takes seconds: what only matters to those that
outlive the learning time of a new epoch is tested in `tests/e2e/test_store_loss.py`.
"""

from typing import NamedTuple

from chaos.faults import FAULTS, Fault
from chaos.operations import OPERATIONS, Operation

_FROM_THE_LEDGER = "/token is answered from the ledger: no answer of Keepa's is in it to be {}"
_NO_BODY = "these calls are refused before a body begins, as `small` is"

LEFT_OUT: dict[tuple[str, str], str] = {
    **{
        (f"keepa {fault}", "token"): _FROM_THE_LEDGER.format(what)
        for fault, what in (
            ("body cut", "cut"),
            ("late", "late"),
            ("trickle", "slow"),
            ("5xx page", "replaced"),
            ("5xx with envelope", "replaced"),
            ("429 of its own", "refused: it costs nothing"),
            ("garbage", "replaced"),
        )
    },
    ("keepa 5xx with envelope", "large"): "the simulator's error replaces the large answer",
    ("keepa 5xx with envelope", "leaver"): "the simulator's error replaces the large answer",
    ("keepa 5xx page", "large"): _NO_BODY,
    ("keepa 5xx page", "leaver"): _NO_BODY,
    ("keepa garbage", "large"): _NO_BODY,
    ("keepa garbage", "leaver"): _NO_BODY,
    ("keepa 429 of its own", "large"): _NO_BODY,
    ("keepa 429 of its own", "leaver"): _NO_BODY,
}
"""Pairs that would only repeat another, by fault and operation."""


class Cell(NamedTuple):
    """One fault crossed with one operation."""

    fault: Fault
    operation: Operation

    @property
    def title(self) -> str:
        return f"{self.fault.title} x {self.operation.name}"


TABLE = tuple(
    Cell(fault, operation)
    for fault in FAULTS
    for operation in OPERATIONS
    if (fault.title, operation.name) not in LEFT_OUT
)


def diagonal() -> tuple[Cell, ...]:
    """Return a short form: every fault once, the operations in turn."""
    cells = []
    for turn, fault in enumerate(FAULTS):
        row = [cell for cell in TABLE if cell.fault is fault]
        cells.append(row[turn % len(row)])
    return tuple(cells)
