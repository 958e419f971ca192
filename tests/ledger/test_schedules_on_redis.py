"""Random schedules of a fleet on a real Redis."""

import pytest
from support.fleet.homes import RedisHome
from support.fleet.schedules import Schedule, play
from support.redis.server import RedisServer

pytestmark = pytest.mark.long


def test_no_schedule_crosses_the_floor_on_redis(redis_server: RedisServer, more: int) -> None:
    """The same on a real Redis, whose clock runs on; what it finds, the embedded store shrinks."""
    play(lambda: Schedule(RedisHome(redis_server.url)), examples=25 * more, steps=40, shrinks=False)
