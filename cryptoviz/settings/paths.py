"""Default locations of `home` and `cache`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cryptoviz.errors import SettingsError
from cryptoviz.settings.seed_names import SEED_NAMES

__all__ = ["cache_dir", "data_dir", "require_text"]


def data_dir() -> Path:
    """Default of `home`. Raises SettingsError if the user has no home directory."""
    return _below_home("XDG_DATA_HOME", ".local/share", "CRYPTOVIZ_HOME")


def cache_dir() -> Path:
    """Default of `cache`. Raises SettingsError if the user has no home directory."""
    return _below_home("XDG_CACHE_HOME", ".cache", "CRYPTOVIZ_CACHE")


def require_text(environment: Mapping[str, str]) -> None:
    """Raise SettingsError for a setting in the environment that is not UTF-8. Its value is not shown, because it may be a key."""
    for name, value in environment.items():
        if name.upper().startswith("CRYPTOVIZ_") or name in SEED_NAMES:
            try:
                value.encode()
            except UnicodeEncodeError:
                setting = "__".join(SEED_NAMES[name]).upper() if name in SEED_NAMES else name.upper().removeprefix("CRYPTOVIZ_")
                meant = f" (it sets CRYPTOVIZ_{setting})" if name in SEED_NAMES else ""
                raise SettingsError(f"{name} is not UTF-8{meant}", setting=f"CRYPTOVIZ_{setting}") from None


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
