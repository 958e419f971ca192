"""Reads settings from the environment and `.env`, or makes them without both."""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.errors import BadSetting
from gateway.settings.masks import describe_error
from gateway.settings.settings import Settings
from gateway.settings.values import SIMULATOR

ENV_FILE = Path(".env")


def read_settings(env_file: Path | None = ENV_FILE, *, for_keepa: bool = True) -> Settings:
    """Read environment and `.env` file.

    Args:
        env_file: None or missing: the environment alone.
        for_keepa: Whether Keepa will be called; else its key may be missing.

    Raises:
        BadSetting: One line: the variable, its value (secrets masked) and what is allowed.
    """
    upstream: dict[str, Any] = {} if for_keepa else {"keepa_base_url": SIMULATOR}
    try:
        return Settings(_env_file=env_file, **upstream)
    except ValidationError as error:
        raise BadSetting(describe_error(error)) from None
    except UnicodeDecodeError:
        raise BadSetting(f"{env_file}: must be UTF-8 text") from None
    except OSError as error:
        raise BadSetting(f"{env_file}: cannot be read ({error.strerror})") from None


class _Port(BaseSettings):
    model_config = SettingsConfigDict(env_ignore_empty=True, hide_input_in_errors=True)

    port: int = Field(0, ge=0, le=65535)


class _Apart(Settings):
    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[Any, ...]:
        """Read neither environment nor `.env`."""
        return (sources["init_settings"],)


def settings_apart(**chosen: Any) -> Settings:
    """Return settings without any real key, store or webhook of the environment.

    Only PORT is read from the environment; without it the port is any free one.

    Raises:
        BadSetting: As `read_settings`.
    """
    try:
        return _Apart(port=_Port().port, **chosen)
    except ValidationError as error:
        raise BadSetting(describe_error(error)) from None
