"""The alert rules: tried by promtool, complete, and each with a section in the runbook."""

import json
import re

import pytest
from support.deploy.prometheus import (
    ALERTS,
    CONFIGURATION,
    DASHBOARD,
    MISSING,
    PROMTOOL,
    ROOT,
    exposed_families,
    families_in,
    promtool,
    read_alerts,
)

from gateway import errors
from gateway.ledger.redis.link import ELSEWHERE
from gateway.ledger.redis.trouble import HINTS
from gateway.settings import Settings

RULES = read_alerts()
# Codes that Redis refuses with.
REDIS_ERRORS = {*HINTS, *ELSEWHERE, "BUSY", "WRONGPASS"}
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
TRIALS = sorted(ALERTS.parent.glob("alerts*_test.yml"))
TRIED = "".join(path.read_text(encoding="utf-8") for path in TRIALS)
PARTS = ("**What it means.**", "**What to look at.**", "**What to do.**")
SOURCES = "".join(
    path.read_text(encoding="utf-8")
    for pattern in ("*.py", "*.lua")
    for path in (ROOT / "gateway").rglob(pattern)
)

needs_promtool = pytest.mark.skipif(not PROMTOOL, reason=MISSING)
each_alert = pytest.mark.parametrize("alert", RULES, ids=lambda alert: alert.name)


@needs_promtool
def test_rules_and_configuration_are_well_formed():
    """Prometheus takes the rules and the configuration that loads them, and none is overlooked."""
    assert f"{len(RULES)} rules found" in promtool("check", "rules", ALERTS)
    promtool("check", "config", CONFIGURATION)


@pytest.mark.long
@needs_promtool
@pytest.mark.parametrize("trial", TRIALS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(trial):
    """Each alert fires on the series that are made for it, and stays quiet on the others."""
    assert "SUCCESS" in promtool("test", "rules", trial)


@each_alert
def test_each_alert_is_tried_both_ways(alert):
    """For each alert there is a time at which it has to fire, and one at which it may not."""
    times = re.findall(
        rf"- alertname: {alert.name}\n +eval_time: .+\n +exp_alerts:(.*)\n( +- exp_labels)?", TRIED
    )
    quiet = [text for text, _ in times if text.strip() == "[]"]
    fires = [text for text, labels in times if labels or text.strip().startswith("*")]
    assert quiet
    assert fires


@each_alert
def test_alert_says_what_a_woken_person_needs(alert):
    """An alert has a severity, a summary of one line, a description, and a link to go on with."""
    assert alert.value("severity") in {"critical", "warning", "info"}
    assert 10 < len(alert.value("summary")) < 120
    assert len(alert.value("description")) > 60
    assert alert.value("runbook_url") == f"docs/runbook.md#{alert.name.lower()}"


@each_alert
def test_section_tells_meaning_looks_and_steps_in_that_order(alert):
    """The section names the same severity, then what it means, what to look at, what to do."""
    section = SECTIONS[alert.name]
    assert section.startswith(f"\n`{alert.value('severity')}`\n")
    assert [section.count(part) for part in PARTS] == [1, 1, 1]
    assert sorted(PARTS, key=section.index) == list(PARTS)


def test_no_section_without_an_alert():
    """An alert that is gone is gone from the runbook too."""
    assert RULES
    assert set(SECTIONS) == {alert.name for alert in RULES}


@each_alert
def test_alerts_read_metrics_that_there_are(alert):
    """Every metric in a rule is one of the gateway's, and every reason one of a refusal's."""
    expression = alert.value("expr")
    used = families_in(expression)
    assert used <= set(exposed_families())
    assert used or "up{" in expression

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    reasons = {kind.reason for kind in kinds if issubclass(kind, errors.Refusal)}
    for named in re.findall(r'reason=~"(.+?)"', expression):
        assert set(named.split("|")) <= reasons


def test_what_the_runbook_names_is_there():
    """Settings, metrics, log events, panels and links of the runbook are real ones."""
    assert families_in(RUNBOOK) <= set(exposed_families())
    words = set(re.findall(r"`([A-Za-z_]+)(?:=\w+)?`", RUNBOOK))
    settings = {name.upper() for name in Settings.model_fields}
    assert HINTS.keys() <= words
    for word in words:
        if word.isupper():
            assert word in settings | REDIS_ERRORS | {"FLUSHALL"}, word
        elif "_" in word and not word.startswith("keepa_gateway_"):
            assert re.search(rf"\b{word}\b", SOURCES), word
    panels = {panel["title"] for panel in json.loads(DASHBOARD.read_bytes())["panels"]}
    assert set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", RUNBOOK)) <= panels
    anchors = {name.lower() for name in SECTIONS}
    assert set(re.findall(r"\]\(#(\w+)\)", RUNBOOK)) <= anchors
