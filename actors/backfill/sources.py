"""How each provider's history is asked for and read.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data (1000 candles a call, from 1 s
on), https://docs.kraken.com/api/docs/rest-api/get-ohlc-data (the last 720 candles, however far back `since` lies; the last one is not over),
https://docs.coingecko.com/reference/coins-id-market-chart-range (points about 5 minutes apart in ranges up to a day; keyless and Demo plans reach
back 365 days).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from actors.backfill.series import Point, Window
from actors.providers import binance, coingecko, kraken
from actors.providers.decode import decode_response
from actors.providers.failures import bad_payload
from actors.providers.http import HttpResponse
from actors.providers.values import count_or_none, number, positive_or_none, price_of, price_of_text
from cryptoviz.errors import NoHistory
from cryptoviz.records import FallbackReason

__all__ = ["SOURCES", "HistorySource", "Step"]

_SECOND_MS, _MINUTE_MS, _DAY_MS = 1_000, 60_000, 86_400_000


@dataclass(frozen=True, slots=True)
class Step:
    """What calls look like for some ticks.

    Attributes:
        ticks: in order of time.
        length_ms: of a candle.
        span_ms: the longest range that one call answers.
        lookback_ms: how far before a tick its price is looked for.
    """

    ticks: tuple[int, ...]
    length_ms: int
    span_ms: int
    lookback_ms: int


class HistorySource(ABC):
    """One provider's history. No state, no network."""

    name: ClassVar[str]

    @abstractmethod
    def steps(self, ticks: Sequence[int], now_ms: int) -> list[Step]:
        """How to ask for ticks, which are in order of time (UTC epoch ms). Those that lie too far back are in none of the steps."""

    @abstractmethod
    def request(self, provider_id: str, window: Window, step: Step) -> tuple[str, dict[str, str]]:
        """Path below the provider's address, and the query."""

    @abstractmethod
    def parse(self, response: HttpResponse, step: Step) -> list[Point]:
        """Prices in order of time; candles that are not over are left out, as are those without a price.

        Raises:
            ProviderUnavailable, ProviderRefused, BadPayload: the answer as a whole is of no use.
            NoHistory: the provider says that it does not reach so far back.
        """

    def currency(self, provider_id: str) -> str:
        """Of the prices."""
        del provider_id
        return "USD"


class BinanceHistory(HistorySource):
    """`GET /api/v3/klines`: the close. Minutes where the ticks are whole minutes, else seconds."""

    name: ClassVar[str] = binance.NAME
    _ROWS = 1_000
    _LOOKBACK = 5  # candles: a pair that does not trade for a moment has none in some versions of the archive

    def steps(self, ticks: Sequence[int], now_ms: int) -> list[Step]:
        """See `HistorySource`."""
        del now_ms
        length = _SECOND_MS if any(tick % _MINUTE_MS for tick in ticks) else _MINUTE_MS
        return [Step(tuple(ticks), length, (self._ROWS - 1) * length, self._LOOKBACK * length)]

    def request(self, provider_id: str, window: Window, step: Step) -> tuple[str, dict[str, str]]:
        """See `HistorySource`."""
        interval = "1m" if step.length_ms == _MINUTE_MS else "1s"
        query = {
            "symbol": provider_id,
            "interval": interval,
            "startTime": str(window.from_ms),
            "endTime": str(window.to_ms),
            "limit": str(self._ROWS),
        }
        return "/api/v3/klines", query

    def parse(self, response: HttpResponse, step: Step) -> list[Point]:
        """See `HistorySource`. A row is [open time, open, high, low, close, volume, close time, ...]."""
        data = decode_response(self.name, response, binance.STATUS_REASONS)
        if response.status != 200 or not isinstance(data, list):
            raise binance.error_of(response, data)
        rows = ((row[0], row[4]) for row in data if isinstance(row, list) and len(row) > 4)
        return _candles(rows, 1, step.length_ms, response.received_ms)

    def currency(self, provider_id: str) -> str:
        """The pair's quote."""
        return next((quote for quote in binance.DOLLARS if provider_id.endswith(quote)), "USDT")


