"""A folder in place of the object store: the client calls that sweeps and merges use, and tables that delta-rs opens there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import S3Access, TableAddress
from cryptoviz.lake.parts import short_topic_id
from cryptoviz.lake.schema import PRICES
from spark_jobs.streaming.write import TopicSpec, WriteSpec, write_parts
from spark_jobs.tables.parquet import WrittenPart
from spark_jobs.tables.record_spec import PRICES_SPEC
from spark_jobs.tables.table_log import TableLog
from tests.support.records import TICK, binary, record

__all__ = ["DAY", "TOPIC", "FolderAddress", "FolderClient", "Job", "offsets_in", "open_table"]

TOPIC = "6c1f4ac0-8a4b-4c6d-9a51-0f2e3d4c5b6a"
SHORT = short_topic_id(TOPIC)
DAY = date(2025, 11, 24)


@dataclass(frozen=True, slots=True)
class FolderAddress(TableAddress):
    """A table in a folder."""

    @property
    def uri(self) -> str:
        return str(Path(self.bucket) / self.prefix)


@dataclass(frozen=True)
class _Item:
    object_name: str
    etag: str = ""


class FolderClient:
    """The part of `minio.Minio` that sweeps and merges use. `before(what, names)` is called before each change and may do anything."""

    def __init__(self, before: Callable[[str, list[str]], None] = lambda _what, _names: None) -> None:
        self.before = before

    def list_objects(self, bucket: str, prefix: str = "", recursive: bool = False) -> Iterator[_Item]:
        assert recursive
        root = Path(bucket)
        names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        return iter([_Item(name) for name in names if name.startswith(prefix)])

    def remove_objects(self, bucket: str, objects: Iterable[Any]) -> Iterator[Any]:
        names = [one.name for one in objects]
        self.before("delete", names)
        for name in names:
            (Path(bucket) / name).unlink(missing_ok=True)
        return iter(())

    def get_object(self, bucket: str, key: str) -> Any:
        class Response:
            def stream(self, size: int) -> Iterator[bytes]:
                del size
                yield (Path(bucket) / key).read_bytes()

            def close(self) -> None: ...

            def release_conn(self) -> None: ...

        return Response()

    def fput_object(self, bucket: str, key: str, path: str) -> None:
        (Path(bucket) / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, Path(bucket) / key)

    def fget_object(self, bucket: str, key: str, path: str) -> None:
        shutil.copy(Path(bucket) / key, path)

    def copy_object(self, bucket: str, key: str, source: Any) -> None:
        self.before("copy", [key])
        (Path(bucket) / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(source.bucket_name) / source.object_name, Path(bucket) / key)


def open_table(address: TableAddress) -> DeltaTable:
    return DeltaTable(address.uri)


def offsets_in(address: TableAddress, *, plain: bool = False) -> list[int]:
    """Rows for a reader of the log, or of the folder."""
    if not plain:
        rows = open_table(address).to_pyarrow_table(columns=["kafka_offset"])
        return sorted(rows["kafka_offset"].to_pylist())
    import pyarrow.parquet as pq

    found = [pq.ParquetFile(path).read(columns=["kafka_offset"]) for path in sorted(Path(address.uri).glob("year=*/*/*/*.parquet"))]
    return sorted(offset for rows in found for offset in rows["kafka_offset"].to_pylist())


class Job:
    """A run of the lake job over a table in a folder: its log, and files written like those of its tasks."""

    def __init__(self, folder: Path, run: str) -> None:
        self.address = FolderAddress("prices", str(folder), "")
        self.log = TableLog(self.address, PRICES, {}, run)

    def open(self) -> Job:
        self.log.open([(TOPIC, 0)])
        return self

    def put(self, start: int, end: int, avoid: Iterable[str] = ()) -> list[WrittenPart]:
        """Write files of the offsets `[start, end)` without a commit."""
        batch = pa.record_batch(
            {
                "offset": pa.array(range(start, end), pa.int64()),
                "timestamp": pa.array([TICK] * (end - start), pa.timestamp("ms", tz="UTC")),
                "key": pa.array([b"bitcoin"] * (end - start), pa.binary()),
                "value": binary([record(TICK + offset * 1000).to_json() for offset in range(start, end)]),
            }
        )
        plan = WriteSpec({"stream": TopicSpec(TOPIC, PRICES_SPEC)}, {"prices": self.address}, S3Access("", "", "", ""), 1 << 20,
                         avoid={"prices": frozenset(avoid)})  # fmt: skip
        return [one.part for one in write_parts([batch], "stream", 0, plan, self._put)]

    def commit(self, parts: list[WrittenPart], end: int) -> None:
        self.log.commit(parts, {(TOPIC, 0): end})

    def batch(self, end: int, avoid: Iterable[str] = ()) -> list[str]:
        """Write and commit a batch up to `end`; returns its paths."""
        parts = self.put(self.log.progress.offsets.get((TOPIC, 0), 0), end, avoid)
        self.commit(parts, end)
        return [part.path for part in parts]

    def _put(self, address: TableAddress, path: str, data: pa.Buffer) -> None:
        target = Path(address.uri) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
