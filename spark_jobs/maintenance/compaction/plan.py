"""Selects the next merge in a day of a table: a pure function of the day's files, so that it may be repeated after every step and crash.

Small files of an open day are merged in two tiers, so that no row is rewritten more than a few times before its day closes: first parts of the lake
job, then small compacted files. A closed day becomes one sorted file (several only above `MAX_BYTES`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from cryptoviz.lake.parts import parse_part

__all__ = ["MAX_BYTES", "MAX_INPUTS", "DayFile", "is_compact", "next_merge"]

MAX_INPUTS = 1000
"""Maximum of input files: the limit of one deletion request, since plain readers see duplicates until the deletion."""
MAX_BYTES = 1 << 30
"""Maximum of input bytes; a server-side copy is limited to 5 GiB."""
_TIER_BYTES = 64 << 20
"""Maximum bytes of parts in a merge of an open day."""
_SMALL_BYTES = 16 << 20
"""Compacted files below this size are merged again while the day is open."""
_TIER_FILES = 16
"""Minimum of small compacted files for such a merge."""


@dataclass(frozen=True, slots=True)
class DayFile:
    """A file of the table's current version. `last_ms`: its latest `tick_ts`, if the log contains it."""

    path: str
    size: int
    rows: int
    modified_ms: int
    day: date
    last_ms: int | None = None

    @property
    def fresh(self) -> bool:
        """Whether it is a part of the lake job, not a compacted file."""
        return parse_part(self.path) is not None


def next_merge(files: Iterable[DayFile], *, closed: bool, small_files: int) -> tuple[DayFile, ...] | None:
    """The files of a day to merge next; None if no merge is needed.

    `small_files`: number of parts at which an open day is merged; a closed day keeps none.
    """
    ordered = sorted(files, key=lambda file: (file.modified_ms, file.path))
    fresh = [file for file in ordered if file.fresh]
    compacted = [file for file in ordered if not file.fresh]
    if not closed:
        if len(fresh) >= small_files:
            return _first(fresh, _TIER_BYTES)
        small = [file for file in compacted if file.size < _SMALL_BYTES]
        return _first(small, MAX_BYTES) if len(small) >= _TIER_FILES else None
    if len(ordered) > MAX_INPUTS and fresh:  # merge parts first, so that the last merge replaces few files
        return _first(fresh, _TIER_BYTES)
    for group in _groups(ordered):
        if len(group) > 1 or group[0].fresh:
            return group
    return None


def is_compact(files: Sequence[DayFile]) -> bool:
    """Whether a closed day needs no merge."""
    return next_merge(files, closed=True, small_files=1) is None


def _groups(files: Sequence[DayFile]) -> list[tuple[DayFile, ...]]:
    """Groups of consecutive files within the limits."""
    groups: list[list[DayFile]] = []
    room = 0
    for file in files:
        if not groups or file.size > room or len(groups[-1]) >= MAX_INPUTS:
            groups.append([])
            room = MAX_BYTES
        groups[-1].append(file)
        room -= file.size
    return [tuple(group) for group in groups]


def _first(files: Sequence[DayFile], limit: int) -> tuple[DayFile, ...]:
    """The oldest files, at most `limit` bytes but at least one file."""
    taken: list[DayFile] = []
    for file in files[:MAX_INPUTS]:
        if taken and sum(one.size for one in taken) + file.size > limit:
            break
        taken.append(file)
    return tuple(taken)
