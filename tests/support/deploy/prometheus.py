"""Prometheus as operators run it: Debian's `promtool`, and a server of a test's own."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from gateway.balance import UNKNOWN, Events
from gateway.metrics import Metrics
from support import ROOT
from support.callers.wire import ask
from support.redis.server import free_port
from support.waiting import until

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
MISSING = "Debian's package prometheus, with promtool, is not installed"

ALERTS = ROOT / "deploy/prometheus/alerts.yml"
CONFIGURATION = ROOT / "deploy/prometheus/prometheus.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboards/keepa-gateway.json"

# A metric's name in a query; histograms are used by the names of their series.
_METRIC = re.compile(r"\bkeepa_gateway_[a-z_]+")
_SERIES_OF_A_HISTOGRAM = re.compile(r"_(bucket|count|sum)$")
_ALERT = re.compile(r"^ {6}- alert: (\w+)\n(.*?)(?=^ {6}- |\Z)", re.MULTILINE | re.DOTALL)


def promtool(*words: object, text: str = "") -> str:
    """Run promtool on files or on a text; return what it says, fail where it is not content."""
    assert PROMTOOL, MISSING
    done = subprocess.run(
        [PROMTOOL, *map(str, words)],
        input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def check_queries(queries: list[str]) -> None:
    """Have promtool read each query; Grafana's variables stand for something there."""
    rules = "".join(
        f"      - record: query:{number}\n        expr: |\n          {' '.join(query.split())}\n"
        for number, query in enumerate(map(fill_in, queries))
    )
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(f"groups:\n  - name: queries\n    rules:\n{rules}")
        file.flush()
        promtool("check", "rules", file.name)


def fill_in(query: str) -> str:
    """Put values in the place of Grafana's variables."""
    for variable, value in (
        ("$__rate_interval", "1m"), ("$__range", "1h"), ("$job", "keepa-gateway"),
    ):  # fmt: skip
        query = query.replace(variable, value)
    return query


class Family(NamedTuple):
    """One family of the code, by its name without the prefix."""

    kind: str
    labels: frozenset[str]


def exposed_families() -> dict[str, Family]:
    """Return every family that the code exposes, with all its labels, as if all had happened."""
    metrics = Metrics(CollectorRegistry(), floor=10, safety_buffer=20)
    metrics.called("pricing", "product", "settled", upstream_seconds=1.0, added_seconds=0.1)
    metrics.consumed("pricing", "product", 1, 1)
    metrics.refused("pricing", "product", "floor")
    metrics.waited("admitted", 1.0)
    metrics.repeated("product", "1h", 1)
    metrics.replied("reserve", 0.001, Events(1, 1, 1, 1, 1, 1, "holds_lost"))
    metrics.show(UNKNOWN, 0)
    metrics.watch_breaker(lambda: False, lambda: [("pricing", "product", True)])
    return {
        family.name.removeprefix("keepa_gateway_") + "_total" * (family.type == "counter"): Family(
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels) - {"le"},
        )
        for family in text_string_to_metric_families(metrics.expose().decode())
    }


def families_in(query: str) -> set[str]:
    """Return the gateway's families that a query reads, without the prefix."""
    return {
        _SERIES_OF_A_HISTOGRAM.sub("", name).removeprefix("keepa_gateway_")
        for name in _METRIC.findall(query)
    }


class Alert(NamedTuple):
    """One rule of alerts.yml, as text."""

    name: str
    text: str

    def value(self, field: str) -> str:
        """Return a field's value; empty where there is none."""
        indent = r"^ +" + field + r": *"
        block = re.search(indent + r"[|>]-?\n((?: {10,}.*\n)+)", self.text, re.MULTILINE)
        line = re.search(indent + r"(.+)$", self.text, re.MULTILINE)
        found = block or line
        return found[1].strip().strip("'\"") if found else ""


def read_alerts() -> list[Alert]:
    """Return all rules of alerts.yml: there is no YAML in Python's library."""
    return [Alert(name, text) for name, text in _ALERT.findall(ALERTS.read_text(encoding="utf-8"))]


class Prometheus:
    """A server on loopback that scrapes and evaluates twice a second; ended by its own id."""

    def __init__(self, folder: Path, targets: list[str], rules: str) -> None:
        assert PROMETHEUS, MISSING
        folder.mkdir()
        (folder / "alerts.yml").write_text(rules)
        (folder / "prometheus.yml").write_text(self._configure(targets))
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    PROMETHEUS,
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                cwd=folder, env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip

    @staticmethod
    def _configure(targets: list[str]) -> str:
        """Return the configuration that operators get, with other targets and in a hurry."""
        text = CONFIGURATION.read_text(encoding="utf-8")
        for found, instead in (
            (r"_interval: 15s", "_interval: 500ms"),
            (r"targets: \[gateway-.*\]", f"targets: [{', '.join(targets)}]"),
        ):
            text, count = re.subn(found, instead, text)
            assert count, found
        return text

    async def started(self) -> Self:
        async def is_ready() -> bool:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            try:
                return (await ask(self.url, "/-/ready")).status == 200
            except OSError:
                return False

        await until(is_ready)
        return self

    async def ask(self, path: str) -> Any:
        answer = await ask(self.url, f"/api/v1/{path}")
        assert answer.status == 200, answer.body
        return answer.json()["data"]

    async def query(self, query: str) -> list[dict[str, Any]]:
        """Return what an instant query finds: samples with `metric` and `value`."""
        return (await self.ask(f"query?query={quote(query, safe='')}"))["result"]

    async def alerts(self, name: str) -> list[dict[str, Any]]:
        """Return the alerts of that name, pending and firing."""
        alerts = (await self.ask("alerts"))["alerts"]
        return [alert for alert in alerts if alert["labels"]["alertname"] == name]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
