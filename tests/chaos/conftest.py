"""How much of the table runs, and what it told in all."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from support.measure import vitals
from support.redis.server import MISSING, REDIS_SERVER

from chaos.lanes import Lanes
from chaos.promises import Crossing
from chaos.table import LEFT_OUT, TABLE, diagonal

_CROSSING = "crossing"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--chaos",
        choices=("short", "full"),
        default="short",
        help="short: every fault once; full: every fault with every operation "
        "(with tests/chaos on the command line)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        is_full = metafunc.config.getoption("--chaos", default="short") == "full"
        cells = TABLE if is_full else diagonal()
        metafunc.parametrize("cell", cells, ids=[cell.title for cell in cells])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lanes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Lanes]:
    """The fleets, at work on the cells that were selected."""
    if not REDIS_SERVER:
        pytest.skip(MISSING)
    if not vitals.IS_THERE:
        pytest.skip(vitals.MISSING)
    selected = [
        item.callspec.params["cell"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and "cell" in item.fixturenames
    ]
    lanes = Lanes(tmp_path_factory.mktemp("chaos"), selected)
    yield lanes
    await lanes.close()


@pytest.fixture
def note_crossing(record_property):
    """Return what notes a cell's figures, for `pytest -rP`, the report and the sum of all."""

    def note(crossing: Crossing) -> None:
        figures = crossing.figures()
        # By the test's report, which comes home from wherever the test ran.
        record_property(_CROSSING, {"title": crossing.title, **figures})
        print("figures:", ", ".join(f"{name}={v}" for name, v in figures.items()))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed"))
    crossings = [
        told for report in reports for name, told in report.user_properties if name == _CROSSING
    ]
    if not crossings:
        return
    refused = max(crossings, key=lambda crossing: crossing["slowest_refusal"])
    recovered = max(crossings, key=lambda crossing: crossing["recovery"])
    faults = {crossing["title"].partition(" x ")[0] for crossing in crossings}
    leaks = sum(crossing["holds_left"] != 0 for crossing in crossings)
    terminalreporter.write_line(
        f"chaos: {len(faults)} faults, {len(crossings)} crossings ({len(LEFT_OUT)} pairs left out "
        f"of the full table), {leaks} with holds left; "
        f"lowest balance {min(crossing['lowest'] for crossing in crossings)}; "
        f"slowest refusal {refused['slowest_refusal']:.2f} s ({refused['title']}); "
        f"slowest recovery {recovered['recovery']:.2f} s ({recovered['title']}); "
        f"most grown {max(crossing['grown_mb'] for crossing in crossings)} MB"
    )
