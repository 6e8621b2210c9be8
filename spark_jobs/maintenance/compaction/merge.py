"""Merge of a day's files, which may be interrupted at any point.

stage -> prove -> copy to the final name -> commit -> delete the old files -> delete the staged file. Delta readers see the old or the new files,
never both. A plain reader of the folder sees the rows twice from the copy to the deletion, so these follow each other directly (docs/adr/0005).
Leftovers of a kill are removed by the sweep of the next round: no commit references them, and none ever will, since each attempt uses unique names
(`spark_jobs.tables.replace_files`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from minio import Minio
from minio.commonconfig import CopySource

from cryptoviz.errors import LakeError
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import TableAddress
from cryptoviz.lake.parts import STAGING, Compacted
from cryptoviz.log import get_logger
from spark_jobs.maintenance.compaction.plan import DayFile
from spark_jobs.maintenance.compaction.proof import Fingerprint, fingerprint, read_batches
from spark_jobs.maintenance.compaction.sorted_merge import Layout, Merged, merge
from spark_jobs.tables.orphans import remove_objects
from spark_jobs.tables.replace_files import NewFile, ReplacedFile, epoch_of, replace_files

__all__ = ["Compaction", "Compactor", "list_staged"]

_READERS = 16
_DOWNLOAD_PART_BYTES = 1 << 20

log = get_logger("maintenance")


@dataclass(frozen=True, slots=True)
class Compaction:
    """Result of a merge. `window_ms`: time in which a plain reader could see rows twice."""

    files: int
    rows: int
    bytes_before: int
    bytes_after: int
    window_ms: float
    took_ms: float


class Compactor:
    """Merges files of one table. `at` is called with the name of each completed stage and may raise; tests kill the process there."""

    def __init__(self, address: TableAddress, layout: Layout, client: Minio, scratch: Path, at: Callable[[str], None] = lambda _: None) -> None:
        self._address = address
        self._layout = layout
        self._client = client
        self._scratch = scratch
        self._at = at

    def compact(self, table: DeltaTable, files: Sequence[DayFile]) -> Compaction:
        """Replace `files`, all of one day and of `table`'s loaded version, by one file.

        Raises:
            LakeError: the rows of the new file differ from those of the old files, or an old file has a column that the table lacks; nothing was
                changed.
            EngineUnavailable, S3Error, DeltaError: the object store does not answer; a later round continues.
        """
        begun = time.monotonic()
        epoch = epoch_of(table)
        target = Compacted.of((file.path for file in files), files[0].day, uuid.uuid4().hex)
        local = self._scratch / "merged.parquet"
        sources = self._download(files)
        try:
            before = fingerprint((batch for path in sources for batch in read_batches(path, self._layout.schema)), self._layout.schema)
            merged = merge(sources, local, self._layout)
        finally:
            for path in sources:
                path.unlink(missing_ok=True)
        self._at("merged")
        self._stage(local, target)
        self._at("staged")
        self._prove(target, before, files, local)
        window_ms = self._swap(table, files, target, merged, epoch)
        remove_objects(self._client, self._address, [target.staged_path])
        done = Compaction(
            len(files), merged.rows, sum(file.size for file in files), merged.size, round(window_ms, 1), round((time.monotonic() - begun) * 1000, 1)
        )
        log.info("files_merged", table=self._address.table, day=str(target.day), files=done.files, rows=done.rows, bytes_before=done.bytes_before,
                 bytes_after=done.bytes_after, window_ms=done.window_ms, took_ms=done.took_ms)  # fmt: skip
        return done

    def _download(self, files: Sequence[DayFile]) -> list[Path]:
        def fetch(numbered: tuple[int, DayFile]) -> Path:
            number, file = numbered
            path = self._scratch / f"{number}.parquet"
            response = self._client.get_object(self._address.bucket, self._address.key(file.path))
            try:
                with path.open("wb") as sink:
                    for piece in response.stream(_DOWNLOAD_PART_BYTES):
                        sink.write(piece)
            finally:
                response.close()
                response.release_conn()
            return path

        with ThreadPoolExecutor(min(_READERS, len(files)), thread_name_prefix="compact-read") as pool:
            return list(pool.map(fetch, enumerate(files)))

    def _stage(self, local: Path, target: Compacted) -> None:
        self._client.fput_object(self._address.bucket, self._address.key(target.staged_path), str(local))
        local.unlink()

    def _prove(self, target: Compacted, before: Fingerprint, files: Sequence[DayFile], back: Path) -> None:
        """Read the new file back from the store and compare its rows with the old files'."""
        self._client.fget_object(self._address.bucket, self._address.key(target.staged_path), str(back))
        after = fingerprint(read_batches(back, self._layout.schema), self._layout.schema)
        back.unlink()
        logged = sum(file.rows for file in files)
        if before == after and logged == after.rows:
            self._at("proved")
            return
        remove_objects(self._client, self._address, [target.staged_path])
        raise LakeError(
            f"merge of {len(files)} files of {self._address.uri} on {target.day} failed its row check: the log has {logged} rows, the old files "
            f"{before.rows} (hash {before.total:x}), the new file {after.rows} (hash {after.total:x}); nothing was changed",
            table=self._address.table,
        )

    def _swap(self, table: DeltaTable, files: Sequence[DayFile], target: Compacted, merged: Merged, epoch: int) -> float:
        table.update_incremental()
        begun = time.monotonic()
        source = CopySource(self._address.bucket, self._address.key(target.staged_path))
        self._client.copy_object(self._address.bucket, self._address.key(target.path), source)
        self._at("copied")
        new = NewFile(target.path, merged.size, merged.stats, target.partition_values)
        old = [ReplacedFile(file.path, file.size, target.partition_values) for file in files]
        try:
            replace_files(table, [new], old, data_change=False, epoch=epoch)
        except LakeError:  # another round committed first: no commit references the new file, and none ever will
            remove_objects(self._client, self._address, [target.path, target.staged_path])
            raise
        self._at("committed")
        remove_objects(self._client, self._address, [file.path for file in files])
        window_ms = (time.monotonic() - begun) * 1000
        self._at("deleted")
        return window_ms


def list_staged(client: Minio, address: TableAddress) -> list[str]:
    """Paths in the staging folder, relative to the table."""
    return [
        item.object_name.removeprefix(address.prefix) for item in client.list_objects(address.bucket, prefix=address.key(STAGING), recursive=True)
    ]
