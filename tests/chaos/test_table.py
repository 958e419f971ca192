"""Every fault crossed with every operation: the promises that hold whatever fails."""

import pytest

from chaos.faults import FAULTS
from chaos.operations import OPERATIONS
from chaos.table import LEFT_OUT, TABLE, diagonal


@pytest.mark.e2e
@pytest.mark.asyncio(loop_scope="module")
async def test_a_fault_breaks_no_promise(lanes, cell, note_crossing):
    """Floor kept, holds gone, balance Keepa's, callers told in time, nothing leaked or logged."""
    crossing = await lanes.end_of(cell)
    note_crossing(crossing)
    assert not crossing.broken, "\n".join(crossing.broken)


def test_the_table_is_whole():
    """Each pair is crossed, or left out for a reason; the short form has all faults and calls."""
    pairs = {(fault.title, operation.name) for fault in FAULTS for operation in OPERATIONS}
    crossed = {(cell.fault.title, cell.operation.name) for cell in TABLE}
    assert len(pairs) == len(FAULTS) * len(OPERATIONS)
    assert crossed | LEFT_OUT.keys() == pairs
    assert not crossed & LEFT_OUT.keys()
    assert all(LEFT_OUT.values())
    short = diagonal()
    assert {cell.fault for cell in short} == set(FAULTS)
    assert {cell.operation for cell in short} == set(OPERATIONS)
