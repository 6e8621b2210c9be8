"""Which version of a table a point in time is. `tests/integration/test_lake_reader.py` uses real object stores."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from cryptoviz.errors import VersionNotKept
from cryptoviz.lake import files
from cryptoviz.lake.files import Commit, FileIndex, Snapshot
from cryptoviz.times import utc

SECOND = utc(1_700_000_000_000)
KEPT = range(2, 5)
SCHEMA = pa.schema([("kafka_offset", pa.int64())])


def made(version: int) -> datetime:
    return SECOND + timedelta(milliseconds=100 * version)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> FileIndex:
    """Five commits of one second, of which the log has three. The store knows only the second, so that delta-rs finds the last."""
    found = FileIndex.__new__(FileIndex)

    def past(which: int | datetime, wanted: str, newest: int) -> Any:
        del wanted
        version = which if isinstance(which, int) else newest if which >= SECOND else KEPT.start
        return SimpleNamespace(version=lambda: version)

    monkeypatch.setattr(files, "read_commit", lambda access, address, version: Commit(version, made(version), None) if version in KEPT else None)
    for name, value in {"_past": past, "newest": lambda: Snapshot(KEPT[-1], SCHEMA), "_files": lambda table: {}}.items():
        monkeypatch.setattr(found, name, value)
    for name in ("_access", "_address"):
        setattr(found, name, None)
    monkeypatch.setattr(found, "_spec", SimpleNamespace(name="prices"), raising=False)
    return found


@pytest.mark.parametrize(("as_of", "version"), [(made(2), 2), (made(3) - timedelta(milliseconds=1), 2), (made(3), 3), (made(4), 4), (made(40), 4)])
def test_a_point_in_time_is_the_last_commit_before_it_also_within_a_second(index: FileIndex, as_of: datetime, version: int) -> None:
    assert index.at(as_of=as_of).version == version


@pytest.mark.parametrize("as_of", [made(1), SECOND - timedelta(days=1)])
def test_a_time_before_the_log_is_refused_with_its_oldest_entry(index: FileIndex, as_of: datetime) -> None:
    with pytest.raises(VersionNotKept, match=r"the oldest log entry is of 2023-11-14T22:13:20\.200000"):
        index.at(as_of=as_of)
