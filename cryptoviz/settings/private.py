"""Files and folders that only their owner may read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from cryptoviz.errors import SettingsError

__all__ = ["OTHERS", "claim_folder", "require_own_file", "write_once", "write_private"]

OTHERS = 0o077
"""Every right of the group and of everybody else."""
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


def claim_folder(path: Path, setting: str) -> None:
    """Make the folder, or take an existing one of ours, and shut others out of it.

    Raises:
        SettingsError: it is another user's or no folder, or it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        found = path.stat()
        if found.st_uid != os.getuid():
            raise SettingsError(f"{setting} is {str(path)!r}, which belongs to user {found.st_uid}: choose a folder of your own", setting=setting)
        if stat.S_IMODE(found.st_mode) & OTHERS:
            path.chmod(_FOLDER_MODE)
    except OSError as error:
        raise SettingsError(f"{setting} is {str(path)!r}, which cannot be used: {error.strerror}", setting=setting) from error


def require_own_file(path: Path, setting: str) -> None:
    """Raise SettingsError unless the existing file is a regular one, ours, and closed to others."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"{path} is no regular file: remove it", setting=setting)
    if found.st_uid != os.getuid():
        raise SettingsError(f"{path} belongs to user {found.st_uid}: remove it, or choose another {setting}", setting=setting)
    if found.st_mode & OTHERS:
        raise SettingsError(f"others may read {path}: chmod 600 it, or remove it while nothing runs, for new secrets", setting=setting)


def write_private(path: Path, text: str) -> None:
    """Put `text` into the file in one step, for its owner alone."""
    _scratch(path, text).replace(path)


def write_once(path: Path, text: str) -> None:
    """As `write_private`, but a file that is there stays: of two that start at once one wins."""
    scratch = _scratch(path, text)
    try:
        # A link is made whole or not at all, and never over an existing file.
        os.link(scratch, path)
    except FileExistsError:
        return
    finally:
        scratch.unlink()


def _scratch(path: Path, text: str) -> Path:
    path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return scratch
