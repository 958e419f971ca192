"""Variables that look like a misspelt setting: they have no effect, which deserves a warning.

A variable is reported when its name is nearly that of a setting, or the first words of one (its
unit left out). Names of one word are too common, and so are those that an orchestrator sets itself
(`REDIS_PORT`, `KEEPA_API_SERVICE_HOST`).
"""

import os
import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from pathlib import Path

from pydantic_settings import DotEnvSettingsSource

from gateway.settings.settings import Settings

# By difflib's `ratio`: MIN_BALANCE_TRESHOLD has 0.98, UPSTREAM_TIMEOUT_MS 0.84; Heroku's
# REDIS_TLS_URL, which is not a misspelling, 0.82.
_NEAR = 0.83
# Only our variables begin so, and those of scripts that call Keepa themselves.
_OWN_PREFIX, _NEAR_OWN = "KEEPA_", 0.75
# Shorter names, as PORT and HOST, are similar to many.
_SHORTEST = 7
# Variables that clients read, and one that is similar by chance.
_OTHERS = {
    "KEEPA_MAX_WAIT_SECONDS", "KEEPA_SERVICE_KEY", "KEEPA_SERVICE_NAME", "KEEPA_WAIT", "REDIS_USER",
}  # fmt: skip
# Set by Kubernetes for a service whose name begins like a setting.
_SERVICE_LINK = re.compile(r".*_SERVICE_(HOST|PORT.*)|.*_PORT(_\d+_(TCP|UDP|SCTP).*)?")
_AT_MOST = 5


def describe_misspelt(env_file: Path | None) -> list[str]:
    """Return a line for each such variable of the environment or the file, at most a few."""
    found = find_misspelt([*os.environ, *_names_in(env_file)])
    lines = [f"{name} is no setting; did you mean {meant}?" for name, meant in found[:_AT_MOST]]
    if len(found) > _AT_MOST:
        lines.append(f"so are {len(found) - _AT_MOST} more")
    return lines


def find_misspelt(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return each name that looks like a misspelt setting, with the setting that is meant."""
    settings = [name.upper() for name in Settings.model_fields]
    # Case does not matter, as for settings.
    strangers = sorted({name.upper() for name in names} - {*settings, *_OTHERS})
    found = ((name, _find_meant(name, settings)) for name in strangers)
    return [(name, meant) for name, meant in found if meant]


def _find_meant(name: str, settings: Iterable[str]) -> str:
    if len(name) < _SHORTEST or _SERVICE_LINK.fullmatch(name):
        return ""
    for setting in settings:
        if "_" in name and setting.startswith(f"{name}_"):
            return setting
    near = _NEAR_OWN if name.startswith(_OWN_PREFIX) else _NEAR
    score, meant = max(
        (SequenceMatcher(None, setting, name).ratio(), setting) for setting in settings
    )
    return meant if score >= near else ""


def _names_in(env_file: Path | None) -> Iterable[str]:
    return DotEnvSettingsSource(Settings, env_file=env_file).env_vars
