"""A background job that crashes: started again, or, where that does not help, the process ends."""

import sys
from pathlib import Path

import pytest
from support.callers.crowd import ONE_TOKEN, Slow
from support.gateways.processes import Gateway
from support.waiting import until

pytestmark = pytest.mark.e2e


class FaultyGateway(Gateway):
    """`keepa-gateway serve` whose observer crashes while a file is there."""

    command = (sys.executable, "-m", "e2e.serve_crashing")

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__(folder, pythonpath=Path(__file__).parents[1], **settings)
        self.fault = self.folder / "fault"


async def test_a_crashed_observer_comes_back_and_one_that_keeps_crashing_ends_the_process(
    machines, redis, tmp_path
):
    """After one crash it serves on; after five, calls in flight end, then the process, with 1."""
    simulator = await machines.simulate().started()
    gateway = FaultyGateway(
        tmp_path / "faulty",
        keepa_base_url=simulator.url,
        redis_url=redis.url,
        balance_max_age_seconds=1,
    )
    try:
        await (await gateway.started()).ready()
        gateway.fault.touch()
        await until(lambda: gateway.logged("job_crashed"))
        gateway.fault.unlink()

        async def is_back() -> bool:
            return (await gateway.metrics())["job_restarts_total"] >= 1

        await until(is_back)
        assert (await gateway.ask(ONE_TOKEN)).status == 200
        (crash, *_) = gateway.logged("job_crashed")
        assert (crash["job"], "AttributeError" in str(crash)) == ("observer", True)

        gateway.fault.touch()
        slow = Slow([gateway], 4, 6000)
        assert await gateway.ended(20) == 1
        assert await slow.verdicts() == {"200": 4}
        events = [line["event"] for line in gateway.lines()]
        assert "resolutions_unconfirmed" not in events
        assert events.index("job_keeps_crashing") < events.index("stopped")
    finally:
        if not gateway.has_ended:
            gateway.kill()
    other = await machines.serve(keepa_base_url=simulator.url, redis_url=redis.url).started()
    assert await other.reserved() == 0
