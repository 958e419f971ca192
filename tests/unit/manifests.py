"""The Kubernetes manifests, as they are written and as kustomize puts them together."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from support import ROOT

FOLDER = ROOT / "deploy/kubernetes"
KUSTOMIZE = shutil.which("kustomize", path=Path(sys.executable).parent) or shutil.which("kustomize")
MISSING = "kustomize is neither beside this Python nor on the path"
# Kinds that a cluster knows without being told of them.
_FOREIGN = ("kustomize.config.k8s.io/", "monitoring.coreos.com/")

Manifest = dict[str, Any]


def read(path: Path) -> list[Any]:
    """Return the documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def read_kustomizations() -> dict[Path, Manifest]:
    """Return each kustomization by its folder."""
    return {path.parent: read(path)[0] for path in FOLDER.rglob("kustomization.yaml")}


def read_manifests() -> list[Manifest]:
    """Return every manifest as it is written, before kustomize."""
    files = sorted(FOLDER.rglob("*.yaml"))
    documents = [document for path in files for document in read(path)]
    return [document for document in documents if is_own(document)]


def is_own(document: Any) -> bool:
    """Whether Kubernetes itself knows what this is."""
    is_one = isinstance(document, dict) and "apiVersion" in document
    return is_one and not document["apiVersion"].startswith(_FOREIGN)


def read_env(path: Path) -> dict[str, str]:
    """Return what a file of settings says."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("=", 1) for line in lines if line and not line.startswith("#")]
    return dict(pairs)


def build(folder: Path) -> list[Manifest]:
    """Have kustomize put a folder together."""
    assert KUSTOMIZE, MISSING
    done = subprocess.run([KUSTOMIZE, "build", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def pick(manifests: list[Manifest], kind: str, name: str = "keepa-gateway") -> Manifest:
    """Return the one manifest of a kind whose name begins so."""
    (found,) = [
        manifest
        for manifest in manifests
        if manifest["kind"] == kind and manifest["metadata"]["name"].startswith(name)
    ]
    return found
