"""docs/metrics.md is held to the code, both ways."""

import math
import re

import pytest
from prometheus_client import CollectorRegistry
from support.deploy.prometheus import (
    MISSING,
    PROMTOOL,
    ROOT,
    check_queries,
    exposed_families,
    families_in,
)

from gateway import errors
from gateway.ledger import scripts
from gateway.metrics import Metrics

PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
SECTION = re.compile(
    r"### `keepa_gateway_(?P<name>\w+)`\n\n(?P<facts>.+)\n\n(?P<meaning>[^#]{20,}?)"
    r"```promql\n(?P<query>.+)\n```\n"
)
UNITS = {
    "calls",
    "tokens",
    "tokens per minute",
    "reservations",
    "times",
    "restarts",
    "seconds",
    "0 or 1",
    "1",
}
SCOPES = {"", "ledger", "replica", "once in total"}


def read_facts(facts):
    """Return kind, unit, labels and scope from `kind, unit; labels; scope`, the last two if any."""
    kind, _, rest = facts.partition(", ")
    unit, *parts = rest.split("; ")
    scope = parts.pop() if parts and "`" not in parts[-1] else ""
    return kind, unit, frozenset(re.findall(r"`(\w+)`", " ".join(parts))), scope


EXPOSED = exposed_families()
DOCUMENTED = {found["name"]: found for found in SECTION.finditer(PAGE)}


def test_each_family_is_documented_and_nothing_else():
    """Each family has its section, and each section its family."""
    assert set(DOCUMENTED) == set(EXPOSED)
    assert len(DOCUMENTED) == PAGE.count("\n### ")


@pytest.mark.parametrize("name", DOCUMENTED)
def test_type_unit_and_labels_are_those_of_the_code(name):
    """A section's type and labels are the family's; its unit is the one in the name."""
    kind, unit, labels, scope = read_facts(DOCUMENTED[name]["facts"])
    assert (kind, labels) == EXPOSED[name]
    assert unit in UNITS
    assert scope in SCOPES
    for word in ("tokens", "seconds", "calls"):
        # `requests` and `denied` count calls, too.
        assert (word in name) <= (word in unit), name
    assert ("per_minute" in name) == ("per minute" in unit)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_ledger_gauges_are_those_that_the_store_tells(name):
    """What is marked as the ledger's is NaN without the store, and nothing else is."""
    registry = CollectorRegistry()
    Metrics(registry, floor=10, safety_buffer=20).show(None)
    value = registry.get_sample_value(f"keepa_gateway_{name}")
    _, _, _, scope = read_facts(DOCUMENTED[name]["facts"])
    assert (scope == "ledger") == (value is not None and math.isnan(value))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_each_family_has_a_query_of_its_own(name):
    """The example reads the family that it stands under, and only such as there are."""
    query = DOCUMENTED[name]["query"]
    used = families_in(query)
    assert name in used
    assert used <= set(EXPOSED)


@pytest.mark.skipif(not PROMTOOL, reason=MISSING)
def test_queries_can_be_asked():
    """Every example is a query that Prometheus understands."""
    check_queries([found["query"] for found in DOCUMENTED.values()])


def values_of(label):
    row = re.search(rf"^\| `{label}`[^|]*\|(.*)\|$", PAGE, re.MULTILINE)
    assert row, label
    return set(re.findall(r"`(\w+)`", row[1]))


def test_reasons_are_those_of_refusals():
    """The label `reason` has the refusals' reasons, and every label of a family is told of."""

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    reasons = {kind.reason for kind in kinds if issubclass(kind, errors.Refusal)}
    assert values_of("reason") == reasons
    assert values_of("script") == {script.name for script in scripts.ALL}
    told = set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE))
    assert told == {label for family in EXPOSED.values() for label in family.labels}
