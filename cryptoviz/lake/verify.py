"""Kafka and the lake side by side: what is lost, doubled or unknown, as seen by two kinds of reader.

Delta readers go by the table's log; plain readers take every Parquet file under the folder. Both must find each committed Kafka record exactly once,
as a row or as a dead letter. Records past the lake's own progress are pending, not lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.committed import Taken, read_kafka
from cryptoviz.lake.objects import S3Access, table_address
from cryptoviz.lake.progress import read_progress
from cryptoviz.settings import Settings

__all__ = ["READERS", "Comparison", "Report", "compare", "read_lake", "verify"]

Reader = Literal["delta", "plain"]
READERS: tuple[Reader, ...] = ("delta", "plain")

_SAMPLES = 5
_COLUMNS = ("kafka_topic_id", "kafka_partition", "kafka_offset")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One topic against one reader's view of its table. Counts of records; `samples` are `partition:offset` of the first faults.

    Attributes:
        lost: in Kafka, below the lake's progress, in neither table.
        doubled: surplus appearances of an offset in the table and the dead letters together.
        unknown: in the lake, within the offsets that Kafka holds, but no record of Kafka's.
        pending: in Kafka, not yet reached by the lake.
        expired: in the lake only, because Kafka has dropped them since, or their topic was re-created.
        repeated_events: surplus appearances of an event_id in the lake beyond those in Kafka itself.
        covered: offsets of the lake by partition, as `first-last`.
    """

    topic: str
    table: str
    reader: str
    kafka_records: int
    rows: int
    dead_letters: int
    lost: int
    doubled: int
    unknown: int
    pending: int
    expired: int
    repeated_events: int
    covered: dict[str, str] = field(default_factory=dict)
    samples: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing lost, doubled or unknown."""
        return not (self.lost or self.doubled or self.unknown or self.repeated_events)


@dataclass(frozen=True, slots=True)
class Report:
    """All topics by both readers."""

    comparisons: tuple[Comparison, ...]

    @property
    def ok(self) -> bool:
        """Every comparison is."""
        return all(one.ok for one in self.comparisons)

    @property
    def pending(self) -> int:
        """Records that the lake has yet to take."""
        return max((one.pending for one in self.comparisons), default=0)

    def to_json_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"ok": self.ok, "pending": self.pending, "comparisons": [asdict(one) | {"ok": one.ok} for one in self.comparisons]}

    def to_text(self) -> str:
        """One line for each comparison, and a verdict."""
        lines = []
        for one in self.comparisons:
            covered = ", ".join(f"[{partition}] {span}" for partition, span in one.covered.items()) or "none"
            lines.append(
                f"{one.topic} -> {one.table} ({one.reader} reader): {one.kafka_records} in Kafka, {one.rows} rows, {one.dead_letters} dead letters; "
                f"lost {one.lost}, doubled {one.doubled}, unknown {one.unknown}, event ids repeated {one.repeated_events}, pending {one.pending}, "
                f"no longer in Kafka {one.expired}; offsets {covered}"
            )
            lines.extend(f"  fault at {sample}" for sample in one.samples)
        lines.append("OK: nothing lost, nothing doubled" if self.ok else "FAULT: Kafka and the lake differ")
        return "\n".join(lines)


def compare(taken: Taken, table: str, reader: str, rows: pa.Table, dead: pa.Table, progress: Mapping[int, int]) -> Comparison:
    """Pure. `rows` and `dead` have the Kafka columns (and `event_id` where there is one); `progress` is the next offset by partition."""
    lost = doubled = unknown = pending = expired = 0
    covered: dict[str, str] = {}
    samples: list[str] = []
    both = pa.concat_tables([rows.select(list(_COLUMNS)), dead.select(list(_COLUMNS))])
    own = both.filter(pc.equal(both.column("kafka_topic_id"), taken.topic_id))
    expired += rows.num_rows - pc.sum(pc.equal(rows.column("kafka_topic_id"), taken.topic_id)).as_py() if rows.num_rows else 0
    for partition, in_kafka in sorted(taken.offsets.items()):
        of_partition = own.filter(pc.equal(own.column("kafka_partition"), partition))
        in_lake = np.sort(of_partition.column("kafka_offset").to_numpy().astype(np.int64))
        unique, counts = np.unique(in_lake, return_counts=True)
        earliest, end = taken.bounds[partition]
        missing = np.setdiff1d(in_kafka, unique, assume_unique=True)
        gone = missing[missing < progress.get(partition, 0)]
        strange = np.setdiff1d(unique[(unique >= earliest) & (unique < end)], in_kafka, assume_unique=True)
        twice = unique[counts > 1]
        lost += len(gone)
        pending += len(missing) - len(gone)
        doubled += int(counts.sum()) - len(unique)
        unknown += len(strange)
        expired += int((unique < earliest).sum())
        if len(unique):
            covered[str(partition)] = f"{unique[0]}-{unique[-1]}"
        for fault, offsets in (("lost", gone), ("doubled", twice), ("unknown", strange)):
            samples.extend(f"{fault} {partition}:{offset}" for offset in offsets[:_SAMPLES])
    return Comparison(
        topic=taken.topic,
        table=table,
        reader=reader,
        kafka_records=sum(len(offsets) for offsets in taken.offsets.values()),
        rows=rows.num_rows,
        dead_letters=int(pc.sum(pc.equal(dead.column("kafka_topic_id"), taken.topic_id)).as_py() or 0),
        lost=lost,
        doubled=doubled,
        unknown=unknown,
        pending=pending,
        expired=expired,
        repeated_events=max(0, _repeated(rows) - taken.repeated_events),
        covered=covered,
        samples=tuple(samples),
    )


def _repeated(rows: pa.Table) -> int:
    if "event_id" not in rows.column_names:
        return 0
    return int(rows.num_rows) - int(pc.count_distinct(rows.column("event_id")).as_py())


def verify(settings: Settings) -> Report:
    """Read both topics to their present end and all tables by both readers.

    Raises:
        EngineUnavailable: Kafka or the object store does not answer.
    """
    kafka = settings.kafka
    tables = {kafka.stream_topic: "prices", kafka.raw_topic: "raw"}
    # The progress first, the lake next and Kafka last: the lake may only grow meanwhile, and what it has gained Kafka has too.
    progress = {table: _progress(settings, table) for table in tables.values()}
    lake = {(table, reader): read_lake(settings, table, reader) for table in (*tables.values(), "dead_letters") for reader in READERS}
    taken = {topic: read_kafka(settings, topic, with_events=topic == kafka.stream_topic) for topic in tables}
    found: list[Comparison] = []
    for topic, table in tables.items():
        done = {partition: offset for (topic_id, partition), offset in progress[table].items() if topic_id == taken[topic].topic_id}
        found.extend(compare(taken[topic], table, reader, lake[table, reader], lake["dead_letters", reader], done) for reader in READERS)
    return Report(tuple(found))


def read_lake(settings: Settings, table: str, reader: Reader) -> pa.Table:
    """The Kafka columns of a table (and event_id of prices), by the Delta log or by the folder alone. Empty when there is nothing yet."""
    columns = [*_COLUMNS, *(["event_id"] if table == "prices" else [])]
    address = table_address(settings.s3, table)
    empty = pa.schema([("kafka_topic_id", pa.string()), ("kafka_partition", pa.int32()), ("kafka_offset", pa.int64())])
    if table == "prices":
        empty = empty.append(pa.field("event_id", pa.string()))
    try:
        if reader == "delta":
            dataset = DeltaTable(address.uri, storage_options=settings.s3.storage_options()).to_pyarrow_dataset()
        else:
            filesystem = S3Access.of(settings.s3).filesystem()
            files = [file.path for file in filesystem.get_file_info(pafs.FileSelector(address.root, recursive=True)) if _is_data(file.path)]
            dataset = ds.dataset(files, schema=empty, filesystem=filesystem)
        rows = dataset.to_table(columns=columns)
    except (TableNotFoundError, FileNotFoundError):
        return empty.empty_table()
    except (DeltaError, OSError) as error:
        raise EngineUnavailable(f"the object store did not give {address.uri}: {error}", engine="object-store") from error
    return rows.cast(empty)


def _is_data(path: str) -> bool:
    """Every Parquet file that a reader of the folder takes; names that begin with `_` are passed over by all of them."""
    return path.endswith(".parquet") and "/_" not in path


def _progress(settings: Settings, table: str) -> dict[tuple[str, int], int]:
    try:
        log = DeltaTable(table_address(settings.s3, table).uri, storage_options=settings.s3.storage_options())
        last = read_progress(log)
    except TableNotFoundError:
        return {}
    except (DeltaError, OSError) as error:
        raise EngineUnavailable(f"the object store did not open the table {table}: {error}", engine="object-store") from error
    return dict(last.offsets) if last else {}
