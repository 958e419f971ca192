"""What the operator says: every setting, checked and without visible secrets."""

from gateway.settings.misspelt import describe_misspelt
from gateway.settings.reading import ENV_FILE, read_settings, settings_apart
from gateway.settings.settings import Settings
from gateway.settings.values import SIMULATOR, is_loopback

__all__ = [
    "ENV_FILE",
    "SIMULATOR",
    "Settings",
    "describe_misspelt",
    "is_loopback",
    "read_settings",
    "settings_apart",
]
