"""Alternative implementations, each compared with the current one: throughput to the store, without Kafka and Spark."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from bench.lake.environment import engines
from bench.lake.figures import Figure, Part
from bench.lake.records import records
from bench.lake.tables import day_rows
from cryptoviz.lake.objects import table_address
from cryptoviz.lake.schema import DEAD_LETTERS, PRICES, RAW
from cryptoviz.settings import Settings
from cryptoviz.times import DAY_MS
from spark_jobs.streaming.decode import decode, ndjson_schema
from spark_jobs.tables.parquet import encode, repeats
from spark_jobs.tables.record_spec import PRICES_SPEC
from spark_jobs.tables.table_log import TableLog

__all__ = ["Sizes", "tried"]

_ROUNDS = 3
_JSON_BATCH = 8_192
_SORTED = [("asset_id", "ascending"), ("tick_ts", "ascending")]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Records for the JSON variants, ticks of 17 coins for the Parquet ones, commits for those of the log."""

    records: int = 200_000
    ticks: int = 10_000
    commits: int = 60


def tried(sizes: Sizes) -> Part:
    """The current variant is the first of each group."""
    figures = [*_json(sizes.records), *_parquet(sizes.ticks), *_commits(sizes.commits)]
    return Part(
        name="tried",
        title="Tried beside what is in use",
        sizes=f"{sizes.records} full records for JSON, {sizes.ticks * 17} rows for Parquet, {sizes.commits} commits to three tables",
        figures=tuple(figures),
        verifier="",
        notes=("best processor time of three rounds, one core",),
    )


def _cpu_s(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        begun = time.process_time()
        call()
        best = min(best, time.process_time() - begun)
    return best


def _json(count: int) -> list[Figure]:
    values = [value for _, value in records(count, "full")]
    arrays = [pa.array(values[start : start + _JSON_BATCH], pa.binary()) for start in range(0, count, _JSON_BATCH)]
    stamps = [pa.array([2_000_000_000_000] * len(array), pa.int64()) for array in arrays]

    def in_use(pieces: list[pa.Array]) -> None:
        for array, stamp in zip(pieces, stamps, strict=True):
            decode(array, stamp, PRICES_SPEC, 1 << 20)

    bare = [pa.array([value.as_py()[:-1] for value in array], pa.binary()) for array in arrays]
    figures = [
        _per_million("JSON: in use, newline-terminated values read where they lie", _cpu_s(lambda: in_use(arrays)), count),
        _per_million("JSON: values without the newline, checked one by one", _cpu_s(lambda: in_use(bare)), count),
    ]
    every = ndjson_schema(PRICES_SPEC)
    for block in (64 << 10, 256 << 10, 1 << 20, 8 << 20):
        spent = _cpu_s(partial(_read_json, arrays, every, block))
        figures.append(_per_million(f"JSON: pyarrow.json alone, blocks of {block >> 10} KiB", spent, count))
    values = [value for _, value in records(count, "short")]
    arrays = [pa.array(values[start : start + _JSON_BATCH], pa.binary()) for start in range(0, count, _JSON_BATCH)]
    own = pa.schema([field for field in every if field.name in json.loads(values[0])])
    for name, schema in (("in use, their own fields", own), ("all fields", every)):
        figures.append(_per_million(f"JSON: pyarrow.json alone, short records, {name}", _cpu_s(partial(_read_json, arrays, schema, 1 << 20)), count))
    return figures


def _read_json(arrays: list[pa.Array], schema: pa.Schema, block: int) -> None:
    options = pj.ReadOptions(use_threads=False, block_size=block)
    parse = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    for array in arrays:
        pj.read_json(pa.BufferReader(array.buffers()[2]), options, parse)


def _per_million(name: str, spent: float, count: int, note: str = "") -> Figure:
    return Figure(name, round(spent / count * 1e6, 2), "CPU s per million", note=note)


def _parquet(ticks: int) -> list[Figure]:
    rows = day_rows(DAY_MS // ticks, 1)
    stats = PRICES_SPEC.stats_columns
    ordered = rows.sort_by(_SORTED)
    options: dict[str, Any] = {"compression": "snappy", "write_statistics": list(stats), "store_schema": False, "row_group_size": 122_880}
    all_of_them = options | {"use_dictionary": True}
    repeating = [field.name for field in rows.schema if repeats(field)]
    some = options | {"use_dictionary": repeating}
    floats = [field.name for field in rows.schema if pa.types.is_float64(field.type)]
    split = some | {"column_encoding": dict.fromkeys(floats, "BYTE_STREAM_SPLIT")}
    variants: list[tuple[str, Callable[[], pa.Buffer]]] = [
        ("in use: dictionaries for what repeats, differences for what rises", lambda: encode(rows, stats)),
        ("in use, sorted by coin and time first", lambda: encode(rows.sort_by(_SORTED), stats)),
        ("in use, rows that are sorted already", lambda: encode(ordered, stats)),
        ("dictionaries for all columns", partial(_written, rows, all_of_them)),
        ("no dictionaries", partial(_written, rows, options | {"use_dictionary": False})),
        ("dictionaries for what repeats, no differences", partial(_written, rows, some)),
        ("the same, row groups of 8 192", partial(_written, rows, some | {"row_group_size": 8_192})),
        ("the same, row groups of 1 048 576", partial(_written, rows, some | {"row_group_size": 1 << 20})),
        ("the same, prices as split bytes", partial(_written, rows, split)),
        ("the same, zstd", partial(_written, rows, some | {"compression": "zstd"})),
    ]
    figures = []
    for name, make in variants:
        size = make().size
        figures.append(_per_million(f"Parquet: {name}", _cpu_s(make), rows.num_rows, f"{size / rows.num_rows:.1f} bytes a row"))
    return figures


def _written(rows: pa.Table, options: dict[str, Any]) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, **options)
    return sink.getvalue()


def _commits(count: int) -> list[Figure]:
    with engines() as settings:
        logs = _logs(settings)
        after_each_other = _wall_ms(lambda: list(map(_commit, logs)), count)
        with ThreadPoolExecutor(len(logs)) as pool:
            at_once = _wall_ms(lambda: list(pool.map(_commit, logs)), count)
    return [
        Figure("commit: in use, three tables after each other", round(after_each_other, 1), "ms"),
        Figure("commit: three tables at once", round(at_once, 1), "ms", note="a batch of prices alone commits one table"),
    ]


def _commit(log: TableLog) -> None:
    log.commit([], {})


def _logs(settings: Settings) -> list[TableLog]:
    found = []
    for table, schema in (("dead_letters", DEAD_LETTERS), ("raw", RAW), ("prices", PRICES)):
        log = TableLog(table_address(settings.s3, table), schema, settings.s3.storage_options(), "bench")
        log.open()
        found.append(log)
    return found


def _wall_ms(call: Callable[[], object], count: int) -> float:
    took = []
    for _ in range(count):
        begun = time.perf_counter()
        call()
        took.append((time.perf_counter() - begun) * 1000)
    return sorted(took)[len(took) // 2]
