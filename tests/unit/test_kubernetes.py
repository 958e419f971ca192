"""The Kubernetes manifests: well-formed, in agreement with each other and with the gateway."""

import shutil

import kubernetes_validate
import pytest
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import all_versions
from support import ROOT
from support.deploy.dockerfile import read_steps

from gateway import __version__
from gateway.settings import Settings, read_settings
from unit.manifests import (
    FOLDER,
    KUSTOMIZE,
    MISSING,
    build,
    is_own,
    pick,
    read,
    read_env,
    read_kustomizations,
    read_manifests,
)

MANIFESTS = read_manifests()
KUSTOMIZATIONS = read_kustomizations()
# The newest five that the validator has schemas of.
VERSIONS = list(dict.fromkeys(all_versions()))[-5:]
BASE, PRODUCTION, TRIAL, MONITORING = (
    FOLDER / name for name in ("base", "production", "simulator", "monitoring")
)
RULES = ROOT / "deploy/prometheus/alerts.yml"
# What comes after the drain and the slowest call: callers are let in, the store confirms.
LAST_SECONDS = 10
# There is no schema of it in a package; this is what ours may have.
SERVICE_MONITOR = {
    "type": "object",
    "required": ["selector", "endpoints"],
    "additionalProperties": False,
    "properties": {
        "selector": {"type": "object", "required": ["matchLabels"]},
        "endpoints": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["port"],
                "additionalProperties": False,
                "properties": {
                    "port": {"type": "string"},
                    "path": {"const": "/metrics"},
                    "interval": {"type": "string", "pattern": "^[0-9]+s$"},
                    "authorization": {
                        "type": "object",
                        "required": ["credentials"],
                        "additionalProperties": False,
                        "properties": {"credentials": {"required": ["name", "key"]}},
                    },
                    "relabelings": {
                        "type": "array",
                        "items": {"required": ["sourceLabels", "targetLabel", "replacement"]},
                    },
                },
            },
        },
    },
}

needs_kustomize = pytest.mark.skipif(not KUSTOMIZE, reason=MISSING)
each_workload = pytest.mark.parametrize(
    "workload",
    [manifest for manifest in MANIFESTS if manifest["kind"] == "Deployment"],
    ids=lambda manifest: manifest["metadata"]["name"],
)


def pod_of(workload):
    return workload["spec"]["template"]["spec"]


def is_selected(labels, pods):
    """Whether pods have all of these labels."""
    return any(labels.items() <= pod.items() for pod in pods)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.long
def test_manifests_are_what_kubernetes_takes(version):
    """Each manifest has all the fields it needs and none that there is not, in each version."""
    assert len(MANIFESTS) == 9
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_kustomizations_name_files_that_are_there():
    """Every file is used by one kustomization, and what one names is there."""
    named = set()
    for folder, kustomization in KUSTOMIZATIONS.items():
        generated = [
            *kustomization.get("configMapGenerator", []),
            *kustomization.get("secretGenerator", []),
        ]
        files = [
            *kustomization.get("resources", []),
            *kustomization.get("components", []),
            *kustomization.get("configurations", []),
            *(patch["path"] for patch in kustomization.get("patches", [])),
            *(name for entry in generated for name in entry.get("envs", [])),
        ]
        named |= {(folder / name).resolve() for name in files}
    secret = PRODUCTION / "secret.env"
    assert {path for path in named if not path.exists()} <= {secret}
    written = {path for path in FOLDER.rglob("*.*") if path.suffix in {".yaml", ".env"}}
    kept = {path for path in written if path.name != "kustomization.yaml"} - {secret}
    assert kept == {path for path in named if path.suffix} - {secret}


def test_secrets_are_not_committed():
    """The example has names and no values, and git leaves alone what is made of it."""
    assert set(read_env(PRODUCTION / "secret.env.example").values()) == {""}
    assert (PRODUCTION / ".gitignore").read_text(encoding="utf-8") == "secret.env\n"


def test_names_in_the_environment_are_settings():
    """Each variable is one that the gateway reads, and is set in one place."""
    trial = KUSTOMIZATIONS[TRIAL]
    literals = [
        literal.split("=", 1)[0]
        for generator in ("configMapGenerator", "secretGenerator")
        for literal in trial[generator][0]["literals"]
    ]
    thresholds = read_env(BASE / "settings.env")
    secrets = read_env(PRODUCTION / "secret.env.example")
    names = {*thresholds, *secrets, *literals}
    assert names <= {name.upper() for name in Settings.model_fields}
    assert not set(thresholds) & {*secrets, *literals}


@each_workload
def test_pods_are_confined(workload):
    """Every pod meets the restricted standard, and more: no token, no file to write, a bound."""
    pod = pod_of(workload)
    assert pod["automountServiceAccountToken"] is False
    # Else a service called `port` or so would set a variable that the gateway reads.
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
    assert "volumes" not in pod


