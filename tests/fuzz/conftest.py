"""Properties on inputs that nobody thought of; short with all other tests, long by `make fuzz`."""

import pytest
from support.exploring import Explorer

_TOLD = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-seconds",
        type=float,
        default=0,
        help="how long each property is tried (with tests/fuzz on the command line)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TOLD] = []


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Print what was tried: a fuzz that did nothing looks like one that found nothing."""
    told = config.stash.get(_TOLD, [])
    if told:
        terminalreporter.section("fuzz")
    for line in told:
        terminalreporter.write_line(line)


@pytest.fixture
def fuzz_seconds(request: pytest.FixtureRequest) -> float:
    return request.config.getoption("--fuzz-seconds", default=0)


@pytest.fixture
def tell(request: pytest.FixtureRequest):
    """Return what takes a line for the end of the run."""
    return request.config.stash.setdefault(_TOLD, []).append


@pytest.fixture
def explorer(fuzz_seconds, tell) -> Explorer:
    return Explorer(fuzz_seconds, tell)
