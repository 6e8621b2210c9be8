"""Data files of a table version, from its Delta log: the newest version, cached between queries, or an earlier version."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import orjson
import pyarrow as pa
from deltalake.exceptions import DeltaError

from cryptoviz.errors import VersionNotKept
from cryptoviz.lake.delta import TABLE_ERRORS, DeltaTable, open_table
from cryptoviz.lake.objects import S3Access, TableAddress, find_object, minio_client
from cryptoviz.lake.progress import METADATA_KEY, Offsets, Progress
from cryptoviz.lake.schema import PARTITION_BY
from cryptoviz.lake.store_errors import store_errors
from cryptoviz.lake.table_specs import TableSpec
from cryptoviz.times import utc

__all__ = ["Commit", "DataFile", "FileIndex", "Snapshot", "read_commit"]

# Queries within this time see the same version: a page makes several at once.
_FRESH_S = 0.25


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a version. `path`: relative to the table; `day`: UTC; `first` and `last`: bounds of the table's time column, if the log has them."""

    path: str
    size: int
    rows: int
    day: date
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A version of a table: its files by UTC day, and its columns (the code's, then those that only the table has).

    With `upto`, the files also contain later rows: rows at or past these offsets, or of other topics, are not part of the version.
    """

    version: int
    schema: pa.Schema
    by_day: Mapping[date, tuple[DataFile, ...]] = field(default_factory=dict)
    upto: Offsets | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """An entry of a Delta log. `made`: UTC; `progress`: None if the lake job did not make the commit."""

    version: int
    made: datetime
    progress: Progress | None


class FileIndex:
    """Versions of a table. Thread-safe. A table that does not exist yet has version -1 and no files."""

    def __init__(
        self, address: TableAddress, access: S3Access, options: Mapping[str, str], table: TableSpec, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = address
        self._access = access
        self._options = dict(options)
        self._spec = table
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._table: DeltaTable | None = None
        self._refreshed_s = float("-inf")
        self._none = Snapshot(-1, table.schema)
        self._newest = self._none

    def newest(self, *, refresh: bool = False) -> Snapshot:
        """The newest version, cached for at most 0.25 s; `refresh` bypasses the cache.

        Raises:
            EngineUnavailable: the object store does not answer.
        """
        with self._lock:
            if refresh or self._monotonic_s() - self._refreshed_s >= _FRESH_S:
                with store_errors(self._address.endpoint, f"open {self._address.uri}", TABLE_ERRORS):
                    self._refresh()
                self._refreshed_s = self._monotonic_s()
            return self._newest

    def at(self, version: int | None = None, as_of: datetime | None = None) -> Snapshot:
        """A version by its number or by time (the last commit up to `as_of`); the newest version without either.

        Raises:
            VersionNotKept: the log no longer has the version, or does not have it yet.
            EngineUnavailable: the object store does not answer.
        """
        newest = self.newest()
        which = as_of if version is None else version
        if which is None or newest.version < 0:
            if version is not None:
                raise self._not_kept(f"version {version}", "the table does not exist yet")
            return newest
        wanted = f"version {which}" if isinstance(which, int) else f"the version of {which.isoformat()}"
        past = self._not_after(as_of, self._past(which, wanted, newest.version), wanted)
        if past is None:
            return Snapshot(-1, newest.schema)
        files = self._files(past)
        gone = _paths(files) - _paths(newest.by_day)
        if not gone:
            return Snapshot(past.version(), newest.schema, files)
        if "kafka_offset" not in newest.schema.names:
            raise self._not_kept(wanted, "maintenance has since rewritten its rows")
        dropped = sorted(files.keys() - newest.by_day.keys())
        if dropped:
            raise self._not_kept(wanted, f"its day {dropped[0]} is past its retention")
        # Maintenance has merged these files into larger ones, but each row's offset shows whether the version had it.
        progress = self._progress_at(past.version())
        if progress is None:
            raise self._not_kept(wanted, "its files were compacted and its log entry carries no progress")
        return Snapshot(past.version(), newest.schema, newest.by_day, progress)

    def _not_after(self, as_of: datetime | None, found: DeltaTable, wanted: str) -> DeltaTable | None:
        """`found`, or the last version before it that was committed by then; None if the table did not exist yet.

        For a time before all entries of the log delta-rs returns the oldest. And it goes by the time of their objects, of which many stores keep only
        the second, so that it may find a later commit of that second.
        """
        made = ""
        for number in range(found.version(), -1, -1):
            commit = read_commit(self._access, self._address, number)
            if commit is None:
                raise self._not_kept(wanted, f"the oldest log entry is of {made}" if made else f"its log entry {number} has been removed")
            if as_of is None or commit.made <= as_of:
                return found if number == found.version() else self._past(number, wanted, found.version())
            made = commit.made.isoformat()
        return None

    def _past(self, which: int | datetime, wanted: str, newest: int) -> DeltaTable:
        try:
            with store_errors(self._address.endpoint, f"open {self._address.uri}", (OSError,)):
                past = DeltaTable(self._address.uri, storage_options=self._options)
                past.load_as_version(which)
        except (DeltaError, OverflowError) as error:
            raise self._not_kept(wanted, f"the log has versions up to {newest}, retained for a limited time") from error
        return past

    def _progress_at(self, version: int) -> Offsets | None:
        """Progress of that version: from its commit, or, for a commit without progress, from the last one before it."""
        for number in range(version, -1, -1):
            commit = read_commit(self._access, self._address, number)
            if commit is None:
                return None
            if commit.progress is not None:
                return commit.progress.offsets
        return None

    def _refresh(self) -> None:
        if self._table is None:
            self._table = open_table(self._address.uri, self._options)
        else:
            self._table.update_incremental()
        if self._table is None:
            self._newest = self._none
        elif self._table.version() != self._newest.version:
            schema = _union(self._spec.schema, pa.schema(self._table.schema().to_arrow()))
            self._newest = Snapshot(self._table.version(), schema, self._files(self._table))

    def _files(self, table: DeltaTable) -> dict[date, tuple[DataFile, ...]]:
        actions = pa.table(table.get_add_actions(flatten=True))
        names = ["path", "size_bytes", "num_records", *(f"partition.{name}" for name in PARTITION_BY)]
        columns = [actions.column(name).to_pylist() for name in names]
        for name in (f"min.{self._spec.time}", f"max.{self._spec.time}"):
            known = name in actions.column_names
            columns.append(actions.column(name).to_pylist() if known else [None] * actions.num_rows)
        found: dict[date, list[DataFile]] = {}
        for path, size, rows, year, month, day, first, last in zip(*columns, strict=True):
            when = date(year, month, day)
            found.setdefault(when, []).append(DataFile(path, size, rows or 0, when, first, last))
        return {when: tuple(files) for when, files in sorted(found.items())}

    def _not_kept(self, wanted: str, why: str) -> VersionNotKept:
        hint = "Use ingest_ts for what was known at a past time"
        return VersionNotKept(f"{self._spec.name}: {wanted} cannot be read: {why}. {hint}", table=self._spec.name)


def read_commit(access: S3Access, address: TableAddress, version: int) -> Commit | None:
    """Read the log entry of a version; None if it is no longer in the log. (delta-rs reads entries only backwards from the newest.)

    Raises:
        EngineUnavailable: the object store does not answer.
    """
    with store_errors(address.endpoint, f"return log entry {version} of {address.uri}", TABLE_ERRORS):
        content = find_object(minio_client(access), address.bucket, address.key(f"_delta_log/{version:020d}.json"))
    if content is None:
        return None
    info: dict[str, Any] = next((action["commitInfo"] for line in content.splitlines() if "commitInfo" in (action := orjson.loads(line))), {})
    made = utc(info.get("timestamp", 0))
    return Commit(version, made, Progress.from_json(info[METADATA_KEY]) if METADATA_KEY in info else None)


def _paths(by_day: Mapping[date, tuple[DataFile, ...]]) -> set[str]:
    return {file.path for files in by_day.values() for file in files}


def _union(code: pa.Schema, table: pa.Schema) -> pa.Schema:
    """The code's columns with the table's types, then columns that only the table has, so that all written data stays readable."""
    types = {column.name: column.type for column in table}
    own = [column.with_type(types.get(column.name, column.type)).with_nullable(True) for column in code]
    return pa.schema([*own, *(column.with_nullable(True) for column in table if column.name not in code.names)])
