"""Random schedules of a whole fleet: the promises that hold in any order of events.

The scripts, the ledger and the stores are the real ones; Keepa and time are played: see
support/fleet/fleet.py, where the promise's conditions stand too.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from support.fleet.fleet import Fleet
from support.fleet.homes import LEARNING_MS, Home
from support.fleet.moves import WEIGHTS, Moves


class Schedule(RuleBasedStateMachine):
    """Any order of what gateways, Keepa and fate can do.

    Perhaps somebody else spends, or calls may overdraw the bucket.
    """

    def __init__(self, home: Home, *, outsider: bool = False, overdraft: bool = False) -> None:
        super().__init__()
        self.home = home
        self.outsider = outsider
        self.overdraft = overdraft
        self.runner = asyncio.Runner()
        self.failed = False
        self.runner.run(home.open())

    def run(self, play: Coroutine[Any, Any, None]) -> None:
        self.failed = True
        self.runner.run(play)
        self.failed = False

    @initialize(
        gateways=st.integers(1, 3),
        floor=st.sampled_from([10, 0, 40, -30]),
        rate=st.sampled_from([5, 1, 2, 20]),
        flow=st.sampled_from([0, 0.5, 0.25, 0.75]),
        lack=st.sampled_from([0, 1, 30, 100, 1_000]),
        first_lump_in_ms=st.integers(1, 60_000),
        delay_ms=st.integers(0, 3_000),
    )
    def begin(self, **account: Any) -> None:
        self.run(self._begin(**account))

    async def _begin(
        self, *, gateways: int, floor: int, rate: int, lack: int, delay_ms: int, **bucket: Any
    ) -> None:
        fleet = Fleet(self.home, gateways=gateways, floor=floor, outsider=self.outsider)
        fleet.open_account(max(floor + 20, 60 * rate - lack), rate, **bucket)
        await fleet.observe_now(0, delay_ms=delay_ms)
        await fleet.pass_time(LEARNING_MS)
        self.fleet, self.moves = fleet, Moves(fleet, overdraft=self.overdraft)

    @rule(
        what=st.sampled_from([name for name, weight in WEIGHTS.items() for _ in range(weight)]),
        pick=st.integers(0, 11),
        number=st.integers(0, 3_000),
    )
    def move(self, what: str, pick: int, number: int) -> None:
        self.run(self._move(what, pick, number))

    async def _move(self, what: str, pick: int, number: int) -> None:
        await getattr(self.moves, what)(pick, number)
        await self.fleet.check()
        if pick % 3 == 0 and not self.outsider:
            await self.fleet.look_for_too_much()
            await self.fleet.check()

    def teardown(self) -> None:
        try:
            if hasattr(self, "fleet") and not self.failed:
                self.run(self.fleet.quiet())
                self.run(self.fleet.check())
        finally:
            self.runner.run(self.home.close())
            self.runner.close()


def play(make: Callable[[], Schedule], examples: int, steps: int, *, shrinks: bool = True) -> None:
    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            phases=[Phase.reuse, Phase.generate, *([Phase.shrink] if shrinks else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )
