"""Checks that only this user, and root, can have created or changed files and directories. Others are neither trusted, loaded nor run.

Imports only the standard library: setup runs it before packages are installed (`python -m cryptoviz.local.ownership CACHE PROGRAMS`).
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Fault", "canonical", "entry_fault", "make_private", "owner_alone", "owner_or_root", "parents_fault", "path_fault", "tree_fault"]

_ROOT = 0
_PRIVATE = 0o700
_MOST_LINKS = 40
"""The kernel's own limit."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an entry of the file system is not trusted, and the remedy."""

    path: Path
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path} {self.what}: {self.remedy}"


def owner_alone() -> frozenset[int]:
    """This user."""
    return frozenset({os.getuid()})


def owner_or_root() -> frozenset[int]:
    """This user and root, who can change any file."""
    return frozenset({_ROOT, os.getuid()})


def canonical(path: Path) -> Path:
    """The canonical path: absolute, without links and `..`; components that do not exist yet stay as given.

    Raises:
        ValueError: the path contains another user's link, which that user could redirect, or a cycle of links.
    """
    rest = list(reversed(path.absolute().parts[1:]))
    place, followed = Path(path.absolute().anchor), 0
    while rest:
        part = rest.pop()
        if part == "..":
            place = place.parent
            continue
        try:
            found = (place / part).lstat()
            is_link = stat.S_ISLNK(found.st_mode)
        except OSError:
            is_link = False
        if not is_link:
            place /= part
            continue
        followed += 1
        if found.st_uid not in owner_or_root():
            raise ValueError(f"{place / part} is a link that belongs to user {found.st_uid}: name the folder itself, or remove the link")
        if followed > _MOST_LINKS:
            raise ValueError(f"the links at {place / part} form a cycle")
        target = (place / part).readlink()
        if target.is_absolute():
            place = Path(target.anchor)
            rest += reversed(target.parts[1:])
        else:
            rest += reversed(target.parts)
    return place


def entry_fault(path: Path, found: os.stat_result, owners: Collection[int]) -> Fault | None:
    """Fault of a single entry: wrong owner, or writable by others. A group without other members (umask 002) counts as the owner."""
    if found.st_uid not in owners:
        return Fault(path, f"belongs to user {found.st_uid}", "remove it")
    if stat.S_ISLNK(found.st_mode):
        return None  # the mode of a link has no meaning
    if found.st_mode & stat.S_IWOTH:
        return Fault(path, "may be changed by every user", "check its content, then `chmod -R go-w` it")
    if found.st_mode & stat.S_IWGRP and not _is_own_group(found.st_gid):
        return Fault(path, f"may be changed by group {found.st_gid}", "check its content, then `chmod -R go-w` it")
    return None


def parents_fault(path: Path) -> Fault | None:
    """Fault of the directories above a canonical path: users who may write there could replace it, unless a sticky bit allows only its owner to."""
    for folder in path.parents:
        try:
            found = folder.stat()
        except OSError:
            continue  # missing, or not accessible: then the path is not usable either
        fault = entry_fault(folder, found, owner_or_root())
        if fault is not None and not (found.st_uid in owner_or_root() and found.st_mode & stat.S_ISVTX):
            return Fault(folder, f"{fault.what}, who could exchange {path}", "choose a folder elsewhere")
    return None


def path_fault(path: Path, owners: Collection[int]) -> Fault | None:
    """Fault of a canonical path itself, if it exists, or of a directory above it."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return parents_fault(path)
    return entry_fault(path, found, owners) or parents_fault(path)


def tree_fault(top: Path, owners: Collection[int], depth: int, *, may_leave: bool) -> Fault | None:
    """Fault of an entry or of anything up to `depth` levels below it. Entries that disappear during the check are no fault.

    Args:
        top: an entry; if it is a link, its target is checked too.
        owners: who may own an entry.
        depth: number of levels below `top` to check.
        may_leave: whether links of these owners may lead out of `top`'s directory. The same rules apply to their targets.
    """
    inside = os.path.realpath(top.parent) + os.sep
    left = [(top, depth)]
    seen: set[tuple[int, int]] = set()
    while left:
        path, levels = left.pop()
        try:
            found = path.lstat()
        except OSError:
            continue
        if fault := entry_fault(path, found, owners):
            return fault
        if (found.st_dev, found.st_ino) in seen:
            continue
        seen.add((found.st_dev, found.st_ino))
        if stat.S_ISLNK(found.st_mode):
            target = Path(os.path.realpath(path))
            if f"{target}{os.sep}".startswith(inside):
                continue
            if not may_leave:
                return Fault(path, f"is not a regular file or folder, but a link to {target}", "remove the link")
            if fault := path_fault(target, owners):
                return Fault(path, f"is a link to {target}, and {fault.path} {fault.what}", "remove the link")
            left.append((target, levels))
        elif stat.S_ISDIR(found.st_mode) and levels:
            left += ((each, levels - 1) for each in _entries(path))
    return None


def make_private(folder: Path) -> None:
    """Create the directory and missing parents, accessible only to this user, whatever the umask."""
    for level in (*reversed(folder.parents), folder):
        if not level.is_dir():
            level.mkdir(mode=_PRIVATE, exist_ok=True)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_own_group(group: int) -> bool:
    """Whether this process belongs to the group, and no account except this user's and root's does."""
    if group == _ROOT:
        return True
    if group not in {os.getgid(), *os.getgroups()}:
        return False
    named: set[str] = set()
    with contextlib.suppress(KeyError):  # a group without an entry
        named.update(grp.getgrgid(group).gr_mem)
    return {each.pw_uid for each in pwd.getpwall() if each.pw_gid == group or each.pw_name in named} <= owner_or_root()


def _main(folder: str, programs: str) -> int:
    """Exit code 0 if the directory and everything in its directory of programs is safe, else 1 with the reason."""
    try:
        places = canonical(Path(folder)), canonical(Path(programs))
        fault: object = path_fault(places[0], owner_or_root()) or tree_fault(places[1], owner_or_root(), 64, may_leave=True)
    except ValueError as error:
        fault = error
    if fault:
        sys.stderr.write(f"{fault}\n")
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
