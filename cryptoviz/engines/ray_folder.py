"""The temporary folder of the pipeline's Ray cluster: sockets, logs and unpacked native libraries.

Its path is short, independent of `home`, because socket paths are limited to 107 characters. Ray creates world-accessible files, so the enclosing
folder has mode 0700. Its name is random at each start: in a shared folder, another user could create a known name first.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from cryptoviz.errors import PreflightError
from cryptoviz.local.private import write_private
from cryptoviz.settings import Settings

__all__ = ["RAY_FOLDERS", "folder_problem", "is_private", "make_ray_folder", "ray_folder", "ray_temp_dir", "remove_ray_folder", "scratch_dir"]

RAY_FOLDERS = Path("/tmp")  # noqa: S108 (checked by `folder_problem`, and the folder in it by `is_private`)
_PREFIX = "cv-"


def folder_problem(parent: Path = RAY_FOLDERS) -> str:
    """Why a private folder in `parent` would not be safe; empty if it would be."""
    try:
        found = parent.stat()
    except OSError as error:
        return f"{parent}: {error.strerror}"
    if found.st_uid not in {0, os.geteuid()}:
        return f"{parent} belongs to user {found.st_uid}, who could replace its contents"
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        return f"{parent} is writable by other users and has no sticky bit, so that they could replace its contents"
    return "" if os.access(parent, os.W_OK | os.X_OK) else f"{parent} is not writable"


def is_private(folder: Path) -> bool:
    """Whether `folder` is a directory (not a link) that belongs to this user and is closed to others."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def make_ray_folder(settings: Settings) -> Path:
    """Create a new folder of mode 0700; remove the folder of an earlier start.

    Raises:
        PreflightError: the parent is not safe.
    """
    if problem := folder_problem():
        raise PreflightError(problem, problems=["ray folder"])
    remove_ray_folder(settings)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=RAY_FOLDERS))
    scratch_dir(folder).mkdir(mode=0o700)
    write_private(_record(settings), str(folder))
    return folder


def ray_folder(settings: Settings) -> Path | None:
    """The folder of the last start, None if it is gone or not private."""
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
    """Ray's `--temp-dir`."""
    return folder / "r"


def scratch_dir(folder: Path) -> Path:
    """`TMPDIR` of the cluster's processes."""
    return folder / "tmp"


def _record(settings: Settings) -> Path:
    return settings.run_dir / "ray-folder"
