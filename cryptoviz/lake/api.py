"""The reader as functions, over one `Lake` for each settings tree."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from cryptoviz.lake.reader import As, Lake, When
from cryptoviz.settings import Settings, load_settings

__all__ = ["candles", "dead_letters", "prices", "query", "raw"]


def prices(
    assets: str | Sequence[str] | None = None,
    start: When = None,
    end: When = None,
    columns: Sequence[str] | None = None,
    as_: As = "arrow",
    settings: Settings | None = None,
) -> Any:
    """See `Lake.prices`."""
    return _lake(settings).prices(assets, start, end, columns, as_)


def raw(start: When = None, end: When = None, columns: Sequence[str] | None = None, as_: As = "arrow", settings: Settings | None = None) -> Any:
    """See `Lake.raw`."""
    return _lake(settings).raw(start, end, columns, as_)


def dead_letters(
    start: When = None, end: When = None, columns: Sequence[str] | None = None, as_: As = "arrow", settings: Settings | None = None
) -> Any:
    """See `Lake.dead_letters`."""
    return _lake(settings).dead_letters(start, end, columns, as_)


def candles(asset: str, interval: str = "1h", start: When = None, end: When = None, as_: As = "arrow", settings: Settings | None = None) -> Any:
    """See `Lake.candles`."""
    return _lake(settings).candles(asset, interval, start, end, as_)


def query(sql: str, as_: As = "arrow", settings: Settings | None = None) -> Any:
    """See `Lake.query`."""
    return _lake(settings).query(sql, as_)


_kept: dict[str, Lake] = {}


def _lake(settings: Settings | None) -> Lake:
    given = settings if settings is not None else _default_settings()
    return _kept.setdefault(repr((given.s3, given.extra_assets)), Lake(given))


@cache
def _default_settings() -> Settings:
    return load_settings()