class KrakenHistory(HistorySource):
    """`GET /0/public/OHLC`: the close. Always the last 720 candles, so that older ticks need longer ones, up to a quarter of an hour."""

    name: ClassVar[str] = kraken.NAME
    _ROWS = 720
    _LENGTHS_MS = (_MINUTE_MS, 5 * _MINUTE_MS, 15 * _MINUTE_MS)
    _LOOKBACK = 2

    def steps(self, ticks: Sequence[int], now_ms: int) -> list[Step]:
        """See `HistorySource`."""
        found: list[Step] = []
        left = list(ticks)
        for length in self._LENGTHS_MS:
            reach_ms = now_ms - (self._ROWS - 1 - self._LOOKBACK) * length
            own = tuple(tick for tick in left if tick >= reach_ms)
            left = [tick for tick in left if tick < reach_ms]
            if own:
                found.append(Step(own, length, self._ROWS * length, self._LOOKBACK * length))
        return found

    def request(self, provider_id: str, window: Window, step: Step) -> tuple[str, dict[str, str]]:
        """See `HistorySource`."""
        # `since` itself is not included.
        since = str((window.from_ms - step.length_ms) // 1000)
        return "/0/public/OHLC", {"pair": provider_id, "interval": str(step.length_ms // _MINUTE_MS), "since": since}

    def parse(self, response: HttpResponse, step: Step) -> list[Point]:
        """See `HistorySource`. A row is [time, open, high, low, close, vwap, volume, count], the time in seconds."""
        data = decode_response(self.name, response)
        body = data if isinstance(data, dict) else {}
        errors = body.get("error")
        failed = [str(text) for text in errors if not str(text).startswith("W")] if isinstance(errors, list) else []
        if failed or response.status != 200:
            raise kraken.error_of(response, failed[0] if failed else "")
        result = body.get("result")
        series = [rows for key, rows in result.items() if key != "last"] if isinstance(result, dict) else []
        if len(series) != 1 or not isinstance(series[0], list):
            raise bad_payload(self.name, "expected an object with one pair's candles in result")
        rows = ((row[0], row[4]) for row in series[0] if isinstance(row, list) and len(row) > 4)
        return _candles(rows, 1000, step.length_ms, response.received_ms)


class CoinGeckoHistory(HistorySource):
    """`GET /coins/{id}/market_chart/range`: prices, market caps and 24 h volumes at points about five minutes apart."""

    name: ClassVar[str] = coingecko.NAME
    _TOO_FAR = 10012
    _LOOKBACK_MS = 2 * 5 * _MINUTE_MS

    def steps(self, ticks: Sequence[int], now_ms: int) -> list[Step]:
        """See `HistorySource`. Ranges of up to a day: longer ones get hourly points."""
        del now_ms
        return [Step(tuple(ticks), 5 * _MINUTE_MS, _DAY_MS - 1_000, self._LOOKBACK_MS)]

    def request(self, provider_id: str, window: Window, step: Step) -> tuple[str, dict[str, str]]:
        """See `HistorySource`."""
        del step
        # One second more, because the end is not included.
        query = {"vs_currency": "usd", "from": str(window.from_ms // 1000), "to": str(window.to_ms // 1000 + 1), "precision": "full"}
        return f"/coins/{provider_id}/market_chart/range", query

    def parse(self, response: HttpResponse, step: Step) -> list[Point]:
        """See `HistorySource`. Each of three lists holds [epoch ms, value]."""
        del step
        data = decode_response(self.name, response)
        body = data if isinstance(data, dict) else {}
        prices = body.get("prices")
        if response.status != 200 or not isinstance(prices, list):
            error = body.get("error")
            status = error.get("status") if isinstance(error, dict) else None
            if isinstance(status, dict) and status.get("error_code") == self._TOO_FAR:
                message = f"coingecko: {str(status.get('error_message', ''))[:200]}"
                raise NoHistory(message, provider=self.name, reason=FallbackReason.MISSING_ASSET)
            raise coingecko.error_of(response, data)
        caps, volumes = _by_time(body.get("market_caps")), _by_time(body.get("total_volumes"))
        points = []
        for at, value in _pairs(prices):
            price = price_of(value)
            if isinstance(price, float):
                points.append(Point(at, price, positive_or_none(caps.get(at)), count_or_none(volumes.get(at))))
        return sorted(points, key=lambda point: point.at_ms)


SOURCES: dict[str, HistorySource] = {source.name: source for source in (BinanceHistory(), KrakenHistory(), CoinGeckoHistory())}
"""By provider."""


def _candles(rows: Iterable[tuple[Any, Any]], unit_ms: int, length_ms: int, now_ms: int) -> list[Point]:
    """Closes of candles that are over, as of their last millisecond."""
    points = []
    for opened, close in rows:
        price = price_of_text(close)
        if isinstance(opened, int) and not isinstance(opened, bool) and isinstance(price, float):
            end = opened * unit_ms + length_ms
            if end <= now_ms:
                points.append(Point(end - 1, price))
    return sorted(points, key=lambda point: point.at_ms)


def _pairs(rows: Any) -> Iterable[tuple[int, Any]]:
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, list) and len(row) == 2 and (at := number(row[0])) is not None:
            yield int(at), row[1]


def _by_time(rows: Any) -> dict[int, Any]:
    return dict(_pairs(rows))
