"""Which pipeline a command means: the running one, whatever it was started with."""

from __future__ import annotations

from typing import Literal

from cryptoviz.cli.cluster import read_record, settings_file
from cryptoviz.errors import SettingsError
from cryptoviz.home import require_own_home
from cryptoviz.settings import Settings, load_settings, load_settings_file

__all__ = ["running_settings"]

Profile = Literal["live", "demo"]


def running_settings(profile: Profile | None = None) -> Settings:
    """Settings of the running pipeline as it was started; those of `profile` (live by default) when none runs.

    Without a profile the live pipeline goes before the demo.

    Raises:
        SettingsError: another user could have written what the home says.
    """
    wanted: tuple[Profile, ...] = (profile,) if profile else ("live", "demo")
    for name in wanted:
        try:
            settings = load_settings(name)
            require_own_home(settings.home)
        except SettingsError:
            if name == wanted[0]:
                raise
            break  # what only the demo cannot use keeps no live command from its work
        if settings_file(settings).is_file() and (read_record(settings) is not None or settings.ray.address):
            return load_settings_file(settings_file(settings))
    return load_settings(wanted[0])
