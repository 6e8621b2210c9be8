"""History from the lake's prices table, with `cryptoviz.lake`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from cryptoviz.clock import SystemClock
from cryptoviz.lake import Lake
from cryptoviz.lake.ohlcv import check_interval
from cryptoviz.settings import Settings
from cryptoviz.times import utc
from dashboard.csv_files import csv_file
from dashboard.feeds.history_cache import Closes, Marks
from dashboard.feeds.provider_prices import ProviderPrices
from dashboard.feeds.summary import price_history
from dashboard.views.candles import DISAGREED, FALLBACK, Candle
from dashboard.views.overlay import Overlay, with_providers
from dashboard.views.statistics import PriceHistory

__all__ = ["LakeHistory"]

_MARKS = """SELECT BUCKET AS ts, quote_currency, bool_or(role = 'fallback') AS fallback, bool_or(disagrees) AS disagreed
FROM prices WHERE asset_id = $asset AND tick_ts >= $since AND (role = 'fallback' OR disagrees) GROUP BY ALL ORDER BY ts"""
_CONSENSUS = """SELECT BUCKET AS ts, quote_currency, arg_max(consensus_price, tick_ts) AS consensus, max(spread_bps) AS spread_bps
FROM prices WHERE asset_id = $asset AND tick_ts >= $since AND consensus_price IS NOT NULL GROUP BY ALL ORDER BY ts"""
_ROW_COLUMNS = ("tick_ts", "quote_currency", "price", "provider", "role", "fallback_reason")


class LakeHistory:
    """A `HistorySource` on `cryptoviz.lake.Lake`, which caches file lists and small files. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._lake = Lake(settings)
        self._tick_ms = settings.collect.tick_ms
        self._mixed = settings.collect.usdt_is_usd
        self._providers = ProviderPrices(settings, self._lake, SystemClock())

    def candles(self, asset_id: str, interval: str, since_ms: int) -> Mapping[str, Sequence[Candle]]:
        rows = self._lake.candles(asset_id, interval, start=utc(since_ms)).arrow()
        columns = (rows[name].to_pylist() for name in ("quote_currency", "open", "high", "low", "close", "volume_24h", "ticks"))
        found: dict[str, list[Candle]] = {}
        for start, currency, *values in zip(_epoch_ms(rows, "ts"), *columns, strict=True):
            found.setdefault(currency, []).append(Candle(start, *values))
        return found

    def marks(self, asset_id: str, interval: str, since_ms: int) -> Marks:
        found: dict[str, dict[int, int]] = {}
        for start, currency, fallback, disagreed in _rows(self._ask(_MARKS, asset_id, interval, since_ms)):
            found.setdefault(currency, {})[start] = (FALLBACK if fallback else 0) | (DISAGREED if disagreed else 0)
        return found

    def overlay(self, asset_id: str, interval: str, since_ms: int) -> Mapping[str, Overlay]:
        found: dict[str, Overlay] = {}
        for start, currency, consensus, spread_bps in _rows(self._ask(_CONSENSUS, asset_id, interval, since_ms)):
            found.setdefault(currency, Overlay()).consensus.append((start, consensus, spread_bps))
        observed = self._providers.read(asset_id, interval, since_ms)
        return {currency: with_providers(one, currency, observed, mixed=self._mixed) for currency, one in found.items()}

    def _ask(self, sql: str, asset_id: str, interval: str, since_ms: int) -> pa.Table:
        bucket = f"time_bucket(INTERVAL '{check_interval(interval)}', tick_ts)"
        return self._lake.query(sql.replace("BUCKET", bucket), parameters={"asset": asset_id, "since": utc(since_ms)}).arrow()

    def closes(self, since_ms: int) -> Closes:
        rows = self._lake.candles(None, "1h", start=utc(since_ms), columns=("asset_id", "quote_currency", "close"), source="polled").arrow()
        found: dict[str, dict[str, list[float]]] = {}
        for asset_id, currency, close in zip(*(rows[name].to_pylist() for name in ("asset_id", "quote_currency", "close")), strict=True):
            found.setdefault(asset_id, {}).setdefault(currency, []).append(close)
        return found

    def prices(self, asset_id: str, since_ms: int, limit: int) -> PriceHistory:
        return price_history(self._lake.prices(asset_id, start=utc(since_ms), columns=_ROW_COLUMNS).arrow(), limit, self._tick_ms)

    def parquet(self, asset_id: str, since_ms: int) -> bytes:
        sink = io.BytesIO()
        pa_parquet.write_table(self._lake.prices(asset_id, start=utc(since_ms)).arrow(), sink, compression="snappy")
        return sink.getvalue()

    def csv(self, asset_id: str, since_ms: int) -> bytes:
        return csv_file(self._lake.prices(asset_id, start=utc(since_ms)).arrow())


def _epoch_ms(table: pa.Table, column: str) -> list[Any]:
    """A `timestamp[us, UTC]` column as UTC epoch ms."""
    micros: list[int] = table[column].cast(pa.int64()).to_pylist()
    return [value // 1000 for value in micros]


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows, with `ts` as UTC epoch ms."""
    names = [name for name in table.column_names if name != "ts"]
    return zip(_epoch_ms(table, "ts"), *(table[name].to_pylist() for name in names), strict=True)
