"""Passing of settings to child processes: by file, never by arguments, with a minimal environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import PydanticBaseSettingsSource

from cryptoviz.errors import SettingsError
from cryptoviz.local.private import write_private
from cryptoviz.local.shell import PLAIN_NAMES
from cryptoviz.masking import hide
from cryptoviz.settings.names import SETTINGS_FILE_VARIABLE, check_overrides
from cryptoviz.settings.refusal import refusal
from cryptoviz.settings.tree import Settings, check_settings, load_settings

__all__ = ["SPARK_SECRET_VARIABLE", "child_environment", "dump_settings_file", "load_settings_file", "settings_from_environment"]

SPARK_SECRET_VARIABLE = "_SPARK_AUTH_SECRET"  # noqa: S105 (the name of a variable)
"""Variable with the shared secret of Spark's processes. Only the owner of a process can read its environment."""


def child_environment(extra: Mapping[str, str] | None = None, *, minimal: bool = True) -> dict[str, str]:
    """Environment for a child process: that of this process (only `PLAIN_NAMES` if `minimal`), updated with `extra`.

    A minimal environment keeps API keys out of engines, and variables of the shell from changing the behaviour of their libraries.
    """
    ours = {name: value for name, value in os.environ.items() if not minimal or name in PLAIN_NAMES}
    return ours | dict(extra or {})


def settings_from_environment() -> Settings:
    """Settings from the file of the parent process (`CRYPTOVIZ_SETTINGS_FILE`), or `load_settings()`. Raises SettingsError."""
    path = os.environ.get(SETTINGS_FILE_VARIABLE)
    return load_settings_file(Path(path)) if path else load_settings()


def dump_settings_file(settings: Settings, path: Path) -> None:
    """Write all settings with secrets as JSON for `load_settings_file`. Atomic; mode 0600."""
    write_private(path, json.dumps(settings.model_dump(mode="python"), default=_reveal))


def load_settings_file(path: Path) -> Settings:
    """Read a file written by `dump_settings_file`; environment and `.env` are ignored. Raises SettingsError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        check_overrides(Settings, content)
        settings = _FileSettings(**content)
    except SettingsError as error:
        raise error.with_message(f"the settings file {path} cannot be used: {error.message}") from None
    except ValidationError as error:
        # The text of the exception would contain values, including secrets.
        refused = refusal(Settings, error, values=False)
        raise refused.with_message(f"the settings file {path} cannot be used: {refused.message}") from None
    except (OSError, AttributeError, TypeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise SettingsError(f"the settings file {path} cannot be used: {reason}", setting=SETTINGS_FILE_VARIABLE) from None
    hide(settings.secrets)
    check_settings(settings)
    return settings


class _FileSettings(Settings):
    """Settings from a file only."""

    @classmethod
    def outer_sources(cls) -> tuple[PydanticBaseSettingsSource, ...]:
        return ()


def _reveal(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"settings hold a {type(value).__name__}, which has no JSON form")
