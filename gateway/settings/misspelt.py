"""Variables that look like one of ours and are none: nobody reads them, and nobody would say so.

A variable is told where its name, compared with each setting's, is nearly the same (a slip of the
finger), or is the first words of one (its unit left out). One word alone is too common a name, and
so is anything that an orchestrator makes up itself (`REDIS_PORT`, `KEEPA_API_SERVICE_HOST`).
"""

import os
import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from pathlib import Path

from pydantic_settings import DotEnvSettingsSource

from gateway.settings.settings import Settings

# As difflib's `ratio` counts: MIN_BALANCE_TRESHOLD has 0.98, UPSTREAM_TIMEOUT_MS 0.84; Heroku's
# REDIS_TLS_URL, which is no slip, 0.82.
_NEAR = 0.83
# Nobody else's variables begin so, but for those of scripts that call Keepa themselves.
_OWN_PREFIX, _NEAR_OWN = "KEEPA_", 0.75
# PORT, HOST: shorter names are near to many.
_SHORTEST = 7
# What the clients read, and what is near by chance.
_OTHERS = {
    "KEEPA_MAX_WAIT_SECONDS", "KEEPA_SERVICE_KEY", "KEEPA_SERVICE_NAME", "KEEPA_WAIT", "REDIS_USER",
}  # fmt: skip
# Of a Kubernetes service named as one of ours begins.
_SERVICE_LINK = re.compile(r".*_SERVICE_(HOST|PORT.*)|.*_PORT(_\d+_(TCP|UDP|SCTP).*)?")
_AT_MOST = 5


def describe_misspelt(env_file: Path | None) -> list[str]:
    """Return a line for each such variable of the environment or the file, of many the first."""
    found = find_misspelt([*os.environ, *_names_in(env_file)])
    lines = [f"{name} is no setting; did you mean {meant}?" for name, meant in found[:_AT_MOST]]
    if len(found) > _AT_MOST:
        lines.append(f"so are {len(found) - _AT_MOST} more")
    return lines


def find_misspelt(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return each name that looks like a setting's and is none, with the setting that is meant."""
    settings = [name.upper() for name in Settings.model_fields]
    # As settings are read: in any letters.
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
