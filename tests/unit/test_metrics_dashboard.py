"""The Grafana dashboard is held to the metrics."""

import json
import re

import pytest
from support.deploy.prometheus import (
    CONFIGURATION,
    DASHBOARD,
    MISSING,
    PROMTOOL,
    ROOT,
    check_queries,
    exposed_families,
    families_in,
)

BOARD = json.loads(DASHBOARD.read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
PROVISIONING = ROOT / "deploy/grafana/provisioning"
COLUMNS = 24

each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


def queries(panel):
    return [target["expr"] for target in panel["targets"]]


@each_panel
def test_panel_has_title_unit_and_words(panel):
    """Whoever looks at a panel knows what it shows, in what unit."""
    assert panel["title"].strip()
    assert panel["fieldConfig"]["defaults"]["unit"].strip()
    assert len(panel["description"]) > 10


@each_panel
def test_panel_reads_metrics_that_there_are(panel):
    """Every metric of a panel is one of the gateway's, of the account that was chosen."""
    for query in queries(panel):
        used = families_in(query)
        assert used <= set(exposed_families())
        assert used or query.startswith(("up{", "sum(up{"))
        # Each selector, those of histograms too, is of the chosen job.
        assert len(re.findall(r'(?:keepa_gateway_\w+|\bup)\{job="\$job"', query)) == len(
            re.findall(r"keepa_gateway_\w+|\bup\b", query)
        )


@each_panel
def test_panel_asks_the_chosen_data_source(panel):
    """No panel is tied to the data source of the Grafana it was made in."""
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert {source["uid"] for source in sources} == {"${datasource}"}


@pytest.mark.skipif(not PROMTOOL, reason=MISSING)
def test_queries_can_be_asked():
    """Every query of the dashboard is one that Prometheus understands."""
    check_queries([query for panel in PANELS for query in queries(panel)])


def test_panels_have_a_place_each():
    """Panels have numbers of their own, and none lies on another."""
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < COLUMNS
        assert not cells & taken
        taken |= cells


def test_ledger_gauges_are_never_added_up():
    """What every replica tells alike is not counted once for each of them."""
    for panel in PANELS:
        for query in queries(panel):
            if re.search(r"\bsum\b[^(]*\(keepa_gateway_(tokens|refill|balance|waiting)", query):
                assert "_total" in query


def test_provisioning_finds_what_it_names():
    """Grafana's data source and dashboard folder are those of this deployment."""
    source = (PROVISIONING / "datasources/prometheus.yml").read_text(encoding="utf-8")
    interval = re.search(r"scrape_interval: (\w+)", CONFIGURATION.read_text(encoding="utf-8"))
    assert interval
    assert f"timeInterval: {interval[1]}" in source
    assert "type: prometheus" in source
    provider = (PROVISIONING / "dashboards/keepa-gateway.yml").read_text(encoding="utf-8")
    assert "path: /var/lib/grafana/dashboards" in provider
    assert BOARD["uid"] == DASHBOARD.stem
