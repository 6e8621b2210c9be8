"""Older candles and gaps of an instrument, from the lake's tables `trades` and `trade_gaps`."""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from cryptoviz.lake import Lake
from cryptoviz.lake.trade_ohlcv import TRADE_INTERVALS
from cryptoviz.settings import Settings
from cryptoviz.times import utc
from cryptoviz.trades.gap_change import GapChange
from dashboard.feeds.history_cache import TradePast
from dashboard.views.trade_bars import TradeBar, join_bars
from dashboard.views.trade_rows import Instrument

__all__ = ["TradeHistory"]

_TIMES = ("from_ts", "to_ts", "opened_ts", "closed_ts", "changed_ts")


class TradeHistory:
    """A `TradeSource` on the lake. Thread-safe; calls block and raise CryptoVizError when the lake cannot be read."""

    def __init__(self, settings: Settings) -> None:
        self._lake = Lake(settings)

    def past(self, instrument: Instrument, interval: str, since_ms: int, until_us: int) -> TradePast:
        """Bars of the trades before `until_us`, a whole second, from the bar that contains `since_ms` on, and the newest state of each gap since."""
        length_ms = TRADE_INTERVALS[interval] // timedelta(milliseconds=1)
        edge_ms = until_us // 1000 // length_ms * length_ms
        whole = self._bars(instrument, interval, since_ms, edge_ms)
        last = [replace(bar, start_ms=edge_ms) for bar in self._bars(instrument, "1s", max(since_ms, edge_ms), until_us // 1000)]
        bars = [*whole, *functools.reduce(lambda known, bar: join_bars(known, [bar]), last, list[TradeBar]())]
        gaps = self._lake.trade_gaps(instrument.asset_id, start=utc(since_ms)).arrow()
        return TradePast(bars, [one for one in _gaps(gaps) if (one.venue, one.venue_symbol) == (instrument.venue, instrument.symbol)])

    def _bars(self, instrument: Instrument, interval: str, since_ms: int, until_ms: int) -> list[TradeBar]:
        if since_ms >= until_ms:
            return []
        names = ("open", "high", "low", "close", "volume", "trades", "first_trade", "last_trade")
        rows = self._lake.trade_candles(
            instrument.asset_id, interval, utc(since_ms), utc(until_ms), ["ts", *names], venues=instrument.venue, symbols=instrument.symbol
        ).arrow()
        with_trades = rows.filter(pc.is_valid(rows.column("first_trade")))
        starts = pc.divide(with_trades.column("ts").cast(pa.int64()), 1000)
        values = [column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column for column in with_trades.select(names).columns]
        return [TradeBar(*bar) for bar in zip(*(column.to_pylist() for column in (starts, *values)), strict=True)]


def _gaps(rows: pa.Table) -> list[GapChange]:
    names = GapChange.__struct_fields__
    columns = [(rows[name].cast(pa.int64()) if name in _TIMES else rows[name]).to_pylist() for name in names]
    return [GapChange(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]
