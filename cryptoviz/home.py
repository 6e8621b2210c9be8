"""Which folder is a pipeline's home, and which of its entries are the pipeline's.

The first start leaves a marker. It is written only where none of the entries that a pipeline makes exists yet: whatever has such a name in a marked
home was made by a pipeline, and nothing else is ever removed.
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
from cryptoviz.ownership import Fault, entry_fault, make_private, owner_alone, parents_fault, tree_fault
from cryptoviz.private import claim_folder, require_own_file

__all__ = ["LOCK", "MARKER", "Removed", "claim", "foreign_reason", "mark_new", "remove_data", "require_own_home", "unfit_reason", "untrusted"]

SETTING = "CRYPTOVIZ_HOME"
MARKER = ".cryptoviz-home"
_MARKER_TEXT = "This folder is the home of a CryptoViz pipeline. `cryptoviz reset` removes what the pipeline made in it.\n"
LOCK = ".lock"
"""Held while a command works on the home; removed last."""
_ENTRIES = (
    "control", "control.token", "credentials.json", "kafka", "lake-scratch", "logs", "maintenance-scratch", "market", "minio", "ray.token", "redis",
    "run",
)  # fmt: skip
"""All that a pipeline makes in its home."""
_MAY_LEAD_OUT = frozenset({"kafka", "minio", "redis"})
"""The engines' data: its owner may keep it on another disk, by a link."""
_DEPTH = 3
"""Levels of an entry whose owner and mode are looked at: all that is configured, recorded or counted on; below are the engines' data."""
_SCRATCH = re.compile(rf"(?:{'|'.join(map(re.escape, _ENTRIES))})\.[0-9a-f-]+\.tmp")
"""What a cut-off write of one of them leaves."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What `remove_data` did.

    Attributes:
        entries: names that were removed.
        left: names that were not: no pipeline made them.
        links: removed links with the folder that each named, which was left alone.
    """

    entries: tuple[str, ...]
    left: tuple[str, ...]
    links: tuple[tuple[str, str], ...]


def claim(home: Path) -> None:
    """Mark the folder, made when missing, as a pipeline's home, and close it to others.

    Raises:
        SettingsError: it is somebody's home folder or the root, it holds entries of a pipeline's names that no pipeline made, or another user could
            have changed what it holds; nothing was written.
    """
    if reason := unfit_reason(home):
        raise SettingsError(f"{SETTING} is {str(home)!r}: {reason}; choose a folder for the pipeline alone", setting=SETTING)
    require_own_home(home)
    try:
        found = [path.name for path in _own_entries(home)]  # before the marker, which a start beside this one makes first
        if found and not (_is_marked(home) or _is_of_earlier_version(home) or _has_a_token_alone(home)):
            text = f"it holds {', '.join(found)}, which no pipeline made; choose a new or empty folder"
            raise SettingsError(f"{SETTING} is {str(home)!r}: {text}", setting=SETTING)
        make_private(home.resolve())
        claim_folder(home, SETTING)
        require_own_home(home)  # between the first look and the closing an open folder could still be filled
        _mark(home)
    except OSError as error:
        raise SettingsError(f"{SETTING} is {str(home)!r}, which cannot be used: {error.strerror}", setting=SETTING) from error


def mark_new(home: Path) -> None:
    """Mark a folder, made when missing, in which no pipeline has made anything yet. Components of a cluster may start before any command does.

    Raises:
        SettingsError: another user could have changed what it holds.
    """
    require_own_home(home)
    if not unfit_reason(home) and not _own_entries(home):
        make_private(home.resolve())
        claim_folder(home, SETTING)
        _mark(home)


def untrusted(home: Path) -> Fault | None:
    """Why what lies in the folder is not trusted: another user may have made or changed it. None for one that is not there yet."""
    place = home.resolve()
    if fault := parents_fault(place):
        return fault
    try:
        found = place.lstat()
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode):
        return Fault(place, "is no folder", "choose another one")
    entries = [*_own_entries(place), *(path for name in (MARKER, LOCK) if os.path.lexists(path := place / name))]
    if (fault := entry_fault(place, found, owner_alone())) and (entries or found.st_uid not in owner_alone()):
        return fault
    for path in entries:
        if path.name == MARKER and path.is_symlink() and path.lstat().st_uid in owner_alone():
            continue  # is none, and gives way to one
        if fault := tree_fault(path, owner_alone(), _DEPTH, may_leave=path.name in _MAY_LEAD_OUT):
            return fault
    return None


def require_own_home(home: Path) -> None:
    """Raises SettingsError, which names the entry and what to do, when `untrusted` says so. For whoever reads or changes a home."""
    if fault := untrusted(home):
        raise SettingsError(f"{SETTING} is {str(home)!r}, and {fault}; or choose another {SETTING}", setting=SETTING)


def foreign_reason(home: Path) -> str:
    """Why nothing in this folder may be removed; empty when it is a pipeline's home."""
    if reason := unfit_reason(home):
        return reason
    if not home.is_dir():
        return "it is not a folder"
    if fault := untrusted(home):
        return str(fault)
    return "" if _is_marked(home) or _is_of_earlier_version(home) else "no pipeline was started there"


def remove_data(home: Path) -> Removed:
    """Remove what pipelines made in their home, links themselves and never what they name. The folder goes too if that leaves it empty.

    The caller holds the home's lock and has looked at `foreign_reason`.
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
    """Why this folder is nobody's to hand out, whatever lies in it."""
    place = home.resolve()
    if place == Path(place.anchor):
        return "it is the root of the file system"
    for folder in _home_folders():
        if place == folder or place in folder.parents:
            return f"it is or holds the home folder {folder}"
    return ""


def _home_folders() -> Iterator[Path]:
    """Of the user: as the environment says, and as the password file does."""
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
    """Homes made before there were markers: they keep a token that only we write, or the settings of their last start, which name them."""
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
    """As the launcher of a Ray cluster leaves it on a new machine (`cluster.yaml`)."""
    if [path.name for path in _own_entries(home)] != ["ray.token"]:
        return False
    require_own_file(home / "ray.token", SETTING)
    return True


def _mark(home: Path) -> None:
    marker = home / MARKER
    if marker.is_symlink():
        marker.unlink(missing_ok=True)
    with contextlib.suppress(FileExistsError):  # another start was faster
        descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(_MARKER_TEXT)
