"""Each provider's own price of a coin over time. The lake's prices table has only the chosen one; the others are read from the recorded exchanges.

For each candle and provider: the last tick of the candle on which the provider answered. The newest candles first, until a limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import orjson

from cryptoviz.audit import RECORDER, TICK
from cryptoviz.clock import Clock
from cryptoviz.errors import SettingsError
from cryptoviz.lake.ohlcv import INTERVALS_MS, check_interval
from cryptoviz.lake.rows import Rows
from cryptoviz.providers.registry import HISTORY_PATHS
from cryptoviz.settings import Settings
from cryptoviz.times import epoch_ms, utc
from dashboard.feeds.recorded_polls import Body, PollReader

__all__ = ["Limits", "ObservedPrices", "ProviderPrices"]

_NO_BACKFILL = " AND ".join(f"split_part(endpoint, '?', 1) NOT LIKE '%{path}'" for path in HISTORY_PATHS)
# A tick without a record of the collector cannot be read: it was not published.
_ANSWERED = f"""SELECT provider, time_bucket(INTERVAL 'BUCKET', tick_ts) AS start, max(tick_ts) AS tick
FROM raw WHERE tick_ts >= $since AND outcome = 'ok' AND provider <> '{RECORDER}' AND {_NO_BACKFILL}
AND tick_ts IN (SELECT tick_ts FROM raw WHERE tick_ts >= $since AND provider = '{RECORDER}' AND endpoint = '{TICK}')
GROUP BY ALL"""  # noqa: S608 (constants)
_BODIES = f"""SELECT provider, tick_ts, endpoint, status, finished_ts, fetch_id, body
FROM raw WHERE tick_ts >= $first AND tick_ts < $end AND list_contains($ticks, epoch_ms(tick_ts)) AND body IS NOT NULL
AND ((provider = '{RECORDER}' AND endpoint = '{TICK}') OR (outcome = 'ok' AND provider <> '{RECORDER}'))
ORDER BY kafka_offset"""  # noqa: S608 (constants)
_FIRST_CANDLES, _CANDLES_A_READ = 4, 24
_READ_BYTES = 8 * 2**20
_MOST_KEPT = 50_000
_NEAR_MS = 60_000


class _Lake(Protocol):
    def query(self, sql: str, *, parameters: Mapping[str, Any] | None = None) -> Rows: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one read: candles, and how far back; bytes of bodies and seconds, after which no further candles are read."""

    candles: int = 240
    span: timedelta = timedelta(days=30)
    body_bytes: int = 64 * 2**20
    seconds: float = 10.0


@dataclass(slots=True)
class ObservedPrices:
    """Prices by provider and quote currency, as (start of the candle in UTC epoch ms, price), oldest first.

    Attributes:
        since_ms: start of the oldest candle that was read; UTC epoch ms.
        missing: providers that list the coin and have no price in these candles.
    """

    since_ms: int
    series: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


_Price = tuple[str, float]
"""Quote currency and price."""


