"""For all tests: what a quick run leaves out; a log for each; in CI a skipped test is a failure."""

import logging
import os
import sys
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

# Fixtures that start Redis servers, beside those named `..._server`.
_SERVERS = {"redis", "watched", "loosely_watched", "cluster", "tls"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a developer run what needs no Redis server, or explore for longer."""
    what = "try less of each property; leave out long tests and Redis servers"
    parser.addoption("--quick", action="store_true", help=what)
    what = "play so many times as many random schedules of a fleet (tests/ledger/test_schedules*)"
    parser.addoption("--schedules", type=int, default=1, help=what)


def pytest_configure(config: pytest.Config) -> None:
    """In a quick run try fewer examples of each property, where it does not say how many."""
    # A deadline of hypothesis counts what other processes take; tests of time measure their own.
    settings.register_profile("whole", deadline=None)
    settings.register_profile("quick", deadline=None, max_examples=15)
    settings.load_profile("quick" if config.getoption("quick") else "whole")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out of a quick run what explores for long, and what starts a Redis server."""
    if not config.getoption("quick"):
        return
    slow = [item for item in items if item.get_closest_marker("long") or _wants_redis(item)]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


def _wants_redis(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return "redis" in parameters.values() or any(
        name.endswith("_server") or name in _SERVERS for name in fixtures
    )


@pytest.fixture(autouse=True)
def log_set_up_by_none() -> Iterator[None]:
    """Undo a log's set-up (each command has its own): its stream ends with the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    if not structlog.is_configured():
        return
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, module in list(sys.modules.items()):
        if name.startswith("gateway.") and (log := getattr(module, "_log", None)):
            # What the first use cached.
            vars(log).pop("bind", None)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a CI run that skipped anything: there every program that a test needs is installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", [])) if reporter else 0
    if skipped and os.environ.get("CI") == "true" and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"{skipped} skipped, and in CI nothing may be", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
