"""Which files and folders nobody but this user, and root, can have made or changed: what lies in others is neither trusted, loaded nor run.

Imports the standard library alone: setup runs it before there are any packages (`python -m cryptoviz.ownership CACHE PROGRAMS`).
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
"""As the kernel follows."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an entry of the file system is not trusted, and what a person can do."""

    path: Path
    what: str
    remedy: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.path} {self.what}: {self.remedy}"


def owner_alone() -> frozenset[int]:
    """This user."""
    return frozenset({os.getuid()})


def owner_or_root() -> frozenset[int]:
    """This user and root, who can change everything anyway."""
    return frozenset({_ROOT, os.getuid()})


def canonical(path: Path) -> Path:
    """The one name of a place: absolute, without links and `..`; what does not exist yet stays as it is written.

    Raises:
        ValueError: another user's link stands in the path, who could lead it anywhere, or links go round in a circle.
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
            raise ValueError(f"the links at {place / part} go round in a circle")
        target = (place / part).readlink()
        if target.is_absolute():
            place = Path(target.anchor)
            rest += reversed(target.parts[1:])
        else:
            rest += reversed(target.parts)
    return place


def entry_fault(path: Path, found: os.stat_result, owners: Collection[int]) -> Fault | None:
    """Of one entry: its owner, and who may write it. A group that holds nobody else (umask 002) is as good as its owner."""
    if found.st_uid not in owners:
        return Fault(path, f"belongs to user {found.st_uid}", "remove it")
    if stat.S_ISLNK(found.st_mode):
        return None  # its mode means nothing
    if found.st_mode & stat.S_IWOTH:
        return Fault(path, "may be changed by every user", "look at what it holds, then `chmod -R go-w` it")
    if found.st_mode & stat.S_IWGRP and not _is_own_group(found.st_gid):
        return Fault(path, f"may be changed by group {found.st_gid}", "look at what it holds, then `chmod -R go-w` it")
    return None


def parents_fault(path: Path) -> Fault | None:
    """Of all folders above a canonical path: who may write there could exchange what lies below, unless a sticky bit keeps it its owner's."""
    for folder in path.parents:
        try:
            found = folder.stat()
        except OSError:
            continue  # not made yet, or closed to us: then the path cannot be used either
        fault = entry_fault(folder, found, owner_or_root())
        if fault is not None and not (found.st_uid in owner_or_root() and found.st_mode & stat.S_ISVTX):
            return Fault(folder, f"{fault.what}, who could exchange {path}", "choose a folder elsewhere")
    return None


def path_fault(path: Path, owners: Collection[int]) -> Fault | None:
    """Of one canonical path: itself, when it is there, and all folders above it."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return parents_fault(path)
    return entry_fault(path, found, owners) or parents_fault(path)


def tree_fault(top: Path, owners: Collection[int], depth: int, *, may_leave: bool) -> Fault | None:
    """Of an entry and what lies up to `depth` levels below it. What vanishes meanwhile is no fault.

    Args:
        top: an entry; of a link, what it names counts as well.
        owners: who may own an entry.
        depth: levels below `top` that are looked at.
        may_leave: whether a link of these owners may name a place outside `top`'s folder. That place is held to the same rules.
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
                return Fault(path, f"is no regular file or folder but a link to {target}", "remove the link")
            if fault := path_fault(target, owners):
                return Fault(path, f"is a link to {target}, and {fault.path} {fault.what}", "remove the link")
            left.append((target, levels))
        elif stat.S_ISDIR(found.st_mode) and levels:
            left += ((each, levels - 1) for each in _entries(path))
    return None


def make_private(folder: Path) -> None:
    """Make the folder, and those above it that are missing, for this user alone, whatever the umask."""
    for level in (*reversed(folder.parents), folder):
        if not level.is_dir():
            level.mkdir(mode=_PRIVATE, exist_ok=True)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_own_group(group: int) -> bool:
    """Whether this process is of the group, and no account but this user's and root's is."""
    if group == _ROOT:
        return True
    if group not in {os.getgid(), *os.getgroups()}:
        return False
    named: set[str] = set()
    with contextlib.suppress(KeyError):  # a group without an entry
        named.update(grp.getgrgid(group).gr_mem)
    return {each.pw_uid for each in pwd.getpwall() if each.pw_gid == group or each.pw_name in named} <= owner_or_root()


def _main(folder: str, programs: str) -> int:
    """Exit code 0 when a folder is safe, and all in the one of programs in it; 1 with the reason when not."""
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
