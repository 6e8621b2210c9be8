"""A read of a table whose files maintenance replaces meanwhile."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from cryptoviz.lake.delta import TABLE_ERRORS, DeltaTable, read_newest


def replace_by(folder: Path, value: int) -> None:
    """Replace the table's only file and delete it, as maintenance does."""
    write_deltalake(str(folder), pa.table({"value": [value]}), mode="overwrite")
    DeltaTable(str(folder)).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)


def values(table: DeltaTable) -> list[int]:
    found: list[int] = pa.table(table.to_pyarrow_table()).column("value").to_pylist()
    return found


def test_a_read_begins_again_with_the_version_that_replaced_its_files(tmp_path: Path) -> None:
    replace_by(tmp_path, 1)
    versions = []

    def read(table: DeltaTable) -> list[int]:
        versions.append(table.version())
        if len(versions) < 3:
            replace_by(tmp_path, 1 + len(versions))
        return values(table)

    assert read_newest(str(tmp_path), {}, read) == [3]
    assert len(set(versions)) == 3


def test_a_read_ends_when_every_version_is_replaced(tmp_path: Path) -> None:
    replace_by(tmp_path, 0)
    versions = []

    def read(table: DeltaTable) -> list[int]:
        versions.append(table.version())
        replace_by(tmp_path, len(versions))
        return values(table)

    with pytest.raises(TABLE_ERRORS):
        read_newest(str(tmp_path), {}, read)
    assert len(versions) == 4


def test_an_error_without_a_newer_version_is_raised_at_once(tmp_path: Path) -> None:
    replace_by(tmp_path, 0)
    for path in tmp_path.glob("*.parquet"):
        path.unlink()
    versions = []

    def read(table: DeltaTable) -> list[int]:
        versions.append(table.version())
        return values(table)

    with pytest.raises(OSError, match="parquet"):
        read_newest(str(tmp_path), {}, read)
    assert len(versions) == 1


def test_no_table_is_none(tmp_path: Path) -> None:
    assert read_newest(str(tmp_path / "missing"), {}, values) is None
