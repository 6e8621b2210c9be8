"""State shared by all sessions of the process: written by the ingest threads, read by each session on its own loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from cryptoviz.client import PipelineStatus
from cryptoviz.clock import SystemClock
from cryptoviz.lake.ohlcv import INTERVALS_MS
from cryptoviz.records import Role, UnifiedRecord
from cryptoviz.times import DAY_MS
from dashboard.views.candles import DISAGREED, FALLBACK, CandleBuilder, LiveCandles

__all__ = ["CONNECTING", "RING_TICKS", "ControlState", "FeedStatus", "LiveState", "Tick", "Wakeups"]

CONNECTING = "connecting"
"""Message before the first connection attempt has ended."""

RING_TICKS = 3600  # two hours of the demo's 2 s ticks, 60 hours of live 60 s ticks


@dataclass(frozen=True, slots=True)
class Tick:
    """Price of an asset in its quote currency; the time is UTC epoch ms."""

    tick_ts: int
    quote_currency: str
    price: float


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """Whether live values reach this process. `message` is the reason if not."""

    connected: bool
    message: str = ""


class Wakeups:
    """Callbacks that wake sessions, without data, from any thread. A callback must not block or raise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[int, Callable[[], None]] = {}
        self._next = 0

    def subscribe(self, call: Callable[[], None]) -> Callable[[], None]:
        """Add a callback; returns a function that removes it."""
        with self._lock:
            key = self._next
            self._next += 1
            self._calls[key] = call

        def unsubscribe() -> None:
            with self._lock:
                self._calls.pop(key, None)

        return unsubscribe

    def __len__(self) -> int:
        with self._lock:
            return len(self._calls)

    def wake(self) -> None:
        """Call every callback once."""
        with self._lock:
            calls = list(self._calls.values())
        for call in calls:
            call()


