"""Properties on inputs that nobody thought of; short with all other tests, long by `make fuzz`."""

import pytest
from support.measure.exploring import Explorer

_TOLD = "told by a fuzz"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-seconds",
        type=float,
        default=0,
        help="how long each property is tried (with tests/fuzz on the command line)",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was tried: a fuzz that did nothing looks like one that found nothing."""
    reports = (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed"))
    told = [text for report in reports for name, text in report.user_properties if name == _TOLD]
    if told:
        terminalreporter.section("fuzz")
    for line in told:
        terminalreporter.write_line(line)


@pytest.fixture
def fuzz_seconds(request: pytest.FixtureRequest) -> float:
    return request.config.getoption("--fuzz-seconds", default=0)


@pytest.fixture
def tell(record_property):
    """Return what takes a line for the end of the run."""
    # By the test's report, which comes home from wherever the test ran.
    return lambda line: record_property(_TOLD, line)


@pytest.fixture
def explorer(fuzz_seconds, tell) -> Explorer:
    return Explorer(fuzz_seconds, tell)
