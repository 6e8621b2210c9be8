"""Older candles and gaps of an instrument, from the lake's tables `trades` and `trade_gaps`."""

from __future__ import annotations

import pyarrow as pa

from cryptoviz.lake import Lake
from cryptoviz.lake.ohlcv import check_interval
from cryptoviz.settings import Settings
from cryptoviz.times import utc
from cryptoviz.trades.gap_change import GapChange
from dashboard.feeds.history_cache import TradePast
from dashboard.views.trade_bars import TradeBar
from dashboard.views.trade_rows import Instrument

__all__ = ["TradeHistory"]

_BARS = """SELECT epoch_ms(time_bucket(INTERVAL '{}', ts)) AS start_ms, arg_min(price_double, trade_number) AS open, max(price_double) AS high,
    min(price_double) AS low, arg_max(price_double, trade_number) AS close, CAST(sum(size) AS DOUBLE) AS volume, count(*) AS trades,
    min(trade_number) AS first, max(trade_number) AS last
FROM trades
WHERE venue = $venue AND venue_symbol = $symbol AND ts >= $since AND ts < $until AND venue_ts IS NOT NULL AND trade_number IS NOT NULL
GROUP BY 1 ORDER BY 1"""
_TIMES = ("from_ts", "to_ts", "opened_ts", "closed_ts", "changed_ts")


class TradeHistory:
    """A `TradeSource` on the lake. Thread-safe; calls block and raise CryptoVizError when the lake cannot be read."""

    def __init__(self, settings: Settings) -> None:
        self._lake = Lake(settings)

    def past(self, instrument: Instrument, interval: str, since_ms: int, until_us: int) -> TradePast:
        """Bars of the trades in `[since_ms, until_us)`, and the newest state of each gap found after `since_ms`."""
        rows = self._lake.query(
            _BARS.format(check_interval(interval)),
            parameters={"venue": instrument.venue, "symbol": instrument.symbol, "since": utc(since_ms), "until": utc(until_us // 1000)},
        ).arrow()
        bars = [TradeBar(*values) for values in zip(*(column.to_pylist() for column in rows.columns), strict=True)]
        gaps = self._lake.trade_gaps(instrument.asset_id, start=utc(since_ms)).arrow()
        return TradePast(bars, [one for one in _gaps(gaps) if (one.venue, one.venue_symbol) == (instrument.venue, instrument.symbol)])


def _gaps(rows: pa.Table) -> list[GapChange]:
    names = GapChange.__struct_fields__
    columns = [(rows[name].cast(pa.int64()) if name in _TIMES else rows[name]).to_pylist() for name in names]
    return [GapChange(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]
