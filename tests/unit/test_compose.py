"""deploy/compose.yaml is well-formed, and agrees with the gateway and with what it mounts."""

import re
import subprocess
import sys

import pytest
import yaml
from support.deploy.front import CADDY, CADDYFILE, make_certificate, needs_front
from support.deploy.prometheus import MISSING, PROMETHEUS, PROMTOOL, promtool
from support.deploy.topology import COMPOSE, DEPLOY, GATEWAYS, SERVICES, SIMULATOR_ENV, mounted

from gateway import __version__
from gateway.commands import cli
from gateway.settings import Settings, read_settings

FRONT = SERVICES["front"]["environment"]
CADDY_TEXT = CADDYFILE.read_text(encoding="utf-8")
PLACEHOLDERS = dict(re.findall(r"\{\$(\w+):?([^}]*)\}", CADDY_TEXT))
# What compose itself reads of simulator.env.
OF_COMPOSE = {"COMPOSE_PROFILES", "SETTINGS"}
OWN_IMAGE = f"keepa-gateway:{__version__}"

each_service = pytest.mark.parametrize("name", SERVICES)
each_gateway = pytest.mark.parametrize("name", GATEWAYS)


def default(name):
    return Settings.model_fields[name].get_default()


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s)", text).groups()
    return int(number) / (1000 if unit == "ms" else 1)


def caddy_option(name):
    return re.search(rf"^\t+{name} (.+)$", CADDY_TEXT, re.MULTILINE)[1]


