"""Reader for the lake: prices, raw exchanges, dead letters, gaps, candles and trades as Arrow, pandas, Polars or DuckDB. Works without Ray and Spark.

The functions `prices`, `raw`, `dead_letters`, `gaps`, `candles`, `trades`, `trade_gaps`, `trade_candles`, `candle_checks`, `quotes` and `query` are
methods of a default `Lake` with the settings of the running pipeline; `Lake(settings)` reads another lake.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptoviz.lake.reader import Lake

__all__ = ["Lake", "candle_checks", "candles", "dead_letters", "gaps", "prices", "query", "quotes", "raw", "trade_candles", "trade_gaps", "trades"]


def __getattr__(name: str) -> Any:
    """Lazy import: executors import this package for its schemas and need neither DuckDB nor Delta."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cryptoviz.lake import reader

    return reader.Lake if name == "Lake" else getattr(default_lake(), name)


@cache
def default_lake() -> Lake:
    """The `Lake` behind the functions of this package; cached, so that its caches are shared.

    Uses the settings of the pipeline that runs here, live before demo; without a pipeline those of environment, `.env` and defaults.
    """
    from cryptoviz.lake.reader import Lake
    from cryptoviz.running_pipeline import running_settings

    return Lake(running_settings())


if TYPE_CHECKING:
    _lake = default_lake()
    candles, dead_letters, gaps, prices, query, raw = _lake.candles, _lake.dead_letters, _lake.gaps, _lake.prices, _lake.query, _lake.raw
    candle_checks, trade_candles, trade_gaps, trades = _lake.candle_checks, _lake.trade_candles, _lake.trade_gaps, _lake.trades
    quotes = _lake.quotes
