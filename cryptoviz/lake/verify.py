"""Compares Kafka and the lake: lost, doubled and unknown records, for two kinds of reader.

Delta readers use the table's log; plain readers read every Parquet file under the folder. Both must find each committed Kafka record exactly once, as
a row or a dead letter. Records past the lake's progress are pending, not lost; rows whose records Kafka has since dropped are no fault. Rows are
counted by topic id, partition and offset, independent of their file, while streaming: memory is a few bytes for each offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from cryptoviz.lake.delta import TABLE_ERRORS, open_table
from cryptoviz.lake.identity import identities
from cryptoviz.lake.kafka_audit import KafkaContents, read_kafka
from cryptoviz.lake.objects import S3Access, table_address
from cryptoviz.lake.offsets import EventIdCounter, TableOffsets
from cryptoviz.lake.progress import read_progress
from cryptoviz.lake.schema import IDENTITY, IDENTITY_COLUMNS, KAFKA_POSITION
from cryptoviz.lake.store_errors import store_error, store_errors
from cryptoviz.lake.table_specs import topic_tables
from cryptoviz.settings import Settings

__all__ = ["READERS", "Comparison", "Report", "TableContents", "compare", "read_lake", "verify"]

Reader = Literal["delta", "plain"]
READERS: tuple[Reader, ...] = ("delta", "plain")

_SAMPLES = 5
_BATCH_ROWS = 65_536
_AHEAD = 4  # record batches and files of Arrow's read-ahead
_TRIES = 4  # a plain reader reads again if maintenance replaced files during the read
_COUNTED = {table: name for table, name in IDENTITY.items() if table != "raw"}
_SCHEMA = pa.schema(
    [
        ("kafka_topic_id", pa.string()),
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
        *((name, pa.string()) for table in _COUNTED for name in IDENTITY_COLUMNS[table]),
    ]
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A topic compared with a reader's view of its table. Counts of records; `samples`: `partition:offset` of the first faults.

    Attributes:
        lost: in Kafka, below the lake's progress, but neither in the table nor in the dead letters.
        doubled: surplus occurrences of an offset in the table and the dead letters together.
        unknown: in the lake, within Kafka's offset range, but not a record of Kafka.
        pending: in Kafka, past the lake's progress.
        expired: only in the lake, because Kafka has since dropped them or the topic was re-created.
        repeated_events: surplus occurrences of an identity (such as event_id) in the lake beyond those in Kafka.
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
    """Comparisons of all topics for both readers."""

    comparisons: tuple[Comparison, ...]

    @property
    def ok(self) -> bool:
        """Whether every comparison is without fault."""
        return all(one.ok for one in self.comparisons)

    @property
    def pending(self) -> int:
        """Records that the lake has not read yet."""
        return max((one.pending for one in self.comparisons), default=0)

    def to_json_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "pending": self.pending, "comparisons": [asdict(one) | {"ok": one.ok} for one in self.comparisons]}

    def to_text(self) -> str:
        """One line for each comparison, and the overall result."""
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


@dataclass(slots=True)
class TableContents:
    """Content of a table, as a reader sees it."""

    offsets: TableOffsets = field(default_factory=TableOffsets)
    events: EventIdCounter = field(default_factory=EventIdCounter)

    @property
    def rows(self) -> int:
        return sum(self.offsets.rows.values())


def compare(taken: KafkaContents, table: str, reader: str, rows: TableContents, dead: TableContents, progress: Mapping[int, int]) -> Comparison:
    """Compare the records of a topic with a table's rows and dead letters. `progress`: next offset by partition. Pure."""
    lost = doubled = unknown = pending = 0
    expired = rows.rows - rows.offsets.rows[taken.topic_id]
    covered: dict[str, str] = {}
    samples: list[str] = []
    for partition, in_kafka in sorted(taken.offsets.items()):
        earliest, end = taken.bounds[partition]
        found: dict[str, list[int]] = {"lost": [], "doubled": [], "unknown": []}
        first = last = -1
        both = rows.offsets.of(taken.topic_id, partition).plus(dead.offsets.of(taken.topic_id, partition))
        for offsets, kafka, lake in in_kafka.pages(both):
            missing = (kafka > 0) & (lake == 0)
            gone = missing & (offsets < progress.get(partition, 0))
            strange = (lake > 0) & (kafka == 0) & (offsets >= earliest) & (offsets < end)
            lost += int(gone.sum())
            pending += int(missing.sum()) - int(gone.sum())
            doubled += int(lake[lake > 1].astype(int).sum() - (lake > 1).sum())
            unknown += int(strange.sum())
            expired += int(((lake > 0) & (offsets < earliest)).sum())
            for fault, where in (("lost", gone), ("doubled", lake > 1), ("unknown", strange)):
                found[fault].extend(offsets[where][: _SAMPLES - len(found[fault])].tolist())
            held = offsets[lake > 0]
            if len(held):
                first, last = int(held[0]) if first < 0 else first, int(held[-1])
        if last >= 0:
            covered[str(partition)] = f"{first}-{last}"
        samples.extend(f"{fault} {partition}:{offset}" for fault, where in found.items() for offset in where)
    return Comparison(
        topic=taken.topic,
        table=table,
        reader=reader,
        kafka_records=taken.records,
        rows=rows.rows,
        dead_letters=dead.offsets.rows[taken.topic_id],
        lost=lost,
        doubled=doubled,
        unknown=unknown,
        pending=pending,
        expired=expired,
        repeated_events=max(0, rows.events.repeated - taken.repeated_events),
        covered=covered,
        samples=tuple(samples),
    )


