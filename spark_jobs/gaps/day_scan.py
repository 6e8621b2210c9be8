"""Reads the columns of prices and raw exchanges of a UTC day that gap detection needs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cryptoviz.audit import RECORDER, RULES_WHOLE, TICK
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.providers.registry import HISTORY_PATHS
from cryptoviz.records import Kind
from spark_jobs.gaps.detect import DayContents, Fill, TickRecord
from spark_jobs.tables.parquet import parquet_file

__all__ = ["DayScan", "first_live", "first_record_with_a_price", "read_day", "scan_rows"]

_READERS = 8  # threads; small reads wait for the network, not for the CPU
_PRICES = ("tick_ts", "asset_id", "kind", "provider", "ingest_ts")
_RAW = ("tick_ts", "provider", "endpoint", "outcome")


@dataclass(frozen=True, slots=True)
class DayScan:
    """A day's content. `steps`: (tick, grid step) in order, from the tick records; `providers`: those of the last record; `wanted`: by asset, the
    first and last tick at which the asset was configured, with or without a price.
    """

    seen: DayContents
    steps: tuple[tuple[int, int], ...] = ()
    providers: tuple[str, ...] = ()
    wanted: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def read_day(tables: Mapping[str, DeltaTable | None], files: Mapping[str, Mapping[str, int]]) -> DayScan:
    """Read the files of a day: by table, size by path. Raises OSError if the object store does not answer."""
    found: dict[str, pa.Table] = {}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="gaps") as pool:
        for name, columns in (("prices", _PRICES), ("raw", _RAW)):
            table = tables[name]
            if table is not None and (of_day := files.get(name)):
                opened = pool.map(partial(parquet_file, table), of_day.keys(), of_day.values())
                found[name] = pa.concat_tables(pool.map(partial(_read, columns=columns, with_bodies=name == "raw"), opened))
    return scan_rows(found.get("prices"), found.get("raw"))


def scan_rows(prices: pa.Table | None, raw: pa.Table | None) -> DayScan:
    """A day's content from its rows; `raw` has bodies only for the collector's records."""
    seen = DayContents()
    if prices is not None:
        _take_prices(seen, prices)
    if raw is None:
        return DayScan(seen)
    answers = raw.filter(pc.not_equal(raw["provider"], RECORDER))
    for path in HISTORY_PATHS:
        answers = answers.filter(pc.invert(pc.match_substring(answers["endpoint"], path)))
    seen.asked = _ticks_by(answers, "provider")
    seen.answered = _ticks_by(answers.filter(pc.equal(answers["outcome"], "ok")), "provider")
    own = raw.filter(pc.equal(raw["provider"], RECORDER))
    records = own.filter(pc.equal(own["endpoint"], TICK))
    # Rules split over several records (above a thousand assets) are not read: such assets are expected from their first price on.
    rules = own.filter(pc.equal(own["endpoint"], RULES_WHOLE))
    assets = _assets_of_rules(set(rules["body"].to_pylist()))
    return _take_records(seen, zip(_ms(records["tick_ts"]).tolist(), records["body"].to_pylist(), strict=True), assets)


def first_record_with_a_price(seen: DayContents) -> int | None:
    """The first tick at which a provider answered, by the tick records."""
    return min((tick for tick, record in seen.records.items() if record.good), default=None)


def first_live(seen: DayContents) -> int | None:
    """The first tick with a live row."""
    return min((int(ticks[0]) for ticks in seen.live.values()), default=None)


def _read(file: pq.ParquetFile, columns: Sequence[str], *, with_bodies: bool) -> pa.Table:
    if not with_bodies:
        return file.read(columns=list(columns), use_threads=False)
    groups = []
    for number in range(file.num_row_groups):
        part = file.read_row_group(number, columns=list(columns), use_threads=False)
        # Bodies of market pages are megabytes: read only those of row groups with a record of the collector.
        own = pc.equal(part["provider"], RECORDER)
        if pc.any(own).as_py():
            bodies = file.read_row_group(number, columns=["body"], use_threads=False)["body"]
            part = part.append_column("body", pc.if_else(own, bodies, pa.scalar(None, pa.string())))
        else:
            part = part.append_column("body", pa.nulls(part.num_rows, pa.string()))
        groups.append(part)
    return pa.concat_tables(groups)


def _take_prices(seen: DayContents, prices: pa.Table) -> None:
    is_live = pc.equal(prices["kind"], Kind.LIVE)
    seen.live = _ticks_by(prices.filter(is_live), "asset_id")
    brought = prices.filter(pc.invert(is_live))
    rows = zip(
        brought["asset_id"].to_pylist(),
        _ms(brought["tick_ts"]).tolist(),
        brought["provider"].to_pylist(),
        _ms(brought["ingest_ts"]).tolist(),
        strict=True,
    )
    for asset_id, tick, provider, ingest in rows:
        seen.fills.setdefault(asset_id, {})[tick] = Fill(provider, ingest)


def _ticks_by(rows: pa.Table, name: str) -> dict[str, Any]:
    keys, ticks = rows[name].combine_chunks().dictionary_encode(), _ms(rows["tick_ts"])
    if isinstance(keys, pa.ChunkedArray):
        keys = keys.combine_chunks()
    codes = keys.indices.to_numpy(zero_copy_only=False)
    return {key: np.unique(ticks[codes == code]) for code, key in enumerate(keys.dictionary.to_pylist())}


def _ms(column: pa.ChunkedArray) -> Any:
    return column.cast(pa.timestamp("ms", tz="UTC"), safe=False).cast(pa.int64()).to_numpy()


def _assets_of_rules(bodies: Iterable[str | None]) -> dict[str, tuple[str, ...]]:
    """Configured assets by the hash of the rules, by which tick records refer to them."""
    found = {}
    for body in bodies:
        rules = _parsed(body) if body is not None else None
        if body is not None and rules is not None:
            names = (asset.get("asset_id") for asset in rules.get("assets") or () if isinstance(asset, dict))
            found[hashlib.blake2b(body.encode(), digest_size=16).hexdigest()] = tuple(name for name in names if isinstance(name, str))
    return found


def _take_records(seen: DayContents, records: Iterable[tuple[int, str | None]], assets: Mapping[str, tuple[str, ...]]) -> DayScan:
    wanted: dict[str, tuple[int, int]] = {}
    steps: list[tuple[int, int]] = []
    providers: tuple[str, ...] = ()
    kept: dict[TickRecord, TickRecord] = {}
    lost: dict[str, set[int]] = {"dropped": set(), "unplanned": set()}
    for tick, body in sorted((tick, body) for tick, body in records if body is not None):
        parsed = _parsed(body)
        if parsed is None:
            continue
        record = _record(parsed)
        seen.records[tick] = kept.setdefault(record, record)  # shares equal records, which most ticks of a day have
        if isinstance(parsed.get("tick_ms"), int) and parsed["tick_ms"] > 0:
            steps.append((tick, parsed["tick_ms"]))
        providers = tuple(sorted(record.providers)) or providers
        for asset_id in assets.get(str(parsed.get("rules")), ()):
            wanted[asset_id] = (wanted[asset_id][0], tick) if asset_id in wanted else (tick, tick)
        for name, ticks in lost.items():
            spans = parsed.get(name) or ()
            ticks.update(one for first, last, step in spans for one in range(first, last + 1, step))
    seen.dropped, seen.unplanned = frozenset(lost["dropped"]), frozenset(lost["unplanned"])
    return DayScan(seen, tuple(steps), providers, wanted)


def _parsed(body: str) -> dict[str, Any] | None:
    try:
        parsed = orjson.loads(body)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _record(body: dict[str, Any]) -> TickRecord:
    results = body.get("results") or {}
    good = frozenset(name for name, result in results.items() if "failure" not in result)
    failed = [(name, result["failure"]) for name, result in results.items() if "failure" in result]
    return TickRecord(good, tuple(failed + list((body.get("absent") or {}).items())), frozenset(body.get("idle") or ()))
