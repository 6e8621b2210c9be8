"""Ownership of the home directory: which directory is a pipeline's home, and which of its entries a pipeline created.

The first start writes a marker, but only if no entry with a pipeline's name exists yet. So every such entry in a marked home was created by a
pipeline, and nothing else is ever removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptoviz.errors import SettingsError
from cryptoviz.local.ownership import Fault, entry_fault, make_private, owner_alone, parents_fault, tree_fault
from cryptoviz.local.private import claim_folder, require_own_file

__all__ = ["LOCK", "MARKER", "Removed", "claim", "foreign_reason", "mark_new", "remove_data", "require_own_home", "unfit_reason", "untrusted"]

SETTING = "CRYPTOVIZ_HOME"
MARKER = ".cryptoviz-home"
_MARKER_TEXT = "This directory is the home of a CryptoViz pipeline. `cryptoviz reset` deletes the pipeline's data in it.\n"
LOCK = ".lock"
"""Locked while a command works on the home; removed last."""
_ENTRIES = (
    "control", "control.token", "credentials.json", "kafka", "lake-scratch", "logs", "maintenance-scratch", "market", "minio", "ray.token", "redis",
    "run", "tls",
)  # fmt: skip
"""All entries that a pipeline creates in its home."""
_MAY_LEAD_OUT = frozenset({"kafka", "minio", "redis"})
"""The engines' data: its owner may keep it on another disk, by a symbolic link."""
_DEPTH = 3
"""Levels of an entry whose owner and mode are checked. They contain all settings, records and counters; the engines' data is below them."""
_SCRATCH = re.compile(rf"(?:{'|'.join(map(re.escape, _ENTRIES))})\.[0-9a-f-]+\.tmp")
"""Temporary file left by an interrupted write of an entry."""


@dataclass(frozen=True, slots=True)
class Removed:
    """Result of `remove_data`.

    Attributes:
        entries: removed names.
        left: kept names, not created by a pipeline.
        links: removed symbolic links, each with its target, which is unchanged.
    """

    entries: tuple[str, ...]
    left: tuple[str, ...]
    links: tuple[tuple[str, str], ...]


def claim(home: Path) -> None:
    """Mark the directory as a pipeline's home, and close it to other users; create it if missing.

    Raises:
        SettingsError: it is a user's home directory or the root, it has unrelated entries with a pipeline's names, or another user could have changed
            its contents; nothing was written.
    """
    if reason := unfit_reason(home):
        raise SettingsError(f"{SETTING} is {str(home)!r}: {reason}; choose a directory used only by the pipeline", setting=SETTING)
    require_own_home(home)
    try:
        found = [path.name for path in _own_entries(home)]  # read before the marker: a concurrent start writes the marker first
        if found and not (_is_marked(home) or _is_of_earlier_version(home) or _has_a_token_alone(home)):
            text = f"it contains {', '.join(found)}, not created by a pipeline; choose a new or empty directory"
            raise SettingsError(f"{SETTING} is {str(home)!r}: {text}", setting=SETTING)
        make_private(home.resolve())
        claim_folder(home, SETTING)
        require_own_home(home)  # again: until it was closed, other users could still write to an open directory
        _mark(home)
    except OSError as error:
        raise SettingsError(f"{SETTING} is {str(home)!r}, which is not usable: {error.strerror}", setting=SETTING) from error


def mark_new(home: Path) -> None:
    """Mark a directory without pipeline entries; create it if missing. Components of a cluster may start before any command.

    Raises:
        SettingsError: another user could have changed its contents.
    """
    require_own_home(home)
    if not unfit_reason(home) and not _own_entries(home):
        make_private(home.resolve())
        claim_folder(home, SETTING)
        _mark(home)