def test_it_is_well_formed():
    """Compose's own schema takes the file."""
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*checker, str(DEPLOY / "compose.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@each_service
def test_each_service_is_confined_and_watched(name):
    """No service may write to its image or has a capability too many; each tells how it is."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"]


@each_service
def test_each_image_has_an_exact_tag(name):
    """What is started today is started tomorrow; our own image has our version."""
    image = SERVICES[name]["image"]
    assert (
        image == OWN_IMAGE if "build" in SERVICES[name] else re.search(r":v?\d+\.\d+\.\d+", image)
    )


@each_service
def test_what_a_service_waits_for_is_there(name):
    """Each dependency is a service that can become healthy."""
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] == "service_healthy"
        assert how.get("required", True) is ("profiles" not in SERVICES[other])


@pytest.mark.parametrize("name", ["front", "redis", "prometheus", "grafana"])
def test_what_is_mounted_is_there(name):
    """Each file and folder that a service sees is in the repository."""
    for outside in mounted(name).values():
        assert outside.exists(), outside


@pytest.mark.parametrize("name", ["redis", "prometheus", "front"])
def test_configuration_is_where_its_program_looks(name):
    """The file that a command names is mounted."""
    words = [word.rpartition("=")[2] for word in SERVICES[name]["command"]]
    (file,) = [word for word in words if word.startswith("/etc/")]
    assert any(
        file == inside or (outside / file.removeprefix(f"{inside}/")).is_file()
        for inside, outside in mounted(name).items()
    )


@pytest.mark.parametrize("name", [*GATEWAYS, "simulator"])
def test_our_own_commands_are_known(name):
    """The command line takes what our services are started with, after the image's entry point."""
    assert cli.read_arguments(SERVICES[name]["command"]).run


@each_gateway
def test_the_gateways_variables_are_settings(name, monkeypatch, tmp_path):
    """Each variable is one of the gateway's, and together they are good settings."""
    chosen = {key: value for key, value in SIMULATOR_ENV.items() if key not in OF_COMPOSE}
    chosen |= SERVICES[name]["environment"]
    assert {key.lower() for key in chosen} <= Settings.model_fields.keys()
    for key, value in chosen.items():
        monkeypatch.setenv(key, value)
    assert read_settings(tmp_path / "none").keepa_base_url == "http://simulator:8090"


def test_the_gateways_are_alike():
    """But for where operators find them."""
    first, second = ({**SERVICES[name], "ports": None} for name in GATEWAYS)
    assert first == second


def test_names_and_ports_agree():
    """Who calls a service knows its name and its port."""
    gateway = SERVICES["gateway-1"]
    port = gateway["environment"]["PORT"]
    addresses = [f"{name}:{port}" for name in GATEWAYS]
    assert FRONT["GATEWAYS"].split() == addresses
    scraping = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    assert scraping["scrape_configs"][0]["static_configs"] == [{"targets": addresses}]
    assert f"127.0.0.1:{port}/readyz" in gateway["healthcheck"]["test"][-1]
    assert gateway["environment"]["REDIS_URL"] == "redis://redis:6379/0"
    assert set(SERVICES["redis"]["networks"]) <= set(gateway["networks"])

    simulator = cli.read_arguments(SERVICES["simulator"]["command"])
    assert SIMULATOR_ENV["KEEPA_BASE_URL"] == f"http://simulator:{simulator.port}"
    assert SIMULATOR_ENV["KEEPA_API_KEY"] == simulator.key
    assert SIMULATOR_ENV["COMPOSE_PROFILES"] in SERVICES["simulator"]["profiles"]
    assert (DEPLOY / SIMULATOR_ENV["SETTINGS"]).is_file()
    source = (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    assert "url: http://prometheus:9090\n" in source
    for name, inside in (("gateway-1", port), ("prometheus", "9090"), ("front", "443")):
        (published,) = SERVICES[name]["ports"]
        assert published.endswith(f":{inside}")
    assert FRONT["LISTEN_PORT"] == "443"


@each_service
def test_only_the_front_is_seen_from_outside(name):
    """All else is published on the machine's own address, and Redis not at all."""
    ports = SERVICES[name].get("ports", [])
    assert name == "front" or all(port.startswith("127.0.0.1:") for port in ports)
    assert name != "redis" or not ports
    assert COMPOSE["networks"]["ledger"] == {"internal": True}


@each_gateway
def test_a_gateway_has_time_to_stop(name):
    """Nobody kills it before its last call has had all its time; the front sees it drain."""
    drain = float(SERVICES[name]["environment"]["DRAIN_SECONDS"])
    needed = drain + default("upstream_timeout_seconds") + 10
    assert seconds(SERVICES[name]["stop_grace_period"]) >= needed
    check = seconds(caddy_option("health_interval")), seconds(caddy_option("health_timeout"))
    assert drain > sum(check)


def test_the_front_waits_longer_than_any_call():
    """The gateway's own time-outs come first, so that it knows what became of the call."""
    longest = seconds(PLACEHOLDERS["LONGEST_CALL"])
    assert longest > default("max_wait_seconds") + default("upstream_timeout_seconds") + 5
    assert seconds(SERVICES["front"]["stop_grace_period"]) > longest


def test_the_fronts_variables_are_the_caddyfiles():
    """Compose sets what the Caddyfile asks for without a default, and nothing unknown."""
    needed = {name for name, default in PLACEHOLDERS.items() if not default}
    assert needed <= FRONT.keys() <= PLACEHOLDERS.keys()
    for name in SERVICES["front"]["secrets"]:
        assert f"/run/secrets/{name}" in FRONT.values()
        assert name in COMPOSE["secrets"]


@needs_front
def test_caddy_takes_the_caddyfile(tmp_path):
    """As it is with the environment of compose, and written as Caddy itself would write it."""
    make_certificate(tmp_path)
    files = {"TLS_CERTIFICATE": tmp_path / "front.crt", "TLS_KEY": tmp_path / "front.key"}
    environment = {key: str(value) for key, value in {**FRONT, **files}.items()}
    home = {name: str(tmp_path) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    for words in (
        ["validate", "--config", CADDYFILE, "--adapter", "caddyfile"],
        ["fmt", CADDYFILE],
    ):
        done = subprocess.run(
            [CADDY, *words],
            env={**environment, **home}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert done.stdout == CADDY_TEXT


@needs_front
def test_a_certificate_has_the_names_that_were_asked_for(tmp_path):
    """The certificate is for the given names and addresses too; a second one keeps the CA."""
    authority = make_certificate(tmp_path, "gateway.example", "10.0.0.5").read_bytes()
    assert make_certificate(tmp_path, "gateway.example", "10.0.0.5").read_bytes() == authority
    shown = subprocess.check_output(
        ["openssl", "x509", "-in", tmp_path / "front.crt", "-noout", "-ext", "subjectAltName"],
        text=True,
    )
    for name in ("DNS:api.keepa.com", "DNS:localhost", "IP Address:127.0.0.1"):
        assert name in shown
    assert "DNS:gateway.example" in shown
    assert "IP Address:10.0.0.5" in shown
    subprocess.run(
        ["openssl", "verify", "-CAfile", tmp_path / "ca.crt", tmp_path / "front.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert (tmp_path / "front.key").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(not (PROMTOOL and PROMETHEUS), reason=MISSING)
def test_prometheus_takes_its_command():
    """The configuration is good, and each option is one of Prometheus'."""
    promtool("check", "config", DEPLOY / "prometheus/prometheus.yml")
    options = subprocess.run(
        [PROMETHEUS, "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout
    for word in SERVICES["prometheus"]["command"]:
        assert f"{word.partition('=')[0]}=" in options