class LiveState:
    """Latest record, recent ticks and candles of each asset. Thread-safe; `version` grows with each change."""

    def __init__(self, wakeups: Wakeups, now_ms: Callable[[], int] | None = None) -> None:
        self._now_ms = now_ms or SystemClock().now_ms
        self._wakeups = wakeups
        self._lock = threading.Lock()
        self._latest: dict[str, UnifiedRecord] = {}
        self._rings: dict[str, deque[Tick]] = {}
        self._builders: dict[str, dict[tuple[str, str], CandleBuilder]] = {}
        self._status = FeedStatus(connected=False, message=CONNECTING)
        self._version = 0
        self._versions: dict[str, int] = {}  # of each asset's latest record
        self._listeners: list[Callable[[list[UnifiedRecord]], None]] = []

    @property
    def version(self) -> int:
        with self._lock:
            return self._version

    def changed_since(self, version: int) -> tuple[int, list[UnifiedRecord]]:
        """The current version, and the latest records that changed after `version` (-1: all)."""
        with self._lock:
            if version == self._version:
                return version, []
            return self._version, [record for asset_id, record in self._latest.items() if self._versions[asset_id] > version]

    @property
    def status(self) -> FeedStatus:
        with self._lock:
            return self._status

    def apply(self, records: Iterable[UnifiedRecord], *, snapshot: bool = False) -> int:
        """Apply records in order of offset; return the number of new ones. A snapshot sets only the latest values, since it is not a tick."""
        news, records = 0, list(records)
        with self._lock:
            for record in records:
                if not snapshot:
                    self._drop_time_to_come(record)
                before = self._latest.get(record.asset_id)
                if before is None or record.tick_ts >= before.tick_ts:
                    self._latest[record.asset_id] = record
                    self._versions[record.asset_id] = self._version + 1
                    news += 1
                if not snapshot:
                    self._take_tick(record)
            self._version += bool(news)
        if not snapshot:
            for listener in self._listeners:
                listener(records)
        if news:
            self._wakeups.wake()
        return news

    def listen(self, listener: Callable[[list[UnifiedRecord]], None]) -> None:
        """Call `listener` with each batch of ticks, also old ones, from the ingest thread. To be added before the feed starts; must not block."""
        self._listeners.append(listener)

    def _drop_time_to_come(self, record: UnifiedRecord) -> None:
        """Discard ticks of a clock that was far ahead: the stream has earlier ticks now, but those would stay the newest until their time."""
        horizon_ms, latest = self._now_ms() + DAY_MS, self._latest.get(record.asset_id)
        if latest is None or latest.tick_ts <= horizon_ms or record.tick_ts > horizon_ms:
            return
        del self._latest[record.asset_id]
        ring = self._rings.get(record.asset_id)
        while ring and ring[-1].tick_ts > horizon_ms:
            ring.pop()
        self._builders.pop(record.asset_id, None)

    def _take_tick(self, record: UnifiedRecord) -> None:
        ring = self._rings.setdefault(record.asset_id, deque(maxlen=RING_TICKS))
        if ring and record.tick_ts <= ring[-1].tick_ts:
            return
        ring.append(Tick(record.tick_ts, record.quote_currency, record.price))
        builders = self._builders.setdefault(record.asset_id, {})
        marks = (FALLBACK if record.role == Role.FALLBACK else 0) | (DISAGREED if record.disagrees else 0)
        for name, interval_ms in INTERVALS_MS.items():
            key = (record.quote_currency, name)
            builder = builders.get(key)
            if builder is None:
                builder = builders[key] = CandleBuilder(interval_ms)
            builder.add(record.tick_ts, record.price, record.volume_24h, marks)

    def set_status(self, status: FeedStatus) -> None:
        """Set the feed's status; wakes sessions on a change."""
        with self._lock:
            if status == self._status:
                return
            self._status = status
            self._version += 1
        self._wakeups.wake()

    def latest(self) -> dict[str, UnifiedRecord]:
        with self._lock:
            return dict(self._latest)

    def recent_prices(self, asset_id: str, count: int) -> list[float]:
        """Prices of at most the last `count` ticks, oldest first; ticks in another quote currency than the latest record's are omitted."""
        with self._lock:
            ring, latest = self._rings.get(asset_id, ()), self._latest.get(asset_id)
            ticks = islice(ring, max(0, len(ring) - count), None)
            return [tick.price for tick in ticks if latest is not None and tick.quote_currency == latest.quote_currency]

    def price_at(self, asset_id: str, quote_currency: str, at_ms: int, oldest_ms: int) -> float | None:
        """Price at the newest tick from `oldest_ms` until `at_ms` (UTC epoch ms, both inclusive); None if no kept tick is."""
        with self._lock:
            for tick in reversed(self._rings.get(asset_id, ())):
                if tick.tick_ts < oldest_ms:
                    return None
                if tick.tick_ts <= at_ms and tick.quote_currency == quote_currency:
                    return tick.price
        return None

    def candles(self, asset_id: str, interval: str) -> dict[str, LiveCandles]:
        """Candles of the live ticks of one asset, by quote currency."""
        with self._lock:
            builders = self._builders.get(asset_id, {})
            return {
                currency: LiveCandles(builder.candles, builder.complete_from_ms) for (currency, name), builder in builders.items() if name == interval
            }


class ControlState:
    """The last pipeline status from the control service. Thread-safe; `version` grows with each change."""

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self._lock = threading.Lock()
        self._status: PipelineStatus | None = None
        self._lost: str | None = CONNECTING
        self._version = 0
        self._listeners: list[Callable[[PipelineStatus], None]] = []

    @property
    def version(self) -> int:
        with self._lock:
            return self._version

    def read(self) -> tuple[PipelineStatus | None, str | None]:
        """The last status, and why it may be out of date (None while the service answers)."""
        with self._lock:
            return self._status, self._lost

    def set_status(self, status: PipelineStatus) -> None:
        with self._lock:
            self._status, self._lost = status, None
            self._version += 1
        for listener in self._listeners:
            listener(status)
        self._wakeups.wake()

    def listen(self, listener: Callable[[PipelineStatus], None]) -> None:
        """Call `listener` with each status, from the watch thread. To be added before the feed starts; must not block."""
        self._listeners.append(listener)

    def set_lost(self, why: str) -> None:
        """Record that the service does not answer; the last status is kept."""
        with self._lock:
            if self._lost == why:
                return
            self._lost = why
            self._version += 1
        self._wakeups.wake()
