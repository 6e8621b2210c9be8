"""History from the lake, read in worker threads and cached for seconds, because each read lists a Delta log over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from cryptoviz.trades.gap_change import GapChange
from dashboard.views.candles import Candle
from dashboard.views.market_rows import SparkLine, spark_line
from dashboard.views.overlay import Overlay
from dashboard.views.statistics import PriceHistory
from dashboard.views.trade_bars import TradeBar
from dashboard.views.trade_rows import Instrument

__all__ = ["Closes", "History", "HistorySource", "Marks", "Overlay", "TradePast", "TradeSource"]

T = TypeVar("T")

_WORKERS = 2  # cores of the smallest supported machine; reads share a connection pool
_FRESH_S = 4.0  # two ticks of the demo: a table refreshed every 5 s is read once for several browsers


_CLOSES_FRESH_S = 300.0  # hourly closes of all coins

Closes = Mapping[str, Mapping[str, Sequence[float]]]
"""Hourly closes by asset and quote currency, oldest first."""

Marks = Mapping[str, Mapping[int, int]]
"""By quote currency and start of a candle (UTC epoch ms): `Candle.marks`, only of candles that have one."""


class HistorySource(Protocol):
    """Source of history. Calls block and raise CryptoVizError when the lake cannot be read."""

    def candles(self, asset_id: str, interval: str, since_ms: int) -> Mapping[str, Sequence[Candle]]:
        """Candles by quote currency that start at or after `since_ms` (UTC epoch ms), oldest first; may be empty."""

    def marks(self, asset_id: str, interval: str, since_ms: int) -> Marks:
        """Candles with a fallback's price or with providers that disagreed."""

    def overlay(self, asset_id: str, interval: str, since_ms: int) -> Mapping[str, Overlay]:
        """Consensus and providers of each candle, by quote currency."""

    def closes(self, since_ms: int) -> Closes:
        """Hourly closes of all assets at or after `since_ms`."""

    def prices(self, asset_id: str, since_ms: int, limit: int) -> PriceHistory:
        """Statistics of all rows at or after `since_ms`, and the newest `limit` rows."""

    def parquet(self, asset_id: str, since_ms: int) -> bytes:
        """All columns of the asset's rows at or after `since_ms`, as one Parquet file."""

    def csv(self, asset_id: str, since_ms: int) -> bytes:
        """As `parquet`, but as CSV with a header line."""


@dataclass(frozen=True, slots=True)
class TradePast:
    """Bars, oldest first, and the newest state of each gap, of one instrument."""

    bars: Sequence[TradeBar]
    gaps: Sequence[GapChange]


class TradeSource(Protocol):
    """Source of older trades. Calls block and raise CryptoVizError when the lake cannot be read."""

    def past(self, instrument: Instrument, interval: str, since_ms: int, until_us: int) -> TradePast:
        """Bars of the trades of `[since_ms, until_us)` (UTC epoch ms, us), and the gaps found after `since_ms`."""


class History:
    """Reads a `HistorySource` off the event loop. Callbacks run in worker threads and must switch to their session's loop."""

    def __init__(self, source: HistorySource, trades: TradeSource | None = None) -> None:
        """`trades`: None while streams are off."""
        self._source, self._trades = source, trades
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="history")
        self._lock = threading.Lock()
        self._cache: dict[Hashable, tuple[float, Future[Any]]] = {}

    def candles(self, asset_id: str, interval: str, since_ms: int) -> Future[Mapping[str, Sequence[Candle]]]:
        return self._cached(("candles", asset_id, interval, since_ms), lambda: self._source.candles(asset_id, interval, since_ms))

    def marks(self, asset_id: str, interval: str, since_ms: int) -> Future[Marks]:
        return self._cached(("marks", asset_id, interval, since_ms), lambda: self._source.marks(asset_id, interval, since_ms))

    def overlay(self, asset_id: str, interval: str, since_ms: int) -> Future[Mapping[str, Overlay]]:
        return self._cached(("overlay", asset_id, interval, since_ms), lambda: self._source.overlay(asset_id, interval, since_ms))

    def lines(self, since_ms: int) -> Future[Mapping[str, Mapping[str, SparkLine]]]:
        """Sparklines of the hourly closes at or after `since_ms`, by asset and quote currency; none of a single close."""
        return self._cached(("lines", since_ms), lambda: self._drawn(self._source.closes(since_ms)), _CLOSES_FRESH_S)

    def prices(self, asset_id: str, since_ms: int, limit: int) -> Future[PriceHistory]:
        return self._cached(("prices", asset_id, since_ms, limit), lambda: self._source.prices(asset_id, since_ms, limit))

    def trades(self, instrument: Instrument, interval: str, since_ms: int, until_us: int) -> Future[TradePast]:
        trades = self._trades
        assert trades is not None  # noqa: S101 (pages ask only while streams are on)
        return self._cached(("trades", instrument, interval, since_ms, until_us), lambda: trades.past(instrument, interval, since_ms, until_us))

    def download(self, asset_id: str, since_ms: int, kind: str) -> bytes:
        """A whole file, read in the calling thread; `kind` is `csv` or `parquet`."""
        return self._source.csv(asset_id, since_ms) if kind == "csv" else self._source.parquet(asset_id, since_ms)

    def close(self) -> None:
        """Cancel queued reads; a running read continues to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _drawn(closes: Closes) -> Mapping[str, Mapping[str, SparkLine]]:
        """In a worker thread, once for all pages."""
        return {
            asset_id: {currency: spark_line(points, len(points)) for currency, points in by_currency.items() if len(points) >= 2}
            for asset_id, by_currency in closes.items()
        }

    def _cached(self, key: Hashable, read: Callable[[], T], fresh_s: float = _FRESH_S) -> Future[T]:
        """Share a read among requests within a few seconds; failures are not cached."""
        now = time.monotonic()
        with self._lock:
            kept = self._cache.get(key)
            if kept is not None:
                until, future = kept
                failed = future.done() and (future.cancelled() or future.exception() is not None)
                if not failed and (not future.done() or now < until):
                    return cast("Future[T]", future)
            # Remove expired entries.
            self._cache = {kept_key: (until, held) for kept_key, (until, held) in self._cache.items() if not held.done() or now < until}
            future = self._pool.submit(read)
            self._cache[key] = (now + fresh_s, future)
        return future
