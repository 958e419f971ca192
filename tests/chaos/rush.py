"""Three services on one budget, saturated for minutes across lumps, on two gateways.

`PYTHONPATH=tests python -m chaos.rush --minutes 5` prints who got what and who waited how long, and
exits with 1 where a promise was broken.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from support.gateways.processes import Machines
from support.redis.server import RedisServer
from support.rush.books import Books, describe
from support.rush.rush import FLOOR, Plan, Rush, parties_of

RATE = 600
TOKENS = 700
CAP = 500
# Lumps fall in the middle of each minute of calls, so that the last one can be spent as well.
FIRST_LUMP_SECONDS = 35.0
PATIENCE = (2, 5, 10, 20, 40, 60)


async def run(minutes: float, seed: int, folder: Path) -> list[str]:
    """Run it; print what was seen and return what was broken."""
    plan = Plan(RATE, TOKENS, FIRST_LUMP_SECONDS, minutes * 60, PATIENCE)
    rush = Rush(plan, parties_of(CAP), seed)
    machines = Machines(folder)
    (folder / "redis").mkdir()
    redis = RedisServer(folder / "redis")
    try:
        await rush.open(machines, redis)
        await rush.run()
        settled_after = await rush.settled()
        books = Books(rush, await rush.simulator.state())
        broken = books.judge()
        status = await rush.gateways[0].status()
    finally:
        machines.end_all()
        redis.kill()
    for party in rush.parties:
        print(describe(party, books.shares[party.name]))
    for name, value in books.figures().items():
        print(f"{name:28} {value}")
    print(f"{'settled_seconds':28} {settled_after}")
    if status:
        print(f"{'research, this hour':28} {status['services']['research']['hour']}")
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.rush", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the callers")
    options = parser.parse_args()
    print(f"seed {options.seed}, floor {FLOOR}, {RATE} tokens a minute, {TOKENS} to begin with")
    with tempfile.TemporaryDirectory() as folder:
        broken = asyncio.run(run(options.minutes, options.seed, Path(folder)))
    for what in broken[:20]:
        print(f"BROKEN: {what}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
