"""Selects the pipeline that a command applies to."""

from __future__ import annotations

from typing import Literal

from cryptoviz.cli.cluster import read_record, settings_file
from cryptoviz.errors import SettingsError
from cryptoviz.home import require_own_home
from cryptoviz.settings import Settings, load_settings, load_settings_file

__all__ = ["running_settings"]

Profile = Literal["live", "demo"]


def running_settings(profile: Profile | None = None) -> Settings:
    """The settings that the running pipeline was started with; if none runs, those of `profile` (default: live).

    Without a profile, a running live pipeline has priority over a running demo.

    Raises:
        SettingsError: another user could have written the files of the home.
    """
    wanted: tuple[Profile, ...] = (profile,) if profile else ("live", "demo")
    for name in wanted:
        try:
            settings = load_settings(name)
            require_own_home(settings.home)
        except SettingsError:
            if name == wanted[0]:
                raise
            break  # settings or a home that are invalid only for the demo must not stop a command for the live pipeline
        if settings_file(settings).is_file() and (read_record(settings) is not None or settings.ray.address):
            return load_settings_file(settings_file(settings))
    return load_settings(wanted[0])
