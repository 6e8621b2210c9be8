"""Default locations of `home` and `cache`, and the `.env` file."""

from __future__ import annotations

import os
from pathlib import Path

from cryptoviz.errors import SettingsError

__all__ = ["DOTENV_FILE", "cache_dir", "data_dir", "demo_dir"]

DOTENV_FILE = ".env"
"""In the working directory."""


def data_dir() -> Path:
    """Default of `home`. Raises SettingsError if the user has no home directory."""
    return _below_home("XDG_DATA_HOME", ".local/share", "CRYPTOVIZ_HOME")


def demo_dir() -> Path:
    """Default of the demo's `home`. Raises as `data_dir`."""
    beside = data_dir()
    return beside.with_name(beside.name + "-demo")


def cache_dir() -> Path:
    """Default of `cache`. Raises SettingsError if the user has no home directory."""
    return _below_home("XDG_CACHE_HOME", ".cache", "CRYPTOVIZ_CACHE")


def _below_home(variable: str, folder: str, setting: str) -> Path:
    given = os.environ.get(variable)
    if given and Path(given).is_absolute():  # the XDG base directory specification requires that relative paths are ignored
        return Path(given) / "cryptoviz"
    try:
        home = Path.home()
    except RuntimeError:
        home = Path()
    if not home.is_absolute():
        text = f"{setting} is not set, and this user has no home directory (no HOME, no entry in the password file): set {setting} to a folder"
        raise SettingsError(text, setting=setting)
    return home / folder / "cryptoviz"
