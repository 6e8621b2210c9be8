"""What a scanner keeps in memory between reads."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from cryptoviz.lake.files import DataFile, Snapshot
from cryptoviz.lake.objects import S3Access, TableAddress
from cryptoviz.lake.scan import Scanner
from cryptoviz.lake.schema import PRICES

DAY = date(2026, 3, 1)


def snapshot(version: int, path: str, size: int) -> Snapshot:
    return Snapshot(version, PRICES, {DAY: (DataFile(path, size, 0, DAY),)})


def test_rows_of_small_files_are_dropped_once_their_day_is_one_large_file(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def without_rows(self: Scanner, file: DataFile) -> pa.Table:
        read.append(file.path)
        return PRICES.empty_table()

    monkeypatch.setattr(Scanner, "_read_one", without_rows)
    scanner = Scanner(TableAddress("prices", "bucket", ""), S3Access("http://127.0.0.1:9", "us-east-1", "key", "secret"))
    for _ in range(2):
        scanner.dataset(snapshot(1, "small", 1000))
        assert list(scanner._days) == [DAY]
    assert read == ["small"]
    scanner.dataset(snapshot(2, "large", 1 << 20))
    assert list(scanner._days) == []
