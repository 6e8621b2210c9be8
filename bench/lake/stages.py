"""CPU time of a record by stage of a task, in one process on one core, and the resulting maximum throughput of a core."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.json

from bench.lake.figures import Figure, Part
from bench.lake.records import START_MS, Shape, records
from cryptoviz.lake.objects import S3Access, TableAddress
from cryptoviz.lake.schema import DEAD_TABLE
from spark_jobs.streaming import decode, write
from spark_jobs.streaming.write import TopicSpec, WriteSpec, write_parts
from spark_jobs.tables.record_spec import PRICES_SPEC

__all__ = ["Sizes", "Stopwatch", "decoded_per_s", "source_batches", "stages"]

_TOPIC, _TOPIC_ID = "crypto-streaming", "00000000-0000-0000-0000-000000000000"
_STAGES = {
    "decode._ndjson": "prove that the bytes are flat NDJSON",
    "decode.pj.read_json": "pyarrow.json",
    "decode._plausible": "validate ranges, times, prices",
    "decode._cast": "cast times",
    "write.encode": "encode Parquet",
    "write.statistics": "statistics for the log",
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Records in record batches as large as a task reads, and as small as in a quiet market."""

    records: int = 400_000
    batch: int = 8_192
    small_batch: int = 170
    shape: Shape = "short"


class Stopwatch:
    """CPU seconds by name; nested calls count in both."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed."""

        def timed(*args: Any, **options: Any) -> Any:
            begun = time.process_time()
            try:
                return function(*args, **options)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - begun

        return timed


def stages(sizes: Sizes) -> Part:
    """Without engines: input are record batches as from the Kafka reader, output are Parquet bytes."""
    figures: list[Figure] = []
    for label, batch, count in (("backlog", sizes.batch, sizes.records), ("quiet market", sizes.small_batch, sizes.records // 10)):
        found = [value for _, value in records(count, sizes.shape)]
        batches = list(source_batches(found, batch))
        whole, watch = _run(batches, one_file=batch == sizes.batch)
        per_million = 1e6 / count
        figures.append(
            Figure(
                f"{label}: a task's Python, whole",
                round(whole * per_million, 2),
                "CPU s per million",
                note=f"one core: {count / whole:.0f} records/s",
            )
        )
        for name, title in _STAGES.items():
            spent = watch.seconds.get(name, 0.0)
            figures.append(Figure(f"{label}: {title}", round(spent * per_million, 2), "CPU s per million", note=f"{spent / whole:.0%}"))
    return Part(
        name="stages",
        title="Where a task's time goes",
        sizes=f"{sizes.records} records of {len(found[0])} bytes, batches of {sizes.batch}; and batches of {sizes.small_batch}, a file each",
        figures=tuple(figures),
        verifier="",
        notes=("processor time of one process; nothing is put to a store here",),
    )


def decoded_per_s(shape: Shape, cores: int) -> float:
    """Records that the cores could decode and encode if they did nothing else: the limit of a job that runs on them."""
    sizes = Sizes(shape=shape)
    batches = list(source_batches([value for _, value in records(sizes.records, shape)], sizes.batch))
    return cores * sizes.records / _run(batches, one_file=True)[0]


def source_batches(values: list[bytes], size: int) -> Iterator[pa.RecordBatch]:
    """Record batches like those of `spark_jobs.streaming.kafka_range_reader.read_range`."""
    for start in range(0, len(values), size):
        piece = values[start : start + size]
        count = len(piece)
        columns = {
            "offset": pa.array(range(start, start + count), pa.int64()),
            "timestamp": pa.array([START_MS + 2 * (start + number) for number in range(count)], pa.timestamp("ms", tz="UTC")),
            "key": pa.repeat(pa.scalar(b"bitcoin", pa.binary()), count),
            "value": pa.array(piece, pa.binary()),
        }
        yield pa.record_batch(columns)


def _run(batches: list[pa.RecordBatch], *, one_file: bool) -> tuple[float, Stopwatch]:
    watch = Stopwatch()
    addresses = {table: TableAddress(table, "bench", f"{table}/") for table in ("prices", DEAD_TABLE)}
    plan = WriteSpec({_TOPIC: TopicSpec(_TOPIC_ID, PRICES_SPEC)}, addresses, S3Access("http://127.0.0.1:1", "", "", ""), 1 << 20)
    with _timed(watch):
        begun = time.process_time()
        for group in [batches] if one_file else [[batch] for batch in batches]:
            for _ in write_parts(iter(group), _TOPIC, 0, plan, lambda *_: None):
                pass
        return time.process_time() - begun, watch


@contextmanager
def _timed(watch: Stopwatch) -> Iterator[None]:
    modules: dict[str, Any] = {"decode": decode, "write": write}
    with patch.object(decode, "pj", _TimedJson(watch)):
        patches = []
        for name in _STAGES:
            module, _, attribute = name.partition(".")
            if "." not in attribute:
                patches.append(patch.object(modules[module], attribute, watch.around(name, getattr(modules[module], attribute))))
        for one in patches:
            one.start()
        try:
            yield
        finally:
            for one in patches:
                one.stop()


class _TimedJson:
    """`pyarrow.json` with its reader timed: the module itself cannot be patched."""

    def __init__(self, watch: Stopwatch) -> None:
        self._module = pyarrow.json
        self.read_json = watch.around("decode.pj.read_json", self._module.read_json)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