def untrusted(home: Path) -> Fault | None:
    """Why the contents of the directory are not trusted: another user may have created or changed them. None if it does not exist yet."""
    place = home.resolve()
    if fault := parents_fault(place):
        return fault
    try:
        found = place.lstat()
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode):
        return Fault(place, "is not a folder", "choose another one")
    entries = [*_own_entries(place), *(path for name in (MARKER, LOCK) if os.path.lexists(path := place / name))]
    if (fault := entry_fault(place, found, owner_alone())) and (entries or found.st_uid not in owner_alone()):
        return fault
    for path in entries:
        if path.name == MARKER and path.is_symlink() and path.lstat().st_uid in owner_alone():
            continue  # not a valid marker; `_mark` replaces it
        if fault := tree_fault(path, owner_alone(), _DEPTH, may_leave=path.name in _MAY_LEAD_OUT):
            return fault
    return None


def require_own_home(home: Path) -> None:
    """Raises SettingsError with the entry and the remedy if `untrusted` finds a fault. Called before a home is read or changed."""
    if fault := untrusted(home):
        raise SettingsError(f"{SETTING} is {str(home)!r}, and {fault}; or choose another {SETTING}", setting=SETTING)


def foreign_reason(home: Path) -> str:
    """Why nothing in this directory may be removed; empty if it is a pipeline's home."""
    if reason := unfit_reason(home):
        return reason
    if not home.is_dir():
        return "it is not a directory"
    if fault := untrusted(home):
        return str(fault)
    return "" if _is_marked(home) or _is_of_earlier_version(home) else "no pipeline was started there"


def remove_data(home: Path) -> Removed:
    """Remove everything that pipelines created in their home, and the home itself if it is then empty. Links are removed, their targets kept.

    The caller holds the home's lock and has checked `foreign_reason`.
    """
    removed, links = [], []
    home = home.resolve()
    for path in _own_entries(home):
        if path.is_symlink():
            links.append((path.name, str(path.readlink())))
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        removed.append(path.name)
    for name in (MARKER, LOCK):
        (home / name).unlink(missing_ok=True)
    left = tuple(sorted(path.name for path in home.iterdir()))
    if not left:
        home.rmdir()
    return Removed(tuple(removed), left, tuple(links))


def unfit_reason(home: Path) -> str:
    """Why this directory can never be a pipeline's home, whatever it contains; empty if it can."""
    place = home.resolve()
    if place == Path(place.anchor):
        return "it is the root of the file system"
    for folder in _home_folders():
        if place == folder or place in folder.parents:
            return f"it is or contains the home directory {folder}"
    return ""


def _home_folders() -> Iterator[Path]:
    """The user's home directories, by the environment and by the password file."""
    with contextlib.suppress(RuntimeError):
        yield Path.home().resolve()
    with contextlib.suppress(KeyError):
        yield Path(pwd.getpwuid(os.getuid()).pw_dir).resolve()


def _own_entries(home: Path) -> list[Path]:
    if not home.is_dir():
        return []
    return sorted(path for path in home.iterdir() if path.name in _ENTRIES or _SCRATCH.fullmatch(path.name))


def _is_marked(home: Path) -> bool:
    marker = home / MARKER
    return marker.is_file() and not marker.is_symlink()


def _is_of_earlier_version(home: Path) -> bool:
    """Whether this is a home from before markers: it has the token file, or the settings of its last start, which contain its path."""
    with contextlib.suppress(OSError):
        token = (home / "control.token").lstat()
        if stat.S_ISREG(token.st_mode) and token.st_uid == os.getuid() and stat.S_IMODE(token.st_mode) == 0o600 and (home / "control").is_dir():
            return True
    try:
        kept = json.loads((home / "run" / "settings.json").read_text(encoding="utf-8"))
        return bool({"kafka", "s3", "ray", "control"} <= kept.keys()) and Path(kept["home"]).resolve() == home.resolve()
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return False


def _has_a_token_alone(home: Path) -> bool:
    """The state in which the launcher of a Ray cluster leaves a home on a new machine (`cluster.yaml`)."""
    if [path.name for path in _own_entries(home)] != ["ray.token"]:
        return False
    require_own_file(home / "ray.token", SETTING)
    return True


def _mark(home: Path) -> None:
    marker = home / MARKER
    if marker.is_symlink():
        marker.unlink(missing_ok=True)
    with contextlib.suppress(FileExistsError):  # a concurrent start was faster
        descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(_MARKER_TEXT)
