"""What the image's dependencies are pinned to."""

import re

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from support import ROOT

FOLDER = ROOT / "deploy"
_PIN = re.compile(
    r"^([\w.-]+)(?:\[[^\]]*\])?==(\S+)(?: ; (.*?))?((?: --hash=sha256:[0-9a-f]{64})+)$"
)


def read_pins(name: str) -> dict[str, str]:
    """Return the versions that a file pins for the Python that runs, each with its hashes."""
    text = (FOLDER / name).read_text(encoding="utf-8").replace("\\\n    ", "")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pins = [_PIN.match(line) for line in lines]
    assert all(pins), "a line without version and hashes"
    return {
        canonicalize_name(pin[1]): pin[2] for pin in pins if not pin[3] or Marker(pin[3]).evaluate()
    }
