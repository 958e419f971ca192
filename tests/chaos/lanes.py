"""Several fleets side by side: a cell is mostly waiting, and a table of them would take long."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from chaos.crossing import cross
from chaos.fleet import Fleet
from chaos.promises import Crossing
from chaos.table import Cell

# As many as two processor cores run without making each other late.
LANES = 3


class Lanes:
    """Runs cells in their order, each on the next fleet that is free."""

    def __init__(self, folder: Path, cells: Sequence[Cell]) -> None:
        self._folder = folder
        self._waiting = list(cells)
        self._fleets = 0
        loop = asyncio.get_running_loop()
        self._ends: dict[str, asyncio.Future[Crossing]] = {
            cell.title: loop.create_future() for cell in cells
        }
        count = min(LANES, len(self._waiting))
        self._lanes = [asyncio.create_task(self._run()) for _ in range(count)]

    async def end_of(self, cell: Cell) -> Crossing:
        """Wait for a cell's end; raise what it raised."""
        return await self._ends[cell.title]

    async def close(self) -> None:
        """Begin no other cell; wait for those under way and for the end of their fleets."""
        self._waiting.clear()
        await asyncio.gather(*self._lanes)

    async def _run(self) -> None:
        while self._waiting:
            self._fleets += 1
            fleet = Fleet(self._folder / f"fleet-{self._fleets}")
            try:
                await self._cross_with(fleet)
            finally:
                await fleet.close()

    async def _cross_with(self, fleet: Fleet) -> None:
        """Cross until a cell breaks a promise: what it left behind must not break the next."""
        is_open = False
        while self._waiting:
            cell = self._waiting.pop(0)
            end = self._ends[cell.title]
            try:
                if not is_open:
                    await fleet.open()
                    is_open = True
                crossing = await cross(fleet, cell.fault, cell.operation)
            except Exception as error:  # noqa: BLE001 - it is raised where the cell is asserted
                end.set_exception(error)
                return
            end.set_result(crossing)
            if crossing.broken:
                return
