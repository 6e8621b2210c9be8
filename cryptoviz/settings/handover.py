"""How a parent process hands the settings to its children: by file, never by arguments, and with no more environment than they need."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from cryptoviz.errors import SettingsError
from cryptoviz.masking import hide
from cryptoviz.private import write_private
from cryptoviz.settings.checks import check_settings
from cryptoviz.settings.names import check_overrides
from cryptoviz.settings.refusal import refusal
from cryptoviz.settings.shell import PLAIN_NAMES
from cryptoviz.settings.tree import Settings, load_settings

__all__ = [
    "SETTINGS_FILE_VARIABLE",
    "SPARK_SECRET_VARIABLE",
    "child_environment",
    "dump_settings_file",
    "load_settings_file",
    "settings_from_environment",
]

SETTINGS_FILE_VARIABLE = "CRYPTOVIZ_SETTINGS_FILE"
"""Names a file of `dump_settings_file`."""

SPARK_SECRET_VARIABLE = "_SPARK_AUTH_SECRET"  # noqa: S105 (the name of a variable)
"""Where Spark's processes look for the secret that they know each other by; the environment of a process is readable by its owner only."""


def child_environment(extra: Mapping[str, str] | None = None, *, minimal: bool = True) -> dict[str, str]:
    """The environment for a child process: ours (only the plain names when `minimal`), with `extra` on top.

    Minimal, so that an engine never holds a provider's key, and no library in it follows a variable of the shell.
    """
    ours = {name: value for name, value in os.environ.items() if not minimal or name in PLAIN_NAMES}
    return ours | dict(extra or {})


def settings_from_environment() -> Settings:
    """The tree that a parent process handed down (`CRYPTOVIZ_SETTINGS_FILE`), else `load_settings()`. Raises SettingsError."""
    path = os.environ.get(SETTINGS_FILE_VARIABLE)
    return load_settings_file(Path(path)) if path else load_settings()


def dump_settings_file(settings: Settings, path: Path) -> None:
    """Write the whole tree, secrets revealed, as JSON that `load_settings_file` reads. Atomic; mode 0600."""
    write_private(path, json.dumps(settings.model_dump(mode="python"), default=_reveal))


def load_settings_file(path: Path) -> Settings:
    """Read what `dump_settings_file` wrote; environment and `.env` count for nothing. Raises SettingsError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        check_overrides(Settings, content)
        settings = _FileSettings(**content)
    except SettingsError as error:
        raise error.with_message(f"the settings file {path} cannot be used: {error.message}") from None
    except ValidationError as error:
        # Its own text would show values: secrets among them.
        refused = refusal(Settings, error, values=False)
        raise refused.with_message(f"the settings file {path} cannot be used: {refused.message}") from None
    except (OSError, AttributeError, TypeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise SettingsError(f"the settings file {path} cannot be used: {reason}", setting=SETTINGS_FILE_VARIABLE) from None
    hide(settings.secrets)
    check_settings(settings)
    return settings


class _FileSettings(Settings):
    """The tree from one file alone."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the file says."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def _reveal(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"settings hold a {type(value).__name__}, which has no JSON form")