def test_selectors_and_ports_agree():
    """What selects pods finds some, and a service's ports are those of the pods it finds."""
    workloads = [manifest["spec"] for manifest in MANIFESTS if manifest["kind"] == "Deployment"]
    pods = {
        spec["template"]["metadata"]["labels"]["app.kubernetes.io/name"]: spec["template"]
        for spec in workloads
    }
    labels = [pod["metadata"]["labels"] for pod in pods.values()]
    for spec in workloads:
        assert is_selected(
            spec["selector"]["matchLabels"], [spec["template"]["metadata"]["labels"]]
        )
        for constraint in spec["template"]["spec"].get("topologySpreadConstraints", []):
            assert is_selected(constraint["labelSelector"]["matchLabels"], labels)
    for service in [manifest["spec"] for manifest in MANIFESTS if manifest["kind"] == "Service"]:
        (container,) = pods[service["selector"]["app.kubernetes.io/name"]]["spec"]["containers"]
        own = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in service["ports"]:
            assert own[port["targetPort"]] == port["port"]
    policy = pick(MANIFESTS, "NetworkPolicy")["spec"]
    assert is_selected(policy["podSelector"]["matchLabels"], labels)
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == {"http"}
    budget = pick(MANIFESTS, "PodDisruptionBudget")["spec"]
    assert is_selected(budget["selector"]["matchLabels"], labels)
    monitor = read(MONITORING / "service-monitor.yaml")[0]["spec"]
    service = pick(MANIFESTS, "Service")
    assert is_selected(monitor["selector"]["matchLabels"], [service["metadata"]["labels"]])
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_the_image_is_run_as_it_is_made():
    """User, port and command are those of the Dockerfile."""
    steps = read_steps((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    pod = pod_of(pick(MANIFESTS, "Deployment"))
    user = pod["securityContext"]
    said = {step.word: step.rest for step in steps}
    assert said["USER"] == f"{user['runAsUser']}:{user['runAsGroup']}"
    (port,) = pod["containers"][0]["ports"]
    assert said["EXPOSE"] == str(port["containerPort"])
    assert "args" not in pod["containers"][0]
    assert "command" not in pod["containers"][0]


def test_the_image_is_that_of_this_version():
    """Both overlays name the image by the version that it has, never `latest`."""
    for folder in (PRODUCTION, TRIAL):
        (image,) = KUSTOMIZATIONS[folder]["images"]
        assert image["newTag"] == __version__


def test_nobody_is_cut_off():
    """A pod that stops has time for its slowest call, and one is ready at any time."""
    spec = pick(MANIFESTS, "Deployment")["spec"]
    drain = float(read_env(BASE / "settings.env")["DRAIN_SECONDS"])
    slowest = Settings.model_fields["upstream_timeout_seconds"].default
    grace = pod_of(pick(MANIFESTS, "Deployment"))["terminationGracePeriodSeconds"]
    assert grace >= drain + slowest + LAST_SECONDS
    # Long enough for the readiness probe to tell as well.
    probe = pod_of(pick(MANIFESTS, "Deployment"))["containers"][0]["readinessProbe"]
    assert drain > probe["periodSeconds"] * probe["failureThreshold"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_rules_are_those_of_prometheus():
    """The operator's rules are the alerts, word for word."""
    head, _, rules = (
        (MONITORING / "prometheus-rule.yaml").read_text(encoding="utf-8").partition("spec:\n")
    )
    indented = [f"  {line}" if line else "" for line in RULES.read_text("utf-8").splitlines()]
    assert rules.splitlines() == indented, "deploy/README.md says how to bring them over"
    assert "kind: PrometheusRule" in head


def test_the_service_monitor_is_shaped_as_the_operator_wants():
    """Its fields are the operator's, and its job is one that the alerts look at."""
    monitor = read(MONITORING / "service-monitor.yaml")[0]
    Draft202012Validator(SERVICE_MONITOR).validate(monitor["spec"])
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"]["key"] in read_env(
        PRODUCTION / "secret.env.example"
    )
    (job,) = endpoint["relabelings"]
    assert job["targetLabel"] == "job"
    assert job["replacement"].startswith("keepa-gateway")


@needs_kustomize
@pytest.mark.long
def test_the_trial_runs_without_a_key(monkeypatch):
    """Kustomize builds it, its settings are good, and its gateways may reach its simulator."""
    manifests = build(TRIAL)
    for manifest in manifests:
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
    for name, value in pick(manifests, "ConfigMap")["data"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("KEEPA_API_KEY", "any-key-does")
    settings = read_settings(None)
    policy = pick(manifests, "NetworkPolicy")["spec"]
    open_ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    for url, name in (
        (settings.keepa_base_url, "keepa-simulator"),
        (settings.redis_url.get_secret_value(), "redis"),
    ):
        (port,) = pick(manifests, "Service", name)["spec"]["ports"]
        assert f"//{name}:{port['port']}" in url
        assert port["port"] in open_ports


@needs_kustomize
@pytest.mark.long
def test_production_takes_its_secret(tmp_path):
    """Kustomize builds it once the secret is there, and all who need the secret name it."""
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    folder = tmp_path / "kubernetes" / PRODUCTION.name
    shutil.copy(folder / "secret.env.example", folder / "secret.env")
    manifests = build(folder)
    for manifest in filter(is_own, manifests):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
    secret = pick(manifests, "Secret")["metadata"]["name"]
    (container,) = pod_of(pick(manifests, "Deployment"))["containers"]
    assert container["envFrom"][1]["secretRef"]["name"] == secret
    (endpoint,) = pick(manifests, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"]["name"] == secret
    assert secret != "keepa-gateway"