def verify(settings: Settings) -> Report:
    """Compare all topics, up to their current end, with all tables, for both readers.

    Raises:
        EngineUnavailable: Kafka or the object store does not answer.
    """
    tables = topic_tables(settings)
    # In this order, because the lake only grows in the meantime, and Kafka has every record that it gains.
    progress = {table: _progress(settings, table) for table in tables.values()}
    lake = {(table, reader): read_lake(settings, table, reader) for table in (*tables.values(), "dead_letters") for reader in READERS}
    found: list[Comparison] = []
    for topic, table in tables.items():
        taken = read_kafka(settings, topic, identity=_COUNTED.get(table, ""))
        done = {partition: offset for (topic_id, partition), offset in progress[table].items() if topic_id == taken.topic_id}
        found.extend(compare(taken, table, reader, lake[table, reader], lake["dead_letters", reader], done) for reader in READERS)
    return Report(tuple(found))


def read_lake(settings: Settings, table: str, reader: Reader) -> TableContents:
    """Read a table by its Delta log or by its folder. Empty if the table does not exist yet.

    If maintenance replaced files during the read, read again, because a reader of the folder may then see rows twice or not at all.

    Raises:
        EngineUnavailable: the object store does not answer, or maintenance replaced files during every try.
    """
    address = table_address(settings.s3, table)
    for last in (*(False,) * (_TRIES - 1), True):
        before = _paths(settings, table)
        seen = TableContents()
        try:
            for batch in _batches(settings, table, reader):
                seen.offsets.add(*(batch.column(name) for name in KAFKA_POSITION))
                if table in _COUNTED:
                    seen.events.add(identities(batch, table))
        except TABLE_ERRORS as error:
            if last or before <= _paths(settings, table):
                raise store_error(address.endpoint, f"return {address.uri}", error) from error
            continue
        if last or before <= _paths(settings, table):
            return seen
    raise AssertionError("the last try returns or raises")  # pragma: no cover


def _batches(settings: Settings, table: str, reader: Reader) -> Iterator[pa.RecordBatch]:
    """The Kafka columns, and the identity of the records except raw exchanges and dead letters."""
    address = table_address(settings.s3, table)
    columns = [*KAFKA_POSITION, *(IDENTITY_COLUMNS[table] if table in _COUNTED else ())]
    if reader == "delta":
        opened = open_table(address.uri, settings.s3.storage_options())
        if opened is None:
            return
        dataset = opened.to_pyarrow_dataset()
    else:
        filesystem = S3Access.of(settings.s3).filesystem()
        listed = filesystem.get_file_info(pafs.FileSelector(address.root, recursive=True, allow_not_found=True))
        files = [file.path for file in listed if file.type is pafs.FileType.File and _is_data(file.path)]
        dataset = ds.dataset(files, schema=_SCHEMA, filesystem=filesystem)
    yield from dataset.to_batches(columns=columns, batch_size=_BATCH_ROWS, batch_readahead=_AHEAD, fragment_readahead=_AHEAD)


def _paths(settings: Settings, table: str) -> set[str]:
    """Files of the table's current version."""
    address = table_address(settings.s3, table)
    with store_errors(address.endpoint, f"open {address.uri}", TABLE_ERRORS):
        opened = open_table(address.uri, settings.s3.storage_options())
        return set() if opened is None else set(opened.get_add_actions().column("path").to_pylist())


def _is_data(path: str) -> bool:
    """Whether plain readers read the file: Parquet, outside folders whose name begins with `_`."""
    return path.endswith(".parquet") and "/_" not in path


def _progress(settings: Settings, table: str) -> dict[tuple[str, int], int]:
    address = table_address(settings.s3, table)
    with store_errors(address.endpoint, f"open {address.uri}", TABLE_ERRORS):
        opened = open_table(address.uri, settings.s3.storage_options())
        last = None if opened is None else read_progress(opened)
    return dict(last.offsets) if last else {}
