"""The lake for readers: prices, raw exchanges, dead letters and candles as Arrow, pandas, Polars or DuckDB. Works without Ray and Spark.

`Lake(settings)` keeps what it has read; the functions use one for the settings of this process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptoviz.lake.api import candles, dead_letters, prices, query, raw
    from cryptoviz.lake.reader import Lake

__all__ = ["Lake", "candles", "dead_letters", "prices", "query", "raw"]


def __getattr__(name: str) -> Any:
    """Loaded at first use: executors import this package for its schemas and need neither DuckDB nor Delta."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Lake":
        from cryptoviz.lake import reader

        return reader.Lake
    from cryptoviz.lake import api

    return getattr(api, name)