class ProviderPrices:
    """Reads with `cryptoviz.lake.Lake`, and keeps what it has read. Thread-safe."""

    def __init__(self, settings: Settings, lake: _Lake, clock: Clock, limits: Limits | None = None) -> None:
        self._settings, self._lake, self._clock = settings, lake, clock
        self._limits = limits or Limits()
        self._kept: dict[tuple[str, str, int], _Price | None] = {}

    def read(self, asset_id: str, interval: str, since_ms: int) -> ObservedPrices:
        """Prices of the candles that start at or after `since_ms` (UTC epoch ms), within the limits.

        Raises:
            EngineUnavailable: the object store does not answer.
        """
        bucket, step = check_interval(interval), INTERVALS_MS[interval]
        now_ms = self._clock.now_ms()
        oldest = now_ms - min(self._limits.candles * step, self._limits.span // timedelta(milliseconds=1))
        since_ms = max(since_ms, -(-oldest // step) * step)
        readers = dict(self._readers(asset_id))
        wanted: dict[int, dict[str, int]] = {}
        found = self._lake.query(_ANSWERED.replace("BUCKET", bucket), parameters={"since": utc(since_ms)}).arrow()
        for row in found.to_pylist():
            if row["provider"] in readers:
                wanted.setdefault(epoch_ms(row["start"]), {})[row["provider"]] = epoch_ms(row["tick"])
        read_since = self._fill(asset_id, wanted, readers)
        prices = ObservedPrices(since_ms if read_since is None else read_since)
        for start in sorted(wanted):
            for provider in readers:
                price = self._kept.get((asset_id, provider, wanted[start].get(provider, -1)))
                if price is not None and start >= prices.since_ms:
                    prices.series.setdefault((provider, price[0]), []).append((start, price[1]))
        seen = {provider for provider, _ in prices.series}
        prices.missing = tuple(provider for provider in readers if provider not in seen)
        return prices

    def _readers(self, asset_id: str) -> Iterator[tuple[str, PollReader]]:
        """In the order of preference."""
        for name in self._settings.collect.providers:
            try:
                reader = PollReader(self._settings, name)
            except SettingsError:
                continue  # its actor says why
            if reader.lists(asset_id):
                yield name, reader

    def _fill(self, asset_id: str, wanted: Mapping[int, Mapping[str, int]], readers: Mapping[str, PollReader]) -> int | None:
        """Read what is not kept. Returns the oldest candle that was read if a limit ended it, else None."""
        if len(self._kept) > _MOST_KEPT:
            self._kept = {}
        unread = [
            start for start in sorted(wanted, reverse=True) if any((asset_id, name, tick) not in self._kept for name, tick in wanted[start].items())
        ]
        started, size, first, count = time.monotonic(), 0, 0, _FIRST_CANDLES
        while first < len(unread):
            if first and (size > self._limits.body_bytes or time.monotonic() - started > self._limits.seconds):
                return unread[first - 1]
            pairs = [(name, tick) for start in unread[first : first + count] for name, tick in wanted[start].items()]
            size += self._take(asset_id, pairs, readers)
            first += count
            # Bodies of thousands of coins are megabytes each.
            count = max(1, min(_CANDLES_A_READ, _READ_BYTES * first // max(1, size)))
        return None

    def _take(self, asset_id: str, pairs: Sequence[tuple[str, int]], readers: Mapping[str, PollReader]) -> int:
        """Read these polls; returns the bytes of their bodies."""
        recorded: dict[int, Mapping[str, Any]] = {}
        bodies: dict[int, dict[str, Body]] = {}
        size = 0
        for near in _together(sorted({tick for _, tick in pairs})):
            span = {"first": utc(near[0]), "end": utc(near[-1] + 1), "ticks": near}
            for row in self._lake.query(_BODIES, parameters=span).arrow().to_pylist():
                tick = epoch_ms(row["tick_ts"])
                size += len(row["body"])
                if row["provider"] == RECORDER:
                    recorded[tick] = _results(row["body"])
                else:
                    one = Body(row["endpoint"], row["status"] or 0, epoch_ms(row["finished_ts"]), row["fetch_id"], row["body"])
                    bodies.setdefault(tick, {})[one.fetch_id] = one

        async def read() -> None:
            for name, tick in pairs:
                if tick in recorded:
                    self._kept[asset_id, name, tick] = await _price(readers[name], asset_id, tick, recorded[tick].get(name), bodies.get(tick, {}))

        asyncio.run(read())
        return size


async def _price(reader: PollReader, asset_id: str, tick: int, result: Any, bodies: Mapping[str, Body]) -> _Price | None:
    """The price by the tick's record of a provider: of each of its scrapers, if it has several."""
    if not isinstance(result, dict):
        return None
    for part in result.get("parts") or [result]:
        # A call is [attempt, fetch id, whole, ..]; of a body that was cut, nothing can be read.
        called = [call[1] for call in part.get("calls", ()) if call[2]]
        found = await reader.price(asset_id, tick, part.get("memory"), [bodies[one] for one in called if one in bodies])
        if found is not None:
            return found.quote_currency, found.price
    return None


def _together(ticks: Sequence[int]) -> Iterator[list[int]]:
    """Ticks that one read brings: those far apart are read by themselves, since a read decodes all bodies between its first and last tick."""
    near: list[int] = []
    for tick in ticks:
        if near and tick - near[-1] > _NEAR_MS:
            yield near
            near = []
        near.append(tick)
    if near:
        yield near


def _results(body: str) -> Mapping[str, Any]:
    """By provider, from a tick's record; empty if it is of another version."""
    try:
        found = orjson.loads(body).get("results", {})
    except (ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}
