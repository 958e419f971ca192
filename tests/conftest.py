"""For all tests: in CI a skipped test is a failure."""

import os

import pytest


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a CI run that skipped anything: there every program that a test needs is installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", [])) if reporter else 0
    if skipped and os.environ.get("CI") == "true" and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"{skipped} skipped, and in CI nothing may be", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
