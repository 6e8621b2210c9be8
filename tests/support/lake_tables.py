"""Tables written like the lake job, without Kafka and Spark: parts uploaded to the store and committed through `TableLog`."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.lake.parts import Part, short_topic_id
from cryptoviz.lake.schema import DEAD_LETTERS, PRICES, QUOTES, RAW, TRADES, VENUE_CANDLES, file_schema
from cryptoviz.records import event_id
from cryptoviz.settings import Settings
from cryptoviz.trades.record import Trade
from spark_jobs.tables.parquet import WrittenPart, encode, split_days, statistics
from spark_jobs.tables.record_spec import PRICES_SPEC, QUOTES_SPEC, RAW_SPEC, TRADES_SPEC, VENUE_CANDLES_SPEC
from spark_jobs.tables.table_log import TableLog
from tests.support.lake_readers import by_delta, by_folder

TOPIC = "6c1f4ac0-8a4b-4c6d-9a51-0f2e3d4c5b6a"
ASSETS = tuple(asset.asset_id for asset in DEFAULT_ASSETS)
SCHEMAS = {"prices": PRICES, "raw": RAW, "dead_letters": DEAD_LETTERS, "trades": TRADES, "venue_candles": VENUE_CANDLES, "quotes": QUOTES}
STATS = {
    "prices": PRICES_SPEC.stats_columns, "raw": RAW_SPEC.stats_columns, "dead_letters": ("kafka_ts", "kafka_offset"),
    "trades": TRADES_SPEC.stats_columns, "venue_candles": VENUE_CANDLES_SPEC.stats_columns, "quotes": QUOTES_SPEC.stats_columns,
}  # fmt: skip
TIMES = {"prices": "tick_ts", "raw": "tick_ts", "dead_letters": "kafka_ts", "trades": "ts", "venue_candles": "ts", "quotes": "ts"}
TIME = pa.timestamp("us", tz="UTC")


def price_rows(
    ticks: Sequence[int],
    seed: int = 1,
    first_offset: int = 0,
    assets: Sequence[str] = ASSETS,
    kind: str = "live",
    lag_ms: int = 300,
    partition: int = 0,
    quotes: Sequence[str] = ("USD",),
) -> pa.Table:
    """One row for each asset and tick (UTC ms), in tick order, as in the table's files. Prices are a seeded random walk."""
    random = np.random.default_rng(seed)
    rows = len(ticks) * len(assets)
    ids = np.tile(np.array(assets, object), len(ticks))
    stamps = np.repeat(np.array(ticks, np.int64), len(assets))
    walk = np.exp(np.cumsum(random.normal(0, 1e-3, (len(ticks), len(assets))), axis=0)).ravel()
    level = np.tile(10.0 ** (np.arange(len(assets)) % 6), len(ticks))
    values: dict[str, Any] = {
        "event_id": [event_id(asset, int(tick), kind) for asset, tick in zip(ids, stamps, strict=True)],
        "schema_version": np.ones(rows, np.int32),
        "kind": [kind] * rows,
        "tick_ts": stamps * 1000,
        "source_ts": (stamps - random.integers(100, 60_000, rows)) * 1000,
        "ingest_ts": (stamps + lag_ms + random.integers(0, 50, rows)) * 1000,
        "asset_id": ids,
        "symbol": [str(one)[:4].upper() for one in ids],
        "name": ids,
        "quote_currency": [quotes[i] for i in random.integers(0, len(quotes), rows)],
        "price": np.round(walk * level, 6),
        "market_cap": np.round(walk * level * 1e7),
        "volume_24h": np.where(random.random(rows) < 0.1, np.array(None, object), np.round(walk * 1e9).astype(object)),
        "high_24h": np.round(walk * level * 1.02, 6),
        "low_24h": np.round(walk * level * 0.98, 6),
        "change_1h_pct": np.round(random.normal(0, 1, rows), 5),
        "change_24h_pct": np.round(random.normal(0, 2, rows), 5),
        "change_7d_pct": [None] * rows,
        "circulating_supply": level * 1e6,
        "total_supply": level * 2e6,
        "max_supply": [None] * rows,
        "rank": np.tile(np.arange(1, len(assets) + 1, dtype=np.int32), len(ticks)),
        "provider": ["coingecko"] * rows,
        "provider_asset_id": ids,
        "role": ["primary"] * rows,
        "fallback_reason": [None] * rows,
        "attempt": np.ones(rows, np.int32),
        "fetch_id": [f"{tick:x}-coingecko-1" for tick in stamps],
        "consensus_price": np.round(walk * level * 1.0001, 6),
        "consensus_sources": np.full(rows, 2, np.int32),
        "spread_bps": np.round(random.random(rows) * 5, 4),
        "disagrees": [False] * rows,
        **_origin(rows, first_offset, partition),
    }
    return _table(values, file_schema(PRICES))


