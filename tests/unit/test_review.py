"""Settings that work and are perhaps not meant, by themselves and beside the plan."""

import pytest

from gateway.errors import BadSetting
from gateway.keepa.costs import CostTable
from gateway.settings import settings_apart
from gateway.views.review import check_endpoint_names, review_plan, review_settings

KEEPA = "https://api.keepa.com"


@pytest.fixture(autouse=True)
def _no_proxy_from_outside(monkeypatch):
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


def settings(**chosen):
    return settings_apart(**{"keepa_api_key": "a-key", "keepa_base_url": KEEPA, **chosen})


def reviewed(**chosen):
    return list(review_settings(settings(**chosen)))


def planned(refill_rate, **chosen):
    return list(review_plan(settings(**chosen), refill_rate))


def test_the_defaults_are_not_odd():
    """With nothing set there is nothing to say; neither is there on the plan of 20 a minute."""
    assert reviewed() == []
    assert planned(20) == []


@pytest.mark.parametrize(("costs", "told"), [
    ('{"deals": 5}', '{"deal": 5} is the default and changes nothing'),
    ('{"product": 1}', '{"product": 1} is the default and changes nothing'),
    ('{"prodct": 5}', 'no "prodct" that this version knows; did you mean "product"?'),
    ('{"zzz": 5}', 'no "zzz" that this version knows'),
])  # fmt: skip
def test_a_cost_that_changes_nothing_is_told(costs, told):
    """So is one of an endpoint that there is not, with the nearest; one that counts is not."""
    (line,) = reviewed(endpoint_costs=costs)
    assert line.startswith("ENDPOINT_COSTS: ")
    assert line.endswith(told)
    assert reviewed(endpoint_costs='{"deal": 6, "product": 2}') == []


@pytest.mark.parametrize(
    ("name", "url", "is_told"),
    [
        ("HTTPS_PROXY", KEEPA, True), ("https_proxy", KEEPA, True), ("ALL_PROXY", KEEPA, True),
        ("HTTP_PROXY", KEEPA, False), ("HTTP_PROXY", "http://keepa.example", True),
        ("HTTPS_PROXY", "simulator", False),
    ],
)  # fmt: skip
def test_a_proxy_that_is_not_used_is_told(monkeypatch, name, url, is_told):
    """By its variable's name alone, for its URL may have a password; NO_PROXY is heard."""
    monkeypatch.setenv(name, "http://user:hunter2@proxy.example:3128")
    lines = [line for line in reviewed(keepa_base_url=url) if "PROXY" in line.upper()]
    assert len(lines) == is_told
    assert all(line.startswith(f"{name} set, and not used") for line in lines)
    assert "hunter2" not in str(lines)
    monkeypatch.setenv("NO_PROXY", "keepa.com,keepa.example")
    assert not [line for line in reviewed(keepa_base_url=url) if "proxy" in line.lower()]


def test_an_empty_proxy_is_none(monkeypatch):
    """A variable that is set to nothing names no proxy."""
    monkeypatch.setenv("HTTPS_PROXY", "")
    assert reviewed() == []


@pytest.mark.parametrize(
    ("rate", "chosen", "told"),
    [
        (1, {}, ["ALERT_BALANCE=50 is more than half of the bucket of 60"]),
        (3000, {}, ["ALERT_BALANCE=50 is less than the 3000 tokens of one minute"]),
        (3000, {"alert_balance": 7500}, []), (1, {"alert_balance": 30}, []),
        (1, {"alert_balance": 30, "safety_buffer": 31}, ["SAFETY_BUFFER=31 is more than half"]),
        (20, {"min_balance_threshold": 601, "safety_buffer": 601, "alert_balance": 601},
         ["MIN_BALANCE_THRESHOLD=601 is more than half of the bucket of 1200",
          "SAFETY_BUFFER=601 is more", "ALERT_BALANCE=601 is more"]),
        (20, {"min_balance_threshold": 1200, "safety_buffer": 0, "alert_balance": 0},
         ["no call can ever run above MIN_BALANCE_THRESHOLD=1200: the bucket is 1200"]),
        # Below the floor it comes too late on any plan.
        (3000, {"alert_balance": 0}, []),
    ],
)  # fmt: skip
def test_thresholds_are_held_to_the_plan(rate, chosen, told):
    """What is on nearly always, comes too late or leaves nothing to spend is told."""
    lines = planned(rate, **chosen)
    assert len(lines) == len(told)
    for line, beginning in zip(lines, told, strict=True):
        assert line.startswith(beginning)


@pytest.mark.parametrize("path", ["product", "proxy/product", "deals", "token/"])
def test_a_base_url_with_an_endpoint_is_refused(path):
    """Each call brings its own endpoint; the line says what to write."""
    chosen = settings(keepa_base_url=f"http://127.0.0.1:8090/{path}")
    with pytest.raises(BadSetting) as caught:
        check_endpoint_names(chosen, CostTable({}))
    rest = path.strip("/").rpartition("/")[0]
    written = f"http://127.0.0.1:8090/{rest}".rstrip("/")
    assert str(caught.value).endswith(f": allowed is a URL without endpoint, as {written}")


@pytest.mark.parametrize("url", [KEEPA, "http://product", "http://127.0.0.1:8090/keepa"])
def test_a_base_url_without_an_endpoint_is_taken(url):
    """A path of a house's own proxy is, and so is a host that is named as an endpoint."""
    check_endpoint_names(settings(keepa_base_url=url), CostTable({}))


def test_a_mistyped_endpoint_of_a_policy_is_told_the_nearest():
    """As everything that can be mistyped."""
    chosen = settings(service_policies='{"batch": {"endpoints": ["prodcut"]}}')
    with pytest.raises(BadSetting, match='no "prodcut"; did you mean "product"'):
        check_endpoint_names(chosen, CostTable({}))
