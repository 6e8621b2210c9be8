"""Selects the pipeline that a command applies to."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryptoviz.cluster_record import Access, read_joined, read_record, settings_file
from cryptoviz.errors import SettingsError
from cryptoviz.local.default_folders import DOTENV_FILE, data_dir, demo_dir
from cryptoviz.local.home import require_own_home
from cryptoviz.local.ownership import canonical, entry_fault, owner_or_root

if TYPE_CHECKING:
    from cryptoviz.client import ControlClient, Retry
    from cryptoviz.settings import Settings

__all__ = ["control_client", "inputs_of_start", "retry_while_running", "running_access", "running_settings", "settings_inputs"]

Profile = Literal["live", "demo"]
_HOME = "CRYPTOVIZ_HOME"
_OTHER_NAMES = re.compile(r"(CRYPTO_LIST|.*_API_KEY|MINIO_ROOT_.*|REDPANDA_BROKERS|.*_PROXY|HOME|XDG_DATA_HOME|XDG_CACHE_HOME)")
_LETTERS = frozenset("CRYPTOVIZ")
_MOST_MISSING = 2
"""Of the nine letters of the prefix, in a name that the settings refuse as a misspelt one."""


def running_settings(profile: Profile | None = None) -> Settings:
    """The settings that the running pipeline was started with; if none runs, those of `profile` (default: live).

    Without a profile, a running live pipeline has priority over a running demo, and both over a pipeline that joined a cluster.

    Raises:
        SettingsError: another user could have written the files of the home.
    """
    from cryptoviz.settings import load_settings, load_settings_file

    wanted: tuple[Profile, ...] = (profile,) if profile else ("live", "demo")
    joined: list[Settings] = []
    for name in wanted:
        try:
            settings = load_settings(name)
            require_own_home(settings.home)
        except SettingsError:
            if name == wanted[0]:
                raise
            break  # settings or a home that are invalid only for the demo must not stop a command for the live pipeline
        if settings_file(settings).is_file():
            if read_record(settings.home) is not None or settings.ray.address:
                return load_settings_file(settings_file(settings))
            if read_joined(settings.home) is not None:
                joined.append(settings)
    if joined:
        return load_settings_file(settings_file(joined[0]))
    return load_settings(wanted[0])


def running_access() -> Access:
    """How to reach the running pipeline, as by `running_settings`, with the same errors.

    The settings are not read, which would take half of the processor time of `status`, if the pipeline was started with the same: they are valid.
    """
    return _recorded_access() or Access.of(running_settings())


def control_client(settings: Settings) -> ControlClient:
    """A client of the pipeline with these settings, which waits for a controller that Ray restarts."""
    from cryptoviz.client import ControlClient

    return ControlClient.from_settings(settings, retry=retry_while_running(settings.home))


def retry_while_running(home: Path) -> Retry:
    """Repeats calls and reconnects watches while the cluster of `home` runs and no command stops it. Without one, a call fails at once."""
    from cryptoviz.client import Retry

    def runs() -> bool:
        record = read_record(home)
        return record is not None and not record.stopping

    return Retry(only_while=runs)


def inputs_of_start(profile: Profile) -> tuple[Settings, str]:
    """The settings of a start, and their `settings_inputs`.

    The inputs are empty for a demo with settings that are invalid for the live pipeline: a command without a profile refuses them.

    Raises:
        SettingsError: as `load_settings`.
    """
    from cryptoviz.settings import load_settings

    inputs = settings_inputs()
    settings = load_settings(profile)
    try:
        return settings, inputs if profile == "live" or load_settings("live") else ""
    except SettingsError:
        return settings, ""


def settings_inputs() -> str:
    """Digest of what settings are read from: the variables that set one or are refused as a misspelt setting, and `.env`."""
    digest = hashlib.sha256()
    for name, value in sorted(os.environ.items(), key=lambda item: item[0].upper()):  # of two spellings of a name, the last has effect
        if _is_input(name.upper()):
            digest.update(os.fsencode(f"{name}={value}\0"))
    dotenv = Path(DOTENV_FILE)
    if dotenv.is_file() or dotenv.is_fifo():
        refused = dotenv.is_fifo() or any(entry_fault(dotenv, found, owner_or_root()) for found in (dotenv.lstat(), dotenv.stat()))
        # Settings refuse a named pipe and a file that another user could have written; both may be endless. Nor can they contain this byte.
        digest.update(b"\0" if refused else dotenv.read_bytes())
    return digest.hexdigest()


def _is_input(upper: str) -> bool:
    return len(_LETTERS - set(upper)) <= _MOST_MISSING or _OTHER_NAMES.fullmatch(upper) is not None


def _recorded_access() -> Access | None:
    try:
        homes = [Path(value).expanduser() for name, value in os.environ.items() if name.upper() == _HOME]
        places = [canonical(place) for place in homes[-1:] or (data_dir(), demo_dir()) if place.is_absolute()]
        records = [record for read in (read_record, read_joined) for place in places if (record := read(place)) is not None]
        if records:
            record = records[0]
            return record.access if record.inputs == settings_inputs() and record.access and record.access.is_current else None
    except (SettingsError, OSError, ValueError, RuntimeError):
        pass  # `running_settings` finds the same, and decides whether it matters
    return None
