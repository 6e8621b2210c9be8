"""Candles from polled prices. Open, high, low and close are those of the ticks seen, not of trades: a high between two polls is not in them.

`volume_24h` is the provider's rolling 24 h volume as last reported in the bucket, not the volume traded in it: price APIs do not give that.
"""

from __future__ import annotations

from cryptoviz.errors import QueryError

__all__ = ["INTERVALS", "candle_sql", "check_interval"]

INTERVALS: dict[str, str] = {"1m": "1 minute", "5m": "5 minutes", "1h": "1 hour", "1d": "1 day"}


def check_interval(interval: str) -> str:
    """DuckDB's name of an interval.

    Raises:
        QueryError: not one of `INTERVALS`.
    """
    if interval not in INTERVALS:
        raise QueryError(f"interval is {interval!r}: valid are {', '.join(INTERVALS)}", argument="interval")
    return INTERVALS[interval]


def candle_sql(interval: str, source: str = "prices") -> str:
    """A SELECT of candles over a prices relation: ts (bucket start, UTC), asset_id, quote_currency, OHLC, volume_24h, ticks, source."""
    width = check_interval(interval)
    columns = (
        f"time_bucket(INTERVAL '{width}', tick_ts) AS ts", "asset_id", "quote_currency",
        "arg_min(price, tick_ts) AS open", "max(price) AS high", "min(price) AS low", "arg_max(price, tick_ts) AS close",
        "arg_max(volume_24h, tick_ts) AS volume_24h", "count(*) AS ticks", "'polled' AS source",
    )  # fmt: skip
    return " ".join(("SELECT", ", ".join(columns), "FROM", source, "GROUP BY ts, asset_id, quote_currency"))
