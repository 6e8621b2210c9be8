"""Every trade of one instrument, as a pure function of (seed, venue, symbol, time): by id and by time, at any distance, without history in memory.

The trades of a second have the price of that second of the market and together its volume, so that candles of trades equal the market's candles.
All trades of a second are taken by the same side. Prices and sizes are integers in the venue's smallest steps.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from market.path import CANDLE_S, PricePath
from market.trade_counts import MAX_PER_SECOND, TradeCounts

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Steps", "Tape", "Trade", "TradeCandle"]

_BLOCK_S = 10
"""Trades are made for so many seconds at once: 2 ms of work at 83 trades a second."""
_CACHED_BLOCKS = 8
"""Cached per instrument: the current block, and those of clients that page through the past."""
_MINUTE_S = 60
_INT64 = 2**63
_CACHED_CANDLES = 64
_SECOND_US = 1_000_000
_JITTER = 0.5
"""Trades keep half of an even distance, so that no two have the same microsecond at 1 000 a second."""
_MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""Constants of SplitMix64 (Steele, Lea, Flood 2014), a generator that needs no state: random access."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Decimals of an instrument's prices and sizes at its venue."""

    price: int
    size: int

    def price_text(self, units: int) -> str:
        return text(units, self.price)

    def size_text(self, units: int) -> str:
        return text(units, self.size)


def text(units: int, decimals: int) -> str:
    """The exact decimal of an integer of units of `10**-decimals`, not negative."""
    if decimals == 0:
        return str(units)
    digits = str(units).zfill(decimals + 1)
    return f"{digits[:-decimals]}.{digits[-decimals:]}"


class Trade(NamedTuple):
    """A trade. `price` and `size` in the instrument's steps, `time_us` in market microseconds since the anchor, `buy`: the taker bought."""

    trade_id: int
    time_us: int
    price: int
    size: int
    buy: bool


@dataclass(frozen=True, slots=True)
class TradeCandle:
    """The trades of a span. Prices in price steps, `size` in size steps, `value` in the product of both; `buy_size`, `buy_value`: taken by buyers.

    Without trades, open, high, low and close are the last price before, and `first_id` is `last_id` + 1. Where ids jump, `trades` is less than their
    difference.
    """

    open: int
    high: int
    low: int
    close: int
    size: int
    value: int
    buy_size: int
    buy_value: int
    first_id: int
    last_id: int
    trades: int


@dataclass(frozen=True, slots=True)
class _Seconds:
    """The 300 seconds of a candle of the month."""

    prices: NDArray[np.int64]
    sizes: NDArray[np.int64]
    buys: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Sums:
    high: int
    low: int
    size: int
    value: int
    buy_size: int
    buy_value: int


