"""Processes of a test's own, ended with it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.gateways.processes import Machines
from support.redis.server import RedisServer, lend


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--storm-seconds",
        type=float,
        default=6,
        help="how long mixed calls with every fault go on (with tests/e2e on the command line)",
    )


@pytest.fixture
def storm_seconds(request: pytest.FixtureRequest) -> float:
    return request.config.getoption("--storm-seconds", default=6)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    machines = Machines(tmp_path)
    yield machines
    machines.end_all()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server to empty, halt, kill and set back."""
    folder = tmp_path / "redis"
    folder.mkdir()
    yield from lend(RedisServer, folder)


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Return what notes figures of interest, for `pytest -rP` and the report to show."""

    def note(**values: object) -> None:
        for name, value in values.items():
            # As text, which every report can carry.
            record_property(name, str(value))
        print("figures:", ", ".join(f"{name}={value}" for name, value in values.items()))

    return note
