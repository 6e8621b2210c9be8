"""Delta log of one table, as the lake job uses it: create, fence, read progress, commit files that executors wrote.

Single writer: each commit carries the app transaction `cryptoviz-lake-<table>` and is made against the version that the job last saw. Any commit in
between is a conflict. Commits of maintenance do not change the app transaction, so the job retries on top of them. A commit of another lake job does,
and then this job stops.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial

import pyarrow as pa
from deltalake import CommitProperties, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from cryptoviz.errors import LakeError
from cryptoviz.lake.delta import TABLE_ERRORS, DeltaTable, open_table
from cryptoviz.lake.objects import TableAddress
from cryptoviz.lake.parts import parse_part
from cryptoviz.lake.progress import METADATA_KEY, Offsets, Progress, kept_offsets, merge, offset_app, offsets_of_rows, read_progress
from cryptoviz.lake.schema import PARTITION_BY
from cryptoviz.lake.store_errors import store_error, store_errors
from cryptoviz.log import get_logger
from spark_jobs.tables.orphans import LogState
from spark_jobs.tables.parquet import WrittenPart
from spark_jobs.tables.schema_evolution import SchemaChange, plan_change

__all__ = ["CONFIGURATION", "TableLog"]

# Checkpoints make opening a table fast. Maintenance writes them; the commit hook does so only if maintenance has not run for long. Every checkpoint
# lists the files replaced within `deletedFileRetentionDuration`, although they are already deleted.
CONFIGURATION = {
    "delta.checkpointInterval": "500",
    "delta.logRetentionDuration": "interval 1 days",
    "delta.deletedFileRetentionDuration": "interval 1 hours",
}
_RETRIES = 5  # conflicting commits of maintenance

log = get_logger("lake")


class TableLog:
    """Not thread-safe: used by the batch thread only."""

    def __init__(self, address: TableAddress, schema: pa.Schema, options: Mapping[str, str], run: str) -> None:
        """No request before `open`. `run` identifies this run of the job."""
        self.address = address
        self.progress = Progress(run, 0)
        self._schema = schema
        self._options = dict(options)
        self._run = run
        self._app = f"cryptoviz-lake-{address.table}"
        self._table: DeltaTable | None = None
        self._app_version = 0
        self._in_doubt = False

    def open(self, partitions: Collection[tuple[str, int]] = ()) -> None:
        """Open or create the table, read its progress, fence it (the next commit of an older job is refused), then add new columns.

        `partitions` (topic UUID, partition): those whose progress is also read from app transactions, in case a foreign tool has cleaned the log.

        Raises:
            EngineUnavailable: the object store does not answer.
            LakeError: the progress is unreadable, or the table's columns are incompatible with the code's.
        """
        with self._errors("open"):
            self._table = self._load()
            self._app_version = self._table.transaction_version(self._app) or 0
            before = self._progress_of(self._table, partitions)
            change = plan_change(self.address.table, self._table.schema(), self._schema)  # before the fence: a refusal changes nothing
            self._commit([], self._next(before))
            self._evolve(change)

    def commit(self, parts: Iterable[WrittenPart], offsets: Offsets) -> None:
        """Add the files and move progress to `offsets` in one commit.

        Raises:
            LakeError: another job has committed since.
            EngineUnavailable: the object store does not answer; the outcome is unknown. The next call with the same arguments, or the next `open`,
                finds it out.
        """
        actions: list[AddAction | RemoveAction] = [self._add_action(part) for part in parts]
        progress = self._next(merge(self.progress.offsets, offsets))
        with self._errors("accept the commit to"):
            self._commit(actions, progress)

    @property
    def version(self) -> int:
        """The newest version that this run has seen; -1 before `open`."""
        return -1 if self._table is None else self._table.version()

    def check_ours(self) -> None:
        """Check that the newest version is still this run's.

        Raises:
            LakeError: another job has fenced this table since.
            EngineUnavailable: the object store does not answer.
        """
        table = self._open_table()
        with self._errors("open"):
            table.update_incremental()
            self._was_made(table, self.progress)

    def log_state(self) -> LogState:
        """Files of the newest version, with the progress of this run, which is not newer. Opens the table separately, so any thread may call it.

        Raises:
            EngineUnavailable: the object store does not answer.
        """
        offsets = self.progress.offsets
        with self._errors("open"):
            table = DeltaTable(self.address.uri, storage_options=self._options)
            return LogState.of(pa.table(table.get_add_actions()).column("path").to_pylist(), offsets)

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        return store_errors(self.address.endpoint, f"{doing} {self.address.uri}", TABLE_ERRORS)

    def _progress_of(self, table: DeltaTable, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The later of the newest commit's metadata and the app transactions. If the log has neither any more, derived from the rows (a table without
        rows starts at the beginning, which cannot duplicate any).
        """
        before = read_progress(table)
        offsets = merge(before.offsets if before else {}, kept_offsets(table, partitions))
        if not offsets and before is None and self._app_version:
            offsets = offsets_of_rows(table)
            log.warning("progress_restored_from_rows", table=self.address.table, found=len(offsets))
        return offsets

    def _load(self) -> DeltaTable:
        return open_table(self.address.uri, self._options) or DeltaTable.create(
            self.address.uri,
            self._schema,
            mode="ignore",
            partition_by=list(PARTITION_BY),
            name=self.address.table,
            configuration=CONFIGURATION,
            storage_options=self._options,
        )

    def _next(self, offsets: dict[tuple[str, int], int]) -> Progress:
        return Progress(self._run, self._app_version + 1, offsets)

    def _evolve(self, change: SchemaChange) -> None:
        """Apply schema changes as commits of this job, so that they are refused if another job has taken over."""
        table = self._open_table()
        if change.added:
            self._make(
                self._next(self.progress.offsets), lambda properties: table.alter.add_columns(list(change.added), commit_properties=properties)
            )
        for name in change.relaxed:
            self._make(self._next(self.progress.offsets), partial(_relax, table, name))
        if change:
            log.info("columns_changed", table=self.address.table, added=[field.name for field in change.added], relaxed=list(change.relaxed))

    def _commit(self, actions: list[AddAction | RemoveAction], progress: Progress) -> None:
        def write(properties: CommitProperties) -> None:
            self._open_table().create_write_transaction(
                actions,
                mode="append",
                schema=self._schema,
                partition_by=list(PARTITION_BY),
                commit_properties=properties,
                post_commithook_properties=PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False),
            )

        self._make(progress, write)

    def _make(self, progress: Progress, write: Callable[[CommitProperties], None]) -> None:
        """Make one commit that carries `progress`, on top of any commits of maintenance."""
        table = self._open_table()
        for _ in range(_RETRIES):
            if self._in_doubt:
                table.update_incremental()
                if self._was_made(table, progress):
                    self._settle(progress)
                    return
            seen = table.version()
            self._in_doubt = True
            try:
                write(
                    CommitProperties(
                        custom_metadata={METADATA_KEY: progress.to_json()},
                        max_commit_retries=0,  # conflicts are resolved here
                        app_transactions=[Transaction(self._app, progress.sequence), *self._kept(progress)],
                    )
                )
            except CommitFailedError as error:
                table.update_incremental()
                if table.version() == seen:  # no conflict: the store refused the write
                    raise store_error(self.address.endpoint, f"accept the commit to {self.address.uri}", error) from error
                if not self._was_made(table, progress):
                    continue
            else:
                table.update_incremental()
            self._settle(progress)
            return
        raise LakeError(f"{self.address.uri}: not committed after {_RETRIES} conflicting commits", table=self.address.table)

    def _kept(self, progress: Progress) -> list[Transaction]:
        """Changed offsets as app transactions; all offsets in the first commit of a run."""
        before = self.progress.offsets
        return [Transaction(offset_app(*key), offset) for key, offset in sorted(progress.offsets.items()) if before.get(key) != offset]

    def _settle(self, progress: Progress) -> None:
        self.progress, self._app_version, self._in_doubt = progress, progress.sequence, False

    def _was_made(self, table: DeltaTable, progress: Progress) -> bool:
        """After a commit that was refused or not answered: True if it was made, False if it may be retried. Raises LakeError for another job's."""
        version = table.transaction_version(self._app) or 0
        if version == self._app_version:
            return False
        last = read_progress(table)
        if version == progress.sequence and last is not None and (last.run, last.sequence) == (self._run, progress.sequence):
            return True
        other = last.run if last else "unknown"
        raise LakeError(
            f"{self.address.uri}: another lake job (run {other}) has taken over this table; run {self._run} stops to avoid duplicate rows",
            table=self.address.table,
            other_run=other,
        )

    def _add_action(self, part: WrittenPart) -> AddAction:
        name = parse_part(part.path)
        if name is None:
            raise LakeError(f"{part.path!r} is not a data file name", table=self.address.table)
        return AddAction(part.path, part.size, name.partition_values, time.time_ns() // 1_000_000, True, part.stats)

    def _open_table(self) -> DeltaTable:
        if self._table is None:
            raise LakeError(f"{self.address.uri} is used before `open`", table=self.address.table)
        return self._table


def _relax(table: DeltaTable, column: str, properties: CommitProperties) -> None:
    table.alter.drop_column_not_null(column, commit_properties=properties)
