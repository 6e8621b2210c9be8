"""The two kinds of readers of a lake's table, independent of the lake's own reader: by the Delta log, and of every Parquet file in the folder."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable

from cryptoviz.lake.objects import S3Access, table_address
from cryptoviz.settings import Settings

__all__ = ["READERS", "by_delta", "by_folder"]


def by_delta(settings: Settings, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows that the Delta log names."""
    address = table_address(settings.s3, table)
    return DeltaTable(address.uri, storage_options=settings.s3.storage_options()).to_pyarrow_dataset().to_table(columns and list(columns))


def by_folder(settings: Settings, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of every file, without the log."""
    filesystem = S3Access.of(settings.s3).filesystem()
    found = ds.dataset(table_address(settings.s3, table).root, filesystem=filesystem, partitioning="hive", exclude_invalid_files=False)
    return found.to_table(columns and list(columns))


READERS = (by_delta, by_folder)