def raw_rows(ticks: Sequence[int], first_offset: int = 0, body_bytes: int = 2000, seed: int = 1) -> pa.Table:
    """One raw exchange for each tick and each of two providers."""
    random = np.random.default_rng(seed)
    rows = len(ticks) * 2
    stamps = np.repeat(np.array(ticks, np.int64), 2)
    numbers = random.integers(0, 10**9, (rows, max(1, body_bytes // 50)))
    values: dict[str, Any] = {
        "fetch_id": [f"{tick:x}-{i}" for i, tick in enumerate(stamps)],
        "provider": ["coingecko", "coinmarketcap"] * len(ticks),
        "endpoint": ["/coins/markets", "/v3/quotes"] * len(ticks),
        "tick_ts": stamps * 1000,
        "started_ts": stamps * 1000 + 5000,
        "finished_ts": stamps * 1000 + 205_000,
        "status": np.full(rows, 200, np.int32),
        "outcome": ["ok"] * rows,
        "error": [None] * rows,
        "rate_limit_headers": ["{}"] * rows,
        "attempt": np.ones(rows, np.int32),
        "body": ["[" + ",".join(f'{{"current_price":{n},"market_cap_rank":1}}' for n in row) + "]" for row in numbers],
        **_origin(rows, first_offset, 0),
    }
    return _table(values, file_schema(RAW))


def dead_rows(stamps: Sequence[int], first_offset: int = 0) -> pa.Table:
    """One dead letter for each time (UTC ms)."""
    rows = len(stamps)
    values: dict[str, Any] = {
        "topic": ["crypto-streaming"] * rows,
        "kafka_ts": np.array(stamps, np.int64) * 1000,
        "key": [b"k"] * rows,
        "value": [b"\xff\x00"] * rows,
        "reason": ["not_json: no"] * rows,
        **_origin(rows, first_offset, 0),
    }
    return _table(values, file_schema(DEAD_LETTERS))


def trade_rows(trades: Sequence[Trade], first_offset: int = 0, partition: int = 0) -> pa.Table:
    """Rows of the table of trades, in the order of their offsets."""
    schema, names = file_schema(TRADES), [field.name for field in TRADES if field.name in Trade.__struct_fields__]
    values: dict[str, Any] = {name: [getattr(one, name) for one in trades] for name in names} | _origin(len(trades), first_offset, partition)
    values["ts"] = [one.ingest_ts if one.venue_ts is None else one.venue_ts for one in trades]
    for name in ("price", "size"):
        values[f"{name}_double"], values[name] = list(map(float, values[name])), list(map(Decimal, values[name]))
    return _table(values, schema)


def _origin(rows: int, first_offset: int, partition: int) -> dict[str, Any]:
    return {
        "kafka_topic_id": [TOPIC] * rows,
        "kafka_partition": np.full(rows, partition, np.int32),
        "kafka_offset": np.arange(first_offset, first_offset + rows, dtype=np.int64),
    }


def _table(values: dict[str, Any], schema: pa.Schema) -> pa.Table:
    columns = [
        pa.array(values[field.name], pa.int64()).cast(field.type)
        if field.type == TIME
        else pa.array(values[field.name], field.type, from_pandas=True)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


class TableWriter:
    """One table, written like the lake job's driver and executors: a batch is a file for each day, and one commit."""

    def __init__(self, settings: Settings, table: str, run: str = "test", partition: int = 0) -> None:
        self.address = table_address(settings.s3, table)
        self._client = minio_client(S3Access.of(settings.s3))
        self._table = table
        self._partition = partition
        self.log = TableLog(self.address, SCHEMAS[table], settings.s3.storage_options(), run)
        self.log.open()
        self.rows = 0

    @property
    def next_offset(self) -> int:
        """First offset of the next batch."""
        return self.log.progress.offsets.get((TOPIC, self._partition), 0)

    def put(self, rows: pa.Table) -> list[WrittenPart]:
        """Write the files of a batch without a commit."""
        offsets = rows.column("kafka_offset")
        first, last = offsets[0].as_py(), offsets[-1].as_py()
        written = []
        for day, of_day in split_days(rows, TIMES[self._table]):
            part = Part(short_topic_id(TOPIC), self._partition, first, last, day)
            data = encode(of_day, STATS[self._table])
            self._client.put_object(self.address.bucket, self.address.key(part.path), io.BytesIO(data), data.size)
            written.append(WrittenPart(part.path, data.size, of_day.num_rows, statistics(of_day, STATS[self._table])))
        return written

    def write(self, rows: pa.Table) -> None:
        """A batch."""
        parts = self.put(rows)
        self.log.commit(parts, {(TOPIC, self._partition): rows.column("kafka_offset")[-1].as_py() + 1})
        self.rows += rows.num_rows

    def batches(self, make: Callable[[Sequence[int], int], pa.Table], ticks: Sequence[int], a_file: int) -> None:
        """Write all `ticks`, `a_file` of them per batch; `make` gets ticks and the first offset."""
        for i in range(0, len(ticks), a_file):
            self.write(make(ticks[i : i + a_file], self.next_offset))


def delta_rows(settings: Settings, table: str) -> pa.Table:
    """The table by its Delta log: the columns of the files, ordered by Kafka position."""
    return _ordered(by_delta(settings, table), table)


def plain_rows(settings: Settings, table: str) -> pa.Table:
    """The same for a reader without Delta."""
    return _ordered(by_folder(settings, table), table)


def _ordered(rows: pa.Table, table: str) -> pa.Table:
    keys = ("kafka_topic_id", "kafka_partition", "kafka_offset")
    chosen = rows.select(file_schema(SCHEMAS[table]).names).cast(file_schema(SCHEMAS[table]))
    return chosen.sort_by([(key, "ascending") for key in keys]).combine_chunks()


def object_names(settings: Settings, table: str) -> list[str]:
    """Every object of a table except its log."""
    address = table_address(settings.s3, table)
    selector = pafs.FileSelector(address.root, recursive=True)
    files = (found.path.removeprefix(address.root + "/") for found in S3Access.of(settings.s3).filesystem().get_file_info(selector) if found.is_file)
    return sorted(path for path in files if not path.startswith("_delta_log/"))