class Tape:
    """The trades of one instrument.

    Args:
        path, factors: the coin's prices, and for each candle of the month the ratio of the venue's price to them.
        name: distinguishes the random numbers of instruments.
    """

    def __init__(self, path: PricePath, factors: NDArray[np.float64], steps: Steps, seed: int, name: str, counts: TradeCounts) -> None:
        self.steps = steps
        self.counts = counts
        self._path = path
        self._factors = factors
        self._key = (seed * _MIX[0] + zlib.crc32(name.encode()) * _MIX[1]) % 2**64
        self._candles = len(path.candles)
        # instruments make their blocks in different seconds, so that streams do not stall for all of them at once
        self._stagger_s = self._key % _BLOCK_S
        self._seconds = lru_cache(maxsize=_CACHED_CANDLES)(self._make_seconds)
        self._sums: dict[int, _Sums] = {}
        self._block = lru_cache(maxsize=_CACHED_BLOCKS)(self._make_block)

    def count(self, until_us: int) -> int:
        """Id of the last trade up to a market time, inclusive; the id before the first, if there is none."""
        second = max(-1, until_us // _SECOND_US)
        number = self._number(second)
        rows = self._block(number, self.counts.version)
        at = bisect_right(rows, until_us, key=lambda trade: trade.time_us)
        return rows[at - 1].trade_id if at else self.counts.last_id_before(self._first_second(number))

    def trades(self, first_id: int, until_us: int, limit: int) -> list[Trade]:
        """At most `limit` trades from an id (or the next one that exists) up to a market time, inclusive; in order of ids and times."""
        found: list[Trade] = []
        second = self.counts.second_of(max(1, first_id))
        if second is None:
            return found
        for block in range(self._number(second), self._number(until_us // _SECOND_US) + 1):
            rows = self._block(block, self.counts.version)
            begin = bisect_left(rows, first_id, key=lambda trade: trade.trade_id)
            end = bisect_right(rows, until_us, key=lambda trade: trade.time_us)
            found += rows[begin : min(end, begin + limit - len(found))]
            if len(found) >= limit:
                break
        return found

    def last(self, before_id: int, until_us: int, limit: int) -> list[Trade]:
        """The last `limit` trades with ids below `before_id` up to a market time, inclusive; in order of ids."""
        found: list[Trade] = []
        second = self.counts.second_of(max(1, before_id - 1))
        block = self._number(until_us // _SECOND_US)
        if second is not None:
            block = min(block, self._number(second))
        while block >= 0 and len(found) < limit:
            rows = self._block(block, self.counts.version)
            end = min(bisect_left(rows, before_id, key=lambda trade: trade.trade_id), bisect_right(rows, until_us, key=lambda trade: trade.time_us))
            found = rows[max(0, end - limit + len(found)) : end] + found
            block -= 1
        return found

    def since(self, after_us: int, until_us: int, limit: int) -> list[Trade]:
        """At most `limit` trades after a market time, exclusive, up to another, inclusive; in order."""
        return self.trades(self.count(after_us) + 1, until_us, limit)

    def price(self, second: int) -> int:
        """The price of a second, in steps."""
        return int(self._of(second).prices[second % CANDLE_S])

    def bought(self, second: int) -> bool:
        """Whether it is buyers who take in a second."""
        return bool(self._of(second).buys[second % CANDLE_S])

    def candle(self, first_s: int, end_s: int) -> TradeCandle:
        """The trades from a second to another, exclusive; from the anchor on."""
        first_id, last_id = self.counts.last_id_before(first_s) + 1, self.counts.last_id_before(end_s)
        parts = [part for part in self._parts(first_s, end_s) if part is not None]
        if not parts:
            before = self.last(first_id, first_s * _SECOND_US - 1, 1)
            last = before[0].price if before else self.price(first_s)
            return TradeCandle(last, last, last, last, 0, 0, 0, 0, first_id, first_id - 1, 0)
        opened, close = self._edge(first_s, end_s, 1), self._edge(end_s - 1, first_s - 1, -1)
        high, low = max(part.high for part in parts), min(part.low for part in parts)
        size, value = sum(part.size for part in parts), sum(part.value for part in parts)
        bought, bought_for = sum(part.buy_size for part in parts), sum(part.buy_value for part in parts)
        return TradeCandle(opened, high, low, close, size, value, bought, bought_for, first_id, last_id, self.counts.made(first_s, end_s))

    def _parts(self, first_s: int, end_s: int) -> Iterator[_Sums | None]:
        at = first_s
        while at < end_s:
            end = min(end_s, at - at % CANDLE_S + CANDLE_S)
            whole = end - at == CANDLE_S and self._every_second(at, end)
            yield self._whole(at // CANDLE_S % self._candles) if whole else self._part(at, end)
            at = end

    def _whole(self, number: int) -> _Sums:
        if number not in self._sums:
            self._sums[number] = _sums(self._seconds(number), np.ones(CANDLE_S, dtype=np.bool_))
        return self._sums[number]

    def _part(self, first_s: int, end_s: int) -> _Sums | None:
        within = np.zeros(CANDLE_S, dtype=np.bool_)
        within[first_s % CANDLE_S : first_s % CANDLE_S + end_s - first_s] = self._made(first_s, end_s) > 0
        return _sums(self._of(first_s), within) if within.any() else None

    def _every_second(self, first_s: int, end_s: int) -> bool:
        segment = self.counts.steady(first_s, end_s)
        return segment is not None and segment.rate_milli >= 1_000

    def _edge(self, start: int, stop: int, step: int) -> int:
        """The price of the first second with trades."""
        seconds = range(start, stop, step)
        return next(self.price(at) for at in seconds if self.counts.made(at, at + 1))

    def _made(self, first_s: int, end_s: int) -> NDArray[np.int64]:
        """The number of trades of each second."""
        segment = self.counts.steady(first_s, end_s)
        if segment is None:
            return np.array([self.counts.made(at, at + 1) for at in range(first_s, end_s)], dtype=np.int64)
        elapsed = np.arange(first_s - segment.start_s, end_s - segment.start_s + 1, dtype=np.int64)
        return np.diff(np.maximum(elapsed, 0) * segment.rate_milli // 1_000)

    def _of(self, second: int) -> _Seconds:
        return self._seconds(second // CANDLE_S % self._candles)

    def _make_seconds(self, number: int) -> _Seconds:
        unit = 10.0**self.steps.price
        prices = self._path.seconds(number) * self._factors[number]
        scaled = prices * unit
        steps = np.rint(scaled).astype(np.int64)
        # halves are rounded as the quotes are: by their shortest decimal
        for at in np.flatnonzero(np.abs(np.abs(scaled - np.floor(scaled)) - 0.5) < 1e-6):
            steps[at] = round(round(float(prices[at]), self.steps.price) * unit)
        total = max(round(float(self._path.candles.volume[number]) * 10**self.steps.size), CANDLE_S * MAX_PER_SECOND)
        edges = total * np.arange(CANDLE_S + 1, dtype=np.int64) // CANDLE_S
        buys = self._random(np.arange(number * CANDLE_S, (number + 1) * CANDLE_S, dtype=np.uint64), 3) < 0.5
        return _Seconds(steps, np.diff(edges), buys)

    def _number(self, second: int) -> int:
        """The block of a second; negative before the first."""
        return (second + self._stagger_s) // _BLOCK_S

    def _first_second(self, number: int) -> int:
        return number * _BLOCK_S - self._stagger_s

    def _make_block(self, number: int, version: int) -> list[Trade]:
        """The trades of a block. `version` of the counts only separates cached blocks."""
        del version
        first_s = self._first_second(number)
        seconds = range(first_s, first_s + _BLOCK_S)
        counts = np.array([self.counts.made(at, at + 1) for at in seconds], dtype=np.int64)
        if not counts.any():
            return []
        before = np.array([self.counts.last_id_before(at) for at in seconds], dtype=np.int64)
        prices, totals, buys = (np.array(column) for column in zip(*map(self._second, seconds), strict=True))
        of_second = np.repeat(np.arange(_BLOCK_S), counts)
        starts = np.cumsum(counts) - counts
        place = np.arange(len(of_second)) - starts[of_second]
        trade_ids = before[of_second] + 1 + place
        jitter = _JITTER * self._random(trade_ids.astype(np.uint64), 1)
        # the first trade of a minute is exactly at its start: the boundary that candles must get right
        jitter[(place == 0) & ((first_s + of_second) % _MINUTE_S == 0)] = 0.0
        times = (first_s + of_second) * _SECOND_US + ((place + jitter) / counts[of_second] * _SECOND_US).astype(np.int64)
        sizes = self._split(totals, counts, of_second, starts, trade_ids)
        columns = (trade_ids, times, prices[of_second], sizes, buys[of_second])
        return list(map(Trade._make, zip(*(column.tolist() for column in columns), strict=True)))

    def _second(self, second: int) -> tuple[np.int64, np.int64, np.bool_]:
        own, at = self._of(second), second % CANDLE_S
        return own.prices[at], own.sizes[at], own.buys[at]

    def _split(
        self,
        totals: NDArray[np.int64],
        counts: NDArray[np.int64],
        of_second: NDArray[np.int64],
        starts: NDArray[np.int64],
        trade_ids: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """The volume of each second in random parts of at least one lot, which add up exactly."""
        weights = 0.05 + self._random(trade_ids.astype(np.uint64), 2) ** 3
        sums = np.bincount(of_second, weights=weights, minlength=len(counts))
        sizes = 1 + np.floor((totals - counts)[of_second] * (weights / sums[of_second]) * (1 - 1e-9)).astype(np.int64)
        given = np.zeros(len(counts), dtype=np.int64)
        np.add.at(given, of_second, sizes)
        some = counts > 0
        sizes[starts[some]] += (totals - given)[some]
        return sizes

    def _random(self, at: NDArray[np.uint64], use: int) -> NDArray[np.float64]:
        """Uniform numbers in [0, 1), a function of the instrument, the use and the position."""
        mixed = (at + np.uint64(1)) * np.uint64(_MIX[0]) + np.uint64((self._key + use * _MIX[2]) % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_MIX[1])
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_MIX[2])
        return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _sums(seconds: _Seconds, within: NDArray[np.bool_]) -> _Sums:
    prices, sizes, buys = seconds.prices[within], seconds.sizes[within], seconds.buys[within]
    high, low = int(prices.max()), int(prices.min())
    if high * int(sizes.sum()) >= _INT64:  # Python's integers have no end
        prices, sizes = prices.astype(object), sizes.astype(object)
    values = prices * sizes
    return _Sums(high, low, int(sizes.sum()), int(values.sum()), int(sizes[buys].sum()), int(values[buys].sum()))
