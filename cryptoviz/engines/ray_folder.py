"""The folder of our Ray cluster: sockets, logs, and native libraries that are unpacked to be loaded.

Its path is short whatever `home` is, because the paths of Ray's sockets break past 107 characters. Ray opens what it makes to everybody, so the
folder around it has mode 0700. Its name is made at each start: in a folder that all users share, a known name could be taken by another user first.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from cryptoviz.errors import PreflightError
from cryptoviz.private import write_private
from cryptoviz.settings import Settings

__all__ = ["RAY_FOLDERS", "folder_problem", "is_private", "make_ray_folder", "ray_folder", "ray_temp_dir", "remove_ray_folder", "scratch_dir"]

RAY_FOLDERS = Path("/tmp")  # noqa: S108 (checked by `folder_problem`, and what lies in it by `is_private`)
_PREFIX = "cv-"


def folder_problem(parent: Path = RAY_FOLDERS) -> str:
    """Why a folder of ours is not safe in `parent`; empty when it is."""
    try:
        found = parent.stat()
    except OSError as error:
        return f"{parent}: {error.strerror}"
    if found.st_uid not in {0, os.geteuid()}:
        return f"{parent} belongs to user {found.st_uid}, who could exchange what lies in it"
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        return f"{parent} is open to other users and has no sticky bit, so that they could exchange what lies in it"
    return "" if os.access(parent, os.W_OK | os.X_OK) else f"{parent} is not writable"


def is_private(folder: Path) -> bool:
    """Whether it is a folder, no link to one, that belongs to this user and that nobody else may enter."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def make_ray_folder(settings: Settings) -> Path:
    """A new folder of mode 0700; one of an earlier start is removed.

    Raises:
        PreflightError: no folder is safe where it would be.
    """
    if problem := folder_problem():
        raise PreflightError(problem, problems=["ray folder"])
    remove_ray_folder(settings)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=RAY_FOLDERS))
    scratch_dir(folder).mkdir(mode=0o700)
    write_private(_record(settings), str(folder))
    return folder


def ray_folder(settings: Settings) -> Path | None:
    """The folder of the last start, None when it is gone or is not ours alone."""
    try:
        folder = Path(_record(settings).read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return None
    ours = folder.parent == RAY_FOLDERS and folder.name.startswith(_PREFIX) and is_private(folder)
    return folder if ours else None


def remove_ray_folder(settings: Settings) -> None:
    """Remove the folder of the last start."""
    if (folder := ray_folder(settings)) is not None:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        _record(settings).unlink()


def ray_temp_dir(folder: Path) -> Path:
    """What Ray gets as `--temp-dir`."""
    return folder / "r"


def scratch_dir(folder: Path) -> Path:
    """What the cluster's processes get as `TMPDIR`."""
    return folder / "tmp"


def _record(settings: Settings) -> Path:
    return settings.run_dir / "ray-folder"
