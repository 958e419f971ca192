"""How a command starts that reads settings: the log first, then the settings."""

from pathlib import Path

from gateway.log import set_up_logging
from gateway.settings import ENV_FILE, Settings, read_settings


def read_settings_and_log(env_file: Path = ENV_FILE, *, for_keepa: bool = True) -> Settings:
    """Read the settings, and set up the log as they say.

    Raises:
        BadSetting: Some setting has a value that is not allowed.
    """
    # Before anything can log: a library's first line may already carry a key.
    set_up_logging("INFO", "json", ())
    settings = read_settings(env_file, for_keepa=for_keepa)
    set_up_logging(settings.log_level, settings.log_format, settings.secrets)
    return settings
