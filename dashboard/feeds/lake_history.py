"""History from the lake's prices table, with `cryptoviz.lake`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from cryptoviz.lake import Lake
from cryptoviz.settings import Settings
from cryptoviz.times import utc
from dashboard.feeds.summary import price_history
from dashboard.views.candles import Candle
from dashboard.views.statistics import PriceHistory

__all__ = ["LakeHistory"]

_ROW_COLUMNS = ("tick_ts", "quote_currency", "price", "provider", "role", "fallback_reason")


class LakeHistory:
    """A `HistorySource` on `cryptoviz.lake.Lake`, which caches file lists and small files. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._lake = Lake(settings)
        self._tick_ms = settings.collect.tick_ms

    def candles(self, asset_id: str, interval: str, since_ms: int) -> Mapping[str, Sequence[Candle]]:
        rows = self._lake.candles(asset_id, interval, start=utc(since_ms)).arrow()
        columns = (rows[name].to_pylist() for name in ("quote_currency", "open", "high", "low", "close", "volume_24h", "ticks"))
        found: dict[str, list[Candle]] = {}
        for start, currency, *values in zip(_epoch_ms(rows, "ts"), *columns, strict=True):
            found.setdefault(currency, []).append(Candle(start, *values))
        return found

    def prices(self, asset_id: str, since_ms: int, limit: int) -> PriceHistory:
        return price_history(self._lake.prices(asset_id, start=utc(since_ms), columns=_ROW_COLUMNS).arrow(), limit, self._tick_ms)

    def parquet(self, asset_id: str, since_ms: int) -> bytes:
        sink = io.BytesIO()
        pa_parquet.write_table(self._lake.prices(asset_id, start=utc(since_ms)).arrow(), sink, compression="snappy")
        return sink.getvalue()

    def csv(self, asset_id: str, since_ms: int) -> bytes:
        sink = io.BytesIO()
        pa_csv.write_csv(self._lake.prices(asset_id, start=utc(since_ms)).arrow(), sink)
        return sink.getvalue()


def _epoch_ms(table: pa.Table, column: str) -> list[Any]:
    """A `timestamp[us, UTC]` column as UTC epoch ms."""
    micros: list[int] = table[column].cast(pa.int64()).to_pylist()
    return [value // 1000 for value in micros]
